"The wheel, installed alone: every module imports, every command answers, the weights it carries load"
import subprocess
import sys
import sysconfig
import venv
from configparser import ConfigParser
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from lensnb.weights import short_names

ROOT = Path(__file__).parent.parent
INI = ConfigParser(delimiters=['='])
INI.read(ROOT/'settings.ini')


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    "A new environment that sees this one's libraries, but of lensnb only what the wheel holds"
    d = tmp_path_factory.mktemp('wheel')
    subprocess.run([sys.executable, '-m', 'build', '--wheel', '--no-isolation', '--outdir', d, ROOT], check=True, capture_output=True)
    venv.create(d/'env', with_pip=False, symlinks=True)
    py = d/'env'/'bin'/'python'
    site = Path(subprocess.run([py, '-c', "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True, check=True).stdout.strip())
    (site/'libraries.pth').write_text(sysconfig.get_path('purelib') + '\n')   # a path in a .pth file does not read that folder's own .pth files
    wheel, = d.glob('*.whl')
    subprocess.run([sys.executable, '-m', 'pip', '--python', py, 'install', '--quiet', '--no-deps', '--no-index', '--force-reinstall', wheel], check=True)
    return d, py


def sh(alone, *args): return subprocess.run([str(a) for a in args], cwd=alone[0], capture_output=True, text=True)


def test_every_module_imports_from_the_wheel(alone):
    mods = [p.stem for p in (ROOT/'lensnb').glob('*.py') if p.stem != '__init__']
    code = f"import importlib, lensnb; [importlib.import_module('lensnb.'+m) for m in {mods}]; print(lensnb.__file__)"
    r = sh(alone, alone[1], '-c', code)
    assert r.returncode == 0, r.stderr
    assert str(alone[0]) in r.stdout and len(mods) > 15


@pytest.mark.parametrize('command', [s.split('=')[0] for s in INI['DEFAULT']['console_scripts'].split()])
def test_commands_answer(alone, command):
    r = sh(alone, alone[0]/'env'/'bin'/command, '--help')
    assert r.returncode == 0 and 'usage' in r.stdout


@pytest.mark.parametrize('name', INI['DEFAULT']['wheel_weights'].split())
def test_weights_travel_in_the_wheel(alone, name):
    code = f"from lensnb.weights import find_weights, load_weights; m,c = load_weights('{name}'); print(find_weights('{name}'))"
    r = sh(alone, alone[1], '-c', code)
    assert r.returncode == 0, r.stderr
    assert 'lensnb/_weights' in r.stdout.replace('\\', '/')


@pytest.mark.parametrize('name, size_pix, weights', [('cube.fits', 64, 'default'), ('picture.png', 128, 'composite'), ('small.png', 64, 'small-composite'), ('galaxy_VIS.fits', 128, 'vis')])
def test_default_weights_score_from_the_wheel(alone, name, size_pix, weights):
    rng, path = np.random.default_rng(0), alone[0]/name
    if name.endswith('.fits'): fits.writeto(path, rng.normal(0, 1, (1 if weights == 'vis' else 3, size_pix, size_pix)).astype(np.float32))
    else: Image.fromarray(rng.integers(0, 80, (size_pix, size_pix, 3), dtype=np.uint8)).save(path)
    r = sh(alone, alone[0]/'env'/'bin'/'lensnb-test', '--data', path, '--out', alone[0]/f'{path.stem}-scores', '--engine', 'torch')
    assert r.returncode == 0, r.stderr
    assert f'No weights named: {short_names().get(weights, weights)} scores' in r.stderr and len((alone[0]/f'{path.stem}-scores'/'predictions.csv').read_text().splitlines()) == 2
