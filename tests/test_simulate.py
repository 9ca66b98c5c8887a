"The simulated sky from outside: recipes, mixes, the challenge's layout, hosts, interruptions, bad input"
import os
import signal
import subprocess
import time

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from conftest import BIN, run

from lensnb.core import read_json
from lensnb.cutouts import open_cutouts, write_cutouts
from lensnb.simulate import FAMILIES, load_recipe, simulate_one
from lensnb.store import open_store
from lensnb.surveys import SURVEYS, get_survey

RECIPES = os.path.join(os.path.dirname(__file__), '..', 'configs', 'stores.yaml')


@pytest.mark.parametrize('survey', list(SURVEYS))
def test_every_family_in_every_survey(survey):
    s = get_survey(survey)
    for k, kind in enumerate(FAMILIES):
        image, row = simulate_one(s, np.random.default_rng(k), kind, measured=True)
        assert image.shape == (s.n_band, s.size_pix, s.size_pix) and image.dtype == np.float32 and np.isfinite(image).all()
        assert (row['theta_e_arcsec'] > 0) == kind.startswith('lens')


def test_recipe_and_command_line(tmp_path):
    out = tmp_path/'val'
    run('lensnb-simulate', out, '--recipe', RECIPES, '--store-name', 'val', '--n', 60, '--workers', 2)
    s = open_store(out)
    assert s.meta['dtype'] == 'float16' and s.meta['store_name'] == 'val' and len(s) == 60
    assert s.catalog['label'].sum() == 6 and 'mag_r' in s.catalog and s.roles['mag_r'] == 'catalogue' and s.roles['theta_e_arcsec'] == 'truth'


def test_canonical_stores_are_what_the_design_says():
    r = yaml.safe_load(open(RECIPES))
    assert list(r) == ['train', 'val', 'calib', 'calib-test', 'survey-val', 'survey-test', 'pool']
    for k in ('survey-val', 'survey-test'): assert r[k]['n'] == 100_000 and r[k]['lens_frac'] <= .01 and r[k]['families'] == 'natural'
    assert all(load_recipe(RECIPES, k)['store_name'] == k for k in r)


def test_bologna_layout_is_equal_to_the_store(tmp_path):
    args = ['--n', 12, '--seed', 3, '--faint-frac', .1, '--workers', 1]
    run('lensnb-simulate', tmp_path/'store', *args)
    run('lensnb-simulate', tmp_path/'files', *args, '--format', 'bologna')
    store, files = open_store(tmp_path/'store'), open_cutouts(tmp_path/'files')
    assert np.array_equal(np.stack([files.read(i) for i in range(12)]), store.batch(slice(None)))
    assert np.array_equal(files.catalog['label'], store.catalog['label'], equal_nan=True)
    table = pd.read_csv(tmp_path/'files'/'classifications.csv')
    assert list(table) == ['ID', 'is_lens', 'Einstein_area', 'numb_pix_lensed_image', 'flux_lensed_image_in_sigma']
    np.testing.assert_allclose(table['Einstein_area'], store.catalog['Einstein_area'])
    assert sorted(o.name for o in tmp_path.iterdir()) == ['files', 'store']


def test_hosts(tmp_path, ten):
    images, cat, survey = ten
    write_cutouts(tmp_path/'hosts', images[5:], cat[5:].reset_index(drop=True), survey, 'fits')
    (tmp_path/'hosts'/'obj9.fits').write_bytes((tmp_path/'hosts'/'obj9.fits').read_bytes()[:5000])
    r = run('lensnb-simulate', tmp_path/'out', '--hosts', tmp_path/'hosts', '--survey', 'lsst', '--per-host', 2, '--workers', 1)
    s = open_store(tmp_path/'out')
    assert '1 hosts were left out' in r.stderr and 'obj9' in r.stderr
    assert s.catalog.groupby('kind').size().to_dict() == {'host': 4, 'painted': 8} and s.catalog['group'].nunique() == 4


def test_a_killed_job_goes_on(tmp_path):
    args = ['--n', 200, '--seed', 5, '--workers', '2']
    run('lensnb-simulate', tmp_path/'whole', *args)
    cmd = [BIN/'lensnb-simulate', tmp_path/'killed', *map(str, args)]
    p = subprocess.Popen(cmd, stderr=subprocess.DEVNULL, start_new_session=True)
    blocks = tmp_path/'.killed.part'/'blocks'
    while not (blocks.is_dir() and list(blocks.glob('0*.parquet'))): assert p.poll() is None; time.sleep(.05)
    os.killpg(p.pid, signal.SIGKILL); p.wait()
    done = {o.name: o.stat().st_mtime_ns for o in blocks.glob('0*.parquet')}
    assert 0 < len(done) < 7
    r = run('lensnb-train', '--data', tmp_path/'killed', '--out', tmp_path/'run', code=1)
    assert 'incomplete' in r.stderr
    r = run('lensnb-simulate', tmp_path/'killed', '--n', 200, '--seed', 6, '--workers', 1, code=1)
    assert 'other settings (seed)' in r.stderr
    run('lensnb-simulate', *cmd[1:])
    assert (tmp_path/'killed'/'images.npy').read_bytes() == (tmp_path/'whole'/'images.npy').read_bytes()
    pd.testing.assert_frame_equal(open_store(tmp_path/'killed').catalog, open_store(tmp_path/'whole').catalog)


def test_a_killed_worker_is_one_sentence(tmp_path):
    p = subprocess.Popen([BIN/'lensnb-simulate', tmp_path/'x', '--n', '3000', '--workers', '2'], stderr=subprocess.PIPE, text=True)
    blocks = tmp_path/'.x.part'/'blocks'
    while not (blocks.is_dir() and list(blocks.glob('0*.parquet'))): assert p.poll() is None; time.sleep(.05)
    workers = [o for o in psutil.Process(p.pid).children() if any('spawn_main' in a for a in o.cmdline())]
    workers[0].kill()
    _, err = p.communicate(timeout=60)
    assert p.returncode == 1 and 'Traceback' not in err and 'run the same command again' in err and not (tmp_path/'x').exists()


def survey_yaml(folder, **changes):
    from lensnb.surveys import save_survey
    save_survey(get_survey('lsst'), folder/'mine.yaml')
    d = yaml.safe_load((folder/'mine.yaml').read_text())
    for k, v in changes.items():
        if v is None: d.pop(k)
        else: d[k] = v
    (folder/'mine.yaml').write_text(yaml.safe_dump(d))
    return folder/'mine.yaml'


@pytest.mark.parametrize('args,words', [
    (['--survey', 'lsts'], ['lsst']), (['--families', 'natrual'], ['natural']), (['--families', 'rings=1'], ['ring']),
    (['--families', 'etg=0.5,ring=0.4'], ['sum to 0.9']), (['--families', 'etg=half'], ['name=number']), (['--lens-frac', '1.5'], ['shares']),
    (['--recipe', RECIPES, '--store-name', 'trian'], ['train']), (['--recipe', 'nowhere.yaml'], ['nowhere.yaml']),
    (['--realism', 'trails=1'], ['trail']), (['--sources', 'nowhere'], ['nowhere']), (['--hosts', 'nowhere'], ['nowhere']),
    (['--n', '0'], ['at least one image']), (['--n', '100000000'], ['bytes', 'free']), (['--format', 'bologna', '--pixels', 'composite8'], ['linear flux']),
])
def test_bad_input_is_one_sentence(args, words, tmp_path):
    args = args if '--n' in args else [*args, '--n', '8']
    r = run('lensnb-simulate', tmp_path/'out', *args, '--workers', 1, code=1)
    assert all(w in r.stderr for w in words), r.stderr
    assert not (tmp_path/'out').exists() and not list(tmp_path.glob('.out*')), list(tmp_path.iterdir())


@pytest.mark.parametrize('changes,words', [
    (dict(pixel_scale_arcsec=-.2), ['Pixel scale', '-0.2']), (dict(psf_fwhm_arcsec=[.7, .7]), ['psf_fwhm_arcsec']), (dict(zero_point_mag=None), ['zero_point_mag']),
    (dict(bands=['g', 'r', 'q']), ['q']), (dict(pixel_scale=.2), ['pixel_scale']), (dict(exposure_s=[15., -15., 15.]), ['exposure_s']),
])
def test_a_wrong_survey_file_is_one_sentence(changes, words, tmp_path):
    r = run('lensnb-simulate', tmp_path/'out', '--survey', survey_yaml(tmp_path, **changes), '--n', 8, '--workers', 1, code=1)
    assert all(w in r.stderr for w in words), r.stderr
    assert not (tmp_path/'out').exists()


def test_unreadable_stamps_are_named(tmp_path):
    (tmp_path/'stamps').mkdir()
    (tmp_path/'stamps'/'a.npy').write_bytes(b'nothing of use')
    r = run('lensnb-simulate', tmp_path/'out', '--sources', tmp_path/'stamps', '--n', 8, '--workers', 1, code=1)
    assert 'a.npy' in r.stderr and not (tmp_path/'out').exists()


def test_columns_have_roles_and_units(tmp_path):
    run('lensnb-simulate', tmp_path/'s', '--n', 40, '--columns', '--survey', 'euclid', '--workers', 2)
    columns = read_json(tmp_path/'s'/'survey.json')['columns']
    assert columns['Einstein_area'] == dict(role='truth', unit='sr') and columns['sigma_v_km_s'] == dict(role='truth', unit='km/s')
    assert columns['mag_VIS'] == dict(role='catalogue', unit='mag') and columns['z_phot']['role'] == 'catalogue'
