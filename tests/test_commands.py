"The commands from outside: what they leave behind, byte for byte"
import hashlib
import os
import signal
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import BIN, run

from lensnb.core import Scores
from lensnb.cutouts import write_cutouts
from lensnb.track import read_run


def sha(p): return hashlib.sha256(p.read_bytes()).hexdigest()


@pytest.mark.parametrize('pixels', ['flux', 'composite8'])
def test_same_sky_on_one_process_or_two(pixels, tmp_path):
    for w in (1, 2): run('lensnb-simulate', tmp_path/str(w), '--n', 70, '--seed', 1, '--workers', w, '--pixels', pixels)
    assert sha(tmp_path/'1'/'images.npy') == sha(tmp_path/'2'/'images.npy')
    run('lensnb-simulate', tmp_path/'3', '--n', 70, '--seed', 2, '--workers', 2, '--pixels', pixels)
    assert sha(tmp_path/'1'/'images.npy') != sha(tmp_path/'3'/'images.npy')


def test_a_run_folder_is_complete(flux):
    have = {p.name for p in flux[1].iterdir()}
    assert {'config.yaml', 'model.safetensors', 'card.json', 'history.csv', 'scores.csv', 'metrics.json', 'roc.png', 'confusion.png', 'report.html'} <= have
    s = Scores.read(flux[1]/'scores.csv')
    assert len(s) == 16 and set(s.label) == {0, 1}


def test_nine_of_ten(tmp_path, flux, ten):
    images, cat, survey = ten
    write_cutouts(tmp_path/'x', images, cat, survey, 'fits')
    f = tmp_path/'x'/'obj3.fits'
    f.write_bytes(f.read_bytes()[:9000])
    r = run('lensnb-test', '--weights', flux[1], '--data', tmp_path/'x', '--out', tmp_path/'o', '--cam')
    scores, bad = pd.read_csv(tmp_path/'o'/'predictions.csv'), pd.read_csv(tmp_path/'o'/'bad_files.csv')
    assert len(scores) == 9 and bad['id'].tolist() == ['obj3'] and 'obj3' in r.stderr
    assert {'id', 'path', 'logit', 'p_lens', 'pred', 'label'} <= set(scores)
    assert len(list((tmp_path/'o'/'cam').glob('*.png'))) == 9
    assert {'metrics.json', 'roc.png', 'confusion.png', 'report.html'} <= {p.name for p in (tmp_path/'o').iterdir()}


@pytest.mark.parametrize('fmt', ['fits', 'fits-per-band', 'npy', 'store'])
def test_the_format_does_not_matter(fmt, tmp_path, flux, ten):
    images, cat, survey = ten
    write_cutouts(tmp_path/fmt, images, cat, survey, fmt)
    run('lensnb-test', '--weights', flux[1], '--data', tmp_path/fmt, '--out', tmp_path/'o', '--pixel-scale', .2)
    from lensnb.cutouts import open_cutouts
    from lensnb.predict import predict
    s = Scores.read(tmp_path/'o'/'predictions.csv')
    again, _ = predict(str(flux[1]), open_cutouts(tmp_path/fmt, bands=survey.bands, pixel_scale_arcsec=.2), batch_size=3, progress=False)
    assert s.id.tolist() == cat['id'].tolist()
    np.testing.assert_allclose(s.logit, again.logit, atol=1e-4)


def test_ids_cannot_leave_the_folder(tmp_path, flux, ten):
    images, cat, survey = ten
    ids = cat.assign(id=['../../evil', 'a/b', *cat['id'][2:]])
    write_cutouts(tmp_path/'x', images, ids, survey, 'store')
    run('lensnb-test', '--weights', flux[1], '--data', tmp_path/'x', '--out', tmp_path/'o', '--cam')
    assert len(list((tmp_path/'o'/'cam').iterdir())) == 10
    assert {p.name for p in tmp_path.iterdir()} == {'x', 'o'}


def test_resume_after_kill(tmp_path, flux):
    out, history = tmp_path/'run', tmp_path/'run'/'history.csv'
    args = [BIN/'lensnb-train', 'train.epochs=6', 'train.precision=fp32', '--data', flux[0], '--out', out]
    p = subprocess.Popen(args, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    while p.poll() is None and not (history.exists() and history.read_text().count('\n') >= 3): time.sleep(.01)
    assert p.poll() is None, 'the run ended before it could be killed'
    os.killpg(p.pid, signal.SIGKILL)
    p.wait()
    done = len(pd.read_csv(history))
    assert 2 <= done < 6 and not (out/'model.safetensors').exists()
    assert '--resume' in run(*args, code=1).stderr
    run(*args, '--resume')
    h = pd.read_csv(history)
    assert h['epoch'].tolist() == list(range(6)) and np.isfinite(h.select_dtypes('number').to_numpy()).all()


def test_resume_is_the_same_run(tmp_path, flux):
    "A run that was stopped ends with the weights of one that was not"
    args = ['train.epochs=3', 'train.precision=fp32', 'train.channels_last=true', 'train.threads=1', '--data', flux[0]]
    run('lensnb-train', *args, '--out', tmp_path/'whole')
    p = subprocess.Popen([BIN/'lensnb-train', *map(str, args), '--out', tmp_path/'cut'], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    history = tmp_path/'cut'/'history.csv'
    while p.poll() is None and not (history.exists() and history.read_text().count('\n') >= 2): time.sleep(.01)
    assert p.poll() is None, 'the run ended before it could be killed'
    os.killpg(p.pid, signal.SIGKILL)
    p.wait()
    run('lensnb-train', *args, '--out', tmp_path/'cut', '--resume')
    a, b = (Scores.read(tmp_path/k/'scores.csv') for k in ('whole', 'cut'))
    assert a.id.tolist() == b.id.tolist()
    np.testing.assert_allclose(a.logit, b.logit, atol=1e-3)


@pytest.mark.skipif(torch.cuda.is_available(), reason='this machine has a GPU')
def test_no_gpu_says_so(tmp_path, flux):
    r = run('lensnb-test', '--weights', flux[1], '--data', flux[0], '--out', tmp_path/'o', '--device', 'cuda', code=1)
    assert 'cuda' in r.stderr.lower() or 'gpu' in r.stderr.lower()


@pytest.mark.skipif(not torch.cuda.is_available(), reason='this machine has no GPU')
def test_cpu_and_gpu_agree(tmp_path, flux):
    for dev in ('cpu', 'cuda'): run('lensnb-test', '--weights', flux[1], '--data', flux[0], '--out', tmp_path/dev, '--device', dev)
    a, b = (Scores.read(tmp_path/k/'predictions.csv') for k in ('cpu', 'cuda'))
    np.testing.assert_allclose(a.logit, b.logit, atol=1e-2)


def test_wandb_offline(tmp_path, flux, monkeypatch):
    monkeypatch.chdir(tmp_path)
    r = run('lensnb-train', 'train.epochs=1', 'train.precision=fp32', 'wandb.track=offline', '--data', flux[0], '--out', tmp_path/'r')
    assert 'wandb sync' in r.stderr
    back = read_run(tmp_path/'r')
    keys = set().union(*back['history'])
    assert {'loss', 'lr', 'valid_loss', 'auc', 'validation', 'roc_figure', 'confusion_figure', 'roc_table', 'confusion_table'} <= keys, keys
    assert back['config']['train']['epochs'] == 1 and back['summary']['final']['auc'] and back['artifacts'], back


def test_images_without_a_finder_are_told_so(tmp_path, ten):
    "Ten files in a band that no released network takes: what came, and what there is for it"
    from lensnb.cli import _open_any, _open_for
    from lensnb.core import InputError, Survey
    images, cat, _ = ten
    write_cutouts(tmp_path/'nisp', images[:, :2], cat, Survey('space', ('J', 'H'), pixel_scale_arcsec=.3), 'fits-per-band')
    with pytest.raises(InputError, match='J H; g r i is missing.*For J H there are no released weights yet'): _open_for(('g', 'r', 'i'), tmp_path/'nisp', None, None, None, None)
    with pytest.raises(InputError, match='For J H there are no released weights yet'): _open_any(None, ('g', 'r', 'i'), tmp_path/'nisp', None, None, None, None)
    write_cutouts(tmp_path/'vis', images[:, :1], cat, Survey('space', ('VIS',), pixel_scale_arcsec=.1), 'fits-per-band')
    assert _open_any(None, ('g', 'r', 'i'), tmp_path/'vis', None, None, None, None)[1:] == ('vis', 'one band, VIS')
    assert _open_any(None, ('g', 'r', 'i'), tmp_path/'vis', 'VIS', None, None, None)[1] == 'vis'
    write_cutouts(tmp_path/'space', images, cat, Survey('space', ('VIS', 'J', 'H'), pixel_scale_arcsec=.1), 'fits-per-band')
    cuts, name, _ = _open_any(None, ('g', 'r', 'i'), tmp_path/'space', None, None, None, None)
    assert name == 'vis' and cuts.read(0).shape[0] == 1
    with pytest.raises(InputError, match='For VIS J H there is .*vis'): _open_any('d4-cnn', ('g', 'r', 'i'), tmp_path/'space', None, None, None, None)   # a name that was said is kept
    np.save(tmp_path/'plain.npy', images[0])
    assert '0.2″/pixel (as told)' in _open_any(None, ('g', 'r', 'i'), tmp_path/'plain.npy', None, None, .2, None)[0].said
    write_cutouts(tmp_path/'gri', images, cat, Survey('ground', ('g', 'r', 'i'), pixel_scale_arcsec=.2), 'fits-per-band')
    with pytest.raises(InputError, match='For g r i there is .*small-flux'): _open_for(('F814W',), tmp_path/'gri', None, None, None, None)
    assert len(_open_for(('g', 'r', 'i'), tmp_path/'gri', None, None, None, None)) == 10
