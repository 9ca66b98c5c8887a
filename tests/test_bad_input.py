"Every bad input gives one sentence on stderr, exit status 1 (2 for wrong usage), no traceback, and no output"
import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from conftest import run

from lensnb.cutouts import write_cutouts


def spoil_fits(folder, how):
    folder.mkdir()
    f = folder/'a.fits'
    if how == 'truncated':
        fits.PrimaryHDU(np.random.default_rng(0).standard_normal((3, 64, 64)).astype('f4')).writeto(f)
        f.write_bytes(f.read_bytes()[:6000])
    elif how == 'no image': fits.PrimaryHDU().writeto(f)
    elif how == 'text': f.write_text('this is a text file')
    return folder


def npy(folder, x, pickle=False):
    folder.mkdir()
    np.save(folder/'a.npy', x, allow_pickle=pickle)
    return folder


def noise(shape=(3, 64, 64)): return np.random.default_rng(0).standard_normal(shape).astype('f4')


def part_nan(frac):
    x = noise()
    x[1, :int(64*frac)] = np.nan
    return x


def table(path, **cols):
    pd.DataFrame(cols).to_csv(path, index=False)
    return path


# name: (what makes the data, further options, words the sentence must hold)
DATA = {
    'missing folder':    (lambda d, ten: d/'nowhere', [], ['nothing at']),
    'empty folder':      (lambda d, ten: (d/'empty').mkdir() or d/'empty', [], ['no images']),
    'truncated FITS':    (lambda d, ten: spoil_fits(d/'x', 'truncated'), [], ['a.fits']),
    'FITS without image': (lambda d, ten: spoil_fits(d/'x', 'no image'), [], ['no image']),
    'text named .fits':  (lambda d, ten: spoil_fits(d/'x', 'text'), [], ['a.fits']),
    'npy of objects':    (lambda d, ten: npy(d/'x', np.array([{}, None], dtype=object), True), [], ['never loaded']),
    'npy of text':       (lambda d, ten: npy(d/'x', np.array(['a', 'b'])), [], ['wanted numbers']),
    'npy of one row':    (lambda d, ten: npy(d/'x', noise((64,))), [], ['shape (64,)']),
    'all NaN':           (lambda d, ten: npy(d/'x', np.full((3, 64, 64), np.nan)), [], ['no valid pixel']),
    'mostly NaN':        (lambda d, ten: npy(d/'x', part_nan(.75)), [], ['band r', 'NaN']),
    'constant':          (lambda d, ten: npy(d/'x', np.ones((3, 64, 64))), [], ['constant']),
    'wrong band count':  (lambda d, ten: npy(d/'x', noise((2, 64, 64))), [], ['g r i', 'band1 band2']),
    'wrong bands':       (lambda d, ten: write_cutouts(d/'x', ten[0], ten[1], replace(ten[2], bands=('z', 'y', 'J')), 'fits') and d/'x', [], ['g r i', 'Z Y J']),
    'wrong kind of pixels': (lambda d, ten: write_cutouts(d/'x', np.clip(ten[0]*50, 0, 255), ten[1], ten[2], 'picture') and d/'x', ['--pixel-scale', '0.2'], ['composite8', 'flux']),
    'too small':         (lambda d, ten: npy(d/'x', noise((3, 32, 32))), [], ['32', '64']),
    'wrong pixel scale': (lambda d, ten: write_cutouts(d/'x', ten[0], ten[1], replace(ten[2], pixel_scale_arcsec=.05), 'fits') and d/'x', [], ['0.05', '0.2', '--resample']),
    'CSV without ids':   (lambda d, ten: write_cutouts(d/'x', ten[0], ten[1], ten[2], 'fits') and d/'x', ['--catalog', lambda d: table(d/'c.csv', label=[1, 0])], ['column of ids']),
    'CSV with repeats':  (lambda d, ten: write_cutouts(d/'x', ten[0], ten[1], ten[2], 'fits') and d/'x', ['--catalog', lambda d: table(d/'c.csv', id=['obj1', 'obj1'])], ["'obj1' comes more than once"]),
    'CSV without images': (lambda d, ten: write_cutouts(d/'x', ten[0], ten[1], ten[2], 'fits') and d/'x', ['--catalog', lambda d: table(d/'c.csv', id=['obj1', 'obj77'])], ["'obj77'"]),
    'no such CSV':       (lambda d, ten: write_cutouts(d/'x', ten[0], ten[1], ten[2], 'fits') and d/'x', ['--catalog', 'none.csv'], ['none.csv', 'no such file']),
    'unknown band name': (lambda d, ten: write_cutouts(d/'x', ten[0], ten[1], ten[2], 'fits') and d/'x', ['--bands', 'g,r,K'], ['K is missing']),
}


@pytest.mark.parametrize('name', DATA)
def test_data(name, tmp_path, flux, ten):
    make, options, words = DATA[name]
    data, out = make(tmp_path, ten), tmp_path/'out'
    r = run('lensnb-test', '--weights', flux[1], '--data', data, '--out', out, *[o(tmp_path) if callable(o) else o for o in options], code=1)
    said = r.stderr.strip().split('\n')[-1]
    assert said.startswith('lensnb-test: ') and all(w in said for w in words), said
    assert not out.exists() and not r.stdout


# name: (arguments after lensnb-train, words)
TRAIN = {
    'unknown key':       (['train.epoch=3'], ["Did you mean 'train.epochs'"]),
    'wrong type':        (['train.epochs=many'], ['train.epochs', 'integer']),
    'negative learning rate': (['train.lr=-0.1'], ['train.lr', 'greater than 0']),
    'no such model':     (['model.name=resnet_of_dreams'], ['resnet_of_dreams']),
    'no such config':    (['--config', 'none.yaml'], ['no config file']),
    'truth column':      (['data.meta_columns=[theta_e_arcsec]'], ['theta_e_arcsec', 'truth']),
    'bands not there':   (['data.bands=[g,r,z]'], ['z is missing']),
    'nearly a model':    (['model.name=lens_cn'], ['lens_cn', 'lens_cnn']),
    'too few pixels':    (['model.name=resnet18', 'data.size_pix=16'], ['resnet18', '32', '16']),
    'ImageNet for ours': (['model.name=lens_cnn', 'model.pretrained=imagenet'], ['lens_cnn', 'no ImageNet weights']),
    'stride of our own': (['model.name=lens_cnn', 'model.stem_stride=1'], ['stem_stride']),
    'not a number':      (['train.lr=1e30', 'train.schedule=flat', 'train.warmup=0', 'data.batch_size=8'], ['not a number in epoch 0, batch']),
    'fp16 on a CPU':     (['train.precision=fp16', 'train.device=cpu'], ['fp16', 'bf16']),
    'no such weights':   (['--from', 'nobody'], ['no weights named', 'small-flux']),
    'other pixels':      (['--from', 'small-composite'], ['composite8', 'flux']),
    'no such validation': (['--validation', 'nowhere'], ['no store at nowhere']),
    'no such pool':      (['--hard-negatives', 'nowhere'], ['no store at nowhere']),
}


@pytest.mark.parametrize('name', TRAIN)
def test_config(name, tmp_path, flux):
    args, words = TRAIN[name]
    r = run('lensnb-train', *args, '--data', flux[0], '--out', tmp_path/'out', code=1)
    said = r.stderr.strip().split('\n')[-1]
    assert said.startswith('lensnb-train: ') and all(w in said for w in words), said
    assert not (tmp_path/'out'/'model.safetensors').exists()


def test_corrupted_weights(tmp_path, flux):
    bad = tmp_path/'run'
    shutil.copytree(flux[1], bad)
    f = bad/'model.safetensors'
    b = bytearray(f.read_bytes())
    b[-100] ^= 255
    f.write_bytes(b)
    r = run('lensnb-test', '--weights', bad, '--data', flux[0], '--out', tmp_path/'out', code=1)
    assert 'sha256' in r.stderr and not (tmp_path/'out').exists()
    f.unlink()
    assert 'model.safetensors' in run('lensnb-test', '--weights', bad, '--data', flux[0], '--out', tmp_path/'out', code=1).stderr


def test_unknown_weights(tmp_path, flux):
    assert 'no_such_net' in run('lensnb-test', '--weights', 'no_such_net', '--data', flux[0], '--out', tmp_path/'o', code=1).stderr


@pytest.mark.parametrize('command', ['simulate', 'train', 'test'])
def test_output_is_a_file(command, tmp_path, flux):
    out = tmp_path/'out'
    out.write_text('precious')
    args = {'simulate': [out, '--n', 8], 'train': ['--data', flux[0], '--out', out], 'test': ['--weights', flux[1], '--data', flux[0], '--out', out]}[command]
    assert 'is a file' in run(f'lensnb-{command}', *args, code=1).stderr
    assert out.read_text() == 'precious'


def contents(folder): return {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()}


@pytest.mark.parametrize('command', ['simulate', 'train', 'test'])
def test_full_output_is_left_alone(command, tmp_path, flux):
    store, weights = flux
    before = contents(weights), contents(store)
    args = {'simulate': [store, '--n', 8], 'train': ['--data', store, '--out', weights], 'test': ['--weights', weights, '--data', store, '--out', weights]}[command]
    run(f'lensnb-{command}', *args, code=1)
    assert (contents(weights), contents(store)) == before


@pytest.mark.parametrize('args', [['lensnb-test', '--weights', 'x'], ['lensnb-train', '--data', 'x'], ['lensnb-simulate', 'x', '--n', 'many'], ['lensnb-test', '--nonsense']])
def test_wrong_usage_is_2(args): run(*args, code=2)


def test_half_written_store(tmp_path, flux):
    s = tmp_path/'s'
    shutil.copytree(flux[0], s)
    meta = json.loads((s/'survey.json').read_text())
    (s/'survey.json').write_text(json.dumps({**meta, 'complete': False}))
    assert 'half-written' in run('lensnb-train', '--data', s, '--out', tmp_path/'o', code=1).stderr


@pytest.mark.parametrize('frac,code', [(.2, 0), (.75, 1)])
def test_some_nan_is_filled_and_flagged(frac, code, tmp_path, flux):
    "A fifth of one band missing is filled, counted and said; three quarters is refused"
    data = npy(tmp_path/'x', part_nan(frac))
    r = run('lensnb-test', '--weights', flux[1], '--data', data, '--out', tmp_path/'o', code=code)
    if code == 0: assert pd.read_csv(tmp_path/'o'/'predictions.csv')['flags'][0].count('masked')
    else: assert 'band r' in r.stderr
