"What holds the house up: layers, export in sync, clean notebooks, one version, light imports"
import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NBS = sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
ROOMS = [p for p in NBS if re.match(r'\d\d_', p.name)]
NUMPY_SIDE = 'core plot config pixels store surveys cutouts explore measure realism bologna columns intervals metrics calibrate scoretable selection compare forecast verdict ensemble effects positions workers shortlist mosaic plan survey page report cli find'.split()
BIN = Path(sys.executable).parent


def cells(p): return json.loads(p.read_text(encoding='utf-8'))['cells']
def source(c): return ''.join(c['source'])
def exported(p): return [source(c) for c in cells(p) if c['cell_type'] == 'code' and re.search(r'^#\|\s*export', source(c), re.M)]
def code_lines(s): return [ln for ln in s.split('\n') if ln.strip() and not ln.startswith('#|')]


def module(p): return next(m[1] for c in cells(p) if (m := re.search(r'^#\|\s*default_exp\s+(\S+)', source(c), re.M)))


def layer_problems(rooms):
    "Sentences that say what breaks the layering; rooms maps a module to (number, exported source)"
    for name, (n, code) in rooms.items():
        for own in sorted(set(re.findall(r'^\s*from lensnb\.(\w+) import', code, re.M))):
            if own not in rooms: yield f'{name} imports lensnb.{own}, which no notebook exports'
            elif rooms[own][0] >= n: yield f'{n:02d} {name} imports {rooms[own][0]:02d} {own}; a notebook may import lower numbers only'
        for star in re.findall(r'^\s*from (\S+) import \*', code, re.M): yield f'{name} exports a star import of {star}'
        if re.search(r'^\s*(import lensnb|from lensnb import)', code, re.M): yield f'{name} must import our modules by name'


def test_layers():
    rooms = {module(p): (int(p.name[:2]), '\n'.join(exported(p))) for p in ROOMS}
    assert list(layer_problems(rooms)) == []


def test_layer_check_can_fail():
    rooms = {'core': (0, 'from lensnb.models import x'), 'models': (50, 'from torch import *')}
    assert len(list(layer_problems(rooms))) == 2


@pytest.mark.parametrize('p', ROOMS, ids=lambda p: p.stem)
def test_rooms_stay_rooms(p):
    code = [len(code_lines(s)) for s in exported(p)]
    assert sum(code) <= 400 and max(code, default=0) <= 40
    own = [source(c) for c in cells(p) if c['cell_type'] == 'code' and not re.search(r'^#\|\s*export', source(c), re.M)]
    count = lambda cs: sum(len(re.findall(r'\b(?:test_\w+|assert)\b', re.sub(r'^(from|import) .*$', '', s, flags=re.M))) for s in cs)
    hidden = count(s for s in own if re.search(r'^#\|\s*hide', s, re.M))
    assert hidden <= .2*max(count(own), 1), 'a check is a lesson: show it'


@pytest.mark.parametrize('p', NBS, ids=lambda p: str(p.relative_to(ROOT/'nbs')))
def test_notebooks_are_executed_light_and_clean(p):
    text = p.read_text(encoding='utf-8')
    assert len(text) < 500_000, f'{len(text)//1000} kB'
    assert not (m := re.search(r'(?<![\w.~}])/(?:root|home|work|tmp)/[\w.]+', text)), f'a path of one machine: {m[0]}'
    for c in cells(p):
        for o in c.get('outputs', []):
            assert o['output_type'] != 'error', source(c)
            assert not (o['output_type'] == 'stream' and o['name'] == 'stderr'), source(c)
            assert all(len(v) < 140_000 for k, v in o.get('data', {}).items() if k.startswith('image/')), 'a figure of over 100 kB'
    shown = [c for c in cells(p) if c['cell_type'] == 'code' and not re.search(r'^#\|', source(c), re.M)]
    assert not shown or any(c.get('outputs') for c in shown), 'commit notebooks executed: the site shows what is saved'


@pytest.mark.parametrize('p', NBS, ids=lambda p: str(p.relative_to(ROOT/'nbs')))
def test_imports_stand_alone(p):
    "nbdev runs every cell with an import when it renders the site, so such a cell may hold nothing else"
    for s in (source(c) for c in cells(p) if c['cell_type'] == 'code'):
        if re.search(r'^#\|\s*(export|eval: false)', s, re.M) or 'nbdev_export()' in s or '!' in s[:1]: continue
        nodes = {type(n).__name__ for n in ast.parse(re.sub(r'^[%!].*$', '', s, flags=re.M)).body}
        assert not nodes & {'Import', 'ImportFrom'} or nodes <= {'Import', 'ImportFrom'}, s


def copy_of(tmp_path):
    shutil.copytree(ROOT/'nbs', tmp_path/'nbs', symlinks=True, ignore=shutil.ignore_patterns('.ipynb_checkpoints', '_proc'))
    for f in ('pyproject.toml', 'settings.ini', 'setup.py', '_quarto.yml'): shutil.copy(ROOT/f, tmp_path)
    shutil.copytree(ROOT/'lensnb', tmp_path/'lensnb', ignore=shutil.ignore_patterns('__pycache__', '_weights'))
    return tmp_path


def test_export_is_in_sync(tmp_path):
    copy = copy_of(tmp_path)
    subprocess.run([BIN/'nbdev-export'], cwd=copy, check=True, capture_output=True)
    for p in sorted((ROOT/'lensnb').glob('*.py')):
        assert (copy/'lensnb'/p.name).read_text() == p.read_text(), f'{p.name} differs from its notebook: run make export'
    assert {p.name for p in (copy/'lensnb').glob('*.py')} == {p.name for p in (ROOT/'lensnb').glob('*.py')}


def test_clean_changes_nothing(tmp_path):
    copy = copy_of(tmp_path)
    subprocess.run([BIN/'nbdev-clean'], cwd=copy, check=True, capture_output=True)
    changed = [p.name for p in NBS if (copy/p.relative_to(ROOT)).read_text() != p.read_text()]
    assert changed == [], 'run make export'


def test_one_version_one_address():
    ini = ConfigParser(delimiters=['='])
    ini.read(ROOT/'settings.ini')
    project = tomllib.loads((ROOT/'pyproject.toml').read_text())['project']
    version, url = ini['DEFAULT']['version'], project['urls']['Repository']
    import lensnb
    assert lensnb.__version__ == version == re.search(r'^version: (.*)$', (ROOT/'CITATION.cff').read_text(), re.M)[1]
    assert re.search(r'^## (\S+?),? ', (ROOT/'CHANGELOG.md').read_text(), re.M)[1].rstrip(',') == version
    assert project['name'] == ini['DEFAULT']['lib_name']
    named = {str(p.relative_to(ROOT)) for p in [ROOT/'CITATION.cff', ROOT/'README.md', ROOT/'CONTRIBUTING.md', *ROOT.glob('benchmarks/*.py')] for u in re.findall(r'https://github\.com/[\w.-]+/lensnb', p.read_text()) if u != url}
    assert named == set(), 'the address of the repository is the one in pyproject.toml'


def test_readme_is_the_index():
    from readme import render
    assert (ROOT/'README.md').read_text(encoding='utf-8') == render(ROOT/'nbs'/'index.ipynb'), 'run .venv/bin/python tests/readme.py'


@pytest.mark.parametrize('name', NUMPY_SIDE)
def test_numpy_side_loads_no_torch(name):
    code = f"import sys, lensnb.{name}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0
