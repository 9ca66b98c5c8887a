"The hand-over from the terminal: lenses in, classes, strangeness and refusals out, and a sentence for everything that cannot be"
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import run

from lensnb.anomaly import train_anomaly
from lensnb.config import load_config
from lensnb.core import scene_rng
from lensnb.cutouts import write_cutouts
from lensnb.handoff import prepare
from lensnb.simulate import simulate_one
from lensnb.subhalos import Honest, preset_survey, simulate_classes, simulate_substructure
from lensnb.substructure import load_classifier, release_classes, train_classes
from lensnb.surveys import get_survey

HST = preset_survey('honest')
TINY = ['data.size_pix=96', 'train.epochs=1', 'train.precision=fp32', 'train.channels_last=true', 'train.threads=1']


def found(i, **how): return simulate_substructure(scene_rng(21, 'found', i), ('none', 'cdm', 'vortex')[i % 3], how=Honest(lens_light='kept', **how))[0]


@pytest.fixture(scope='module')
def networks(tmp_path_factory):
    "A classifier and an autoencoder that know hardly anything: what they are worth does not matter here"
    t = tmp_path_factory.mktemp('dark')
    s = {k: simulate_classes(t/k, n=n, store_name=k, progress=False) for k, n in (('train', 120), ('held', 60), ('calib', 650))}
    train_classes(load_config(overrides=['name=toy', *TINY]), s['train'], t/'run', s['held'], progress=False)
    train_anomaly(load_config(overrides=['name=strange', 'model.name=vae', *TINY]), s['train'], t/'strange', s['held'], progress=False)
    release_classes(t/'run', t/'classes', s['calib'], [prepare(found(i), HST) for i in range(50)], anomaly=str(t/'strange'))
    return t/'classes', t/'strange'


@pytest.fixture(scope='module')
def lenses(tmp_path_factory):
    "Six found lenses, one of them too small to be prepared, and a score table of them"
    t = tmp_path_factory.mktemp('lenses')
    images = np.stack([found(i) for i in range(60, 66)])
    cat = pd.DataFrame(dict(id=[f'L{i}' for i in range(6)]))
    write_cutouts(t/'fits', images, cat, replace(HST, size_pix=128), 'fits')
    pd.DataFrame(dict(id=['L4', 'L1', 'gone', 'L0'], logit=[3., 2., 1., 0.], p_lens=.5)).to_csv(t/'predictions.csv', index=False)
    return t


def test_classes_strangeness_refusals_and_files(tmp_path, networks, lenses):
    r = run('lensnb-substructure', lenses/'fits', '--out', tmp_path/'o', '--weights', networks[0], '--survey', 'hst', '--anomaly', '--export')
    t = pd.read_csv(tmp_path/'o'/'substructure.csv', keep_default_na=False)
    asked = t['refused'] == ''
    assert len(t) == 6 and asked.sum() >= 3 and '6 lenses' in r.stdout
    p = t.loc[asked, ['p_none', 'p_cdm', 'p_vortex']].astype(float)
    assert np.allclose(p.sum(axis=1), 1) and t.loc[asked, 'anomaly_error_rank'].astype(float).between(0, 1).all()
    assert (t.loc[~asked, 'class'] == '').all() and (t.loc[~asked, 'p_none'] == '').all()
    assert {f.name for f in (tmp_path/'o'/'modelling'/'L3').iterdir()} == {'image.fits', 'noise_map.fits', 'psf.fits'}
    page = (tmp_path/'o'/'index.html').read_text()
    assert page.count('<img') == 6 and 'What to believe' in page


def test_the_best_of_a_score_table(tmp_path, networks, lenses):
    r = run('lensnb-substructure', lenses/'predictions.csv', '--data', lenses/'fits', '--out', tmp_path/'o', '--weights', networks[0], '--survey', 'hst', '--top', 3)
    assert pd.read_csv(tmp_path/'o'/'substructure.csv')['id'].tolist() == ['L4', 'L1'] and "'gone'" in r.stderr


@pytest.mark.parametrize('survey, kind, band', [('lsst', 'lens', 'r'), ('hst', 'spiral', 'F814W')])
def test_refused_with_the_numbers(tmp_path, networks, survey, kind, band):
    s = get_survey(survey)
    x = np.stack([simulate_one(s, scene_rng(3, survey, i), kind)[0] for i in range(2)])
    write_cutouts(tmp_path/'x', x, pd.DataFrame(dict(id=['a', 'b'])), s, 'fits')
    run('lensnb-substructure', tmp_path/'x', '--out', tmp_path/'o', '--weights', networks[0], '--survey', survey, '--band', band)
    t = pd.read_csv(tmp_path/'o'/'substructure.csv', keep_default_na=False)
    assert ((t['refused'] == '') == (t['class'] != '')).all()
    if survey == 'lsst': assert all('PSF is 0.7' in o for o in t['refused'])


def test_bad_input(tmp_path, networks, lenses):
    small = found(3)[None, :, 40:88, 40:88]
    write_cutouts(tmp_path/'small', small, pd.DataFrame(dict(id=['s'])), replace(HST, size_pix=48), 'fits')
    picture = simulate_one(get_survey('cfhtls', pixels='composite8'), scene_rng(1, 'p', 0), 'lens')[0]
    write_cutouts(tmp_path/'png', picture[None], pd.DataFrame(dict(id=['p'])), get_survey('cfhtls', pixels='composite8'), 'picture')
    lacking = lenses/'lacking.csv'
    pd.DataFrame(dict(id=['L1'], p_lens=[.5])).to_csv(lacking, index=False)
    base = ['--weights', networks[0], '--survey', 'hst']
    for k, (args, said) in enumerate([([lenses/'predictions.csv', *base], '--data'), ([lacking, '--data', lenses/'fits', *base], 'logit is missing'), ([lenses/'nothing', *base], 'nothing'),
                                      ([lenses/'fits', '--weights', networks[0]], '--psf-fwhm'), ([lenses/'fits', *base, '--band', 'z'], "no 'z'"),
                                      ([lenses/'fits', '--weights', 'small-flux', '--survey', 'hst'], 'does not sort lenses'), ([lenses/'fits', '--weights', 'nobody', '--survey', 'hst'], 'nobody'), ([lenses/'fits', '--survey', 'nowhere'], 'nowhere'),
                                      ([lenses/'fits', *base, '--anomaly-weights', networks[0]], 'which classifies')]):
        assert said in run('lensnb-substructure', *args, '--out', tmp_path/f'o{k}', code=1).stderr, args
        assert not (tmp_path/f'o{k}').exists()
    for folder, said in (('small', 'at least 96 pixels'), ('png', 'stretch baked in')):
        run('lensnb-substructure', tmp_path/folder, '--out', tmp_path/f'o-{folder}', *base, *(['--psf-fwhm', .8, '--pixel-scale', .187] if folder == 'png' else []))
        assert said in pd.read_csv(tmp_path/f'o-{folder}'/'substructure.csv')['refused'][0]


def test_weights_are_checked(tmp_path, networks):
    import shutil
    shutil.copytree(networks[0], tmp_path/'w')
    with open(tmp_path/'w'/'familiar.safetensors', 'ab') as f: f.write(b'x')
    with pytest.raises(ValueError, match='familiar.safetensors is damaged'): load_classifier(tmp_path/'w')


def test_a_classifier_is_no_finder(tmp_path, networks, lenses):
    assert 'lensnb-substructure' in run('lensnb-test', '--weights', networks[0], '--data', lenses/'fits', '--out', tmp_path/'o', code=1).stderr


def test_resumed_training_ends_the_same(tmp_path, networks):
    store, held = (simulate_classes(tmp_path/k, n=n, store_name=k, progress=False) for k, n in (('train', 96), ('held', 30)))
    cfg = load_config(overrides=['name=r', *TINY, 'train.epochs=3', 'train.label_smoothing=.1', 'train.smooth_after=1', 'train.threads=1'])
    train_classes(cfg, store, tmp_path/'whole', held, progress=False)

    class Stop(Exception): pass

    import lensnb.substructure as s
    real = s.ClassLine.after_epoch

    def stop(self):
        if self.epoch == 1: raise Stop('now')
    s.ClassLine.after_epoch = stop
    try:
        with pytest.raises(Stop): train_classes(cfg, store, tmp_path/'parts', held, progress=False)
    finally: s.ClassLine.after_epoch = real
    assert len(pd.read_csv(tmp_path/'parts'/'history.csv')) == 2
    train_classes(cfg, store, tmp_path/'parts', held, resume=True, progress=False)
    a, b = (pd.read_csv(tmp_path/k/'scores.csv') for k in ('whole', 'parts'))
    assert np.abs(a['logit_cdm']-b['logit_cdm']).max() < 1e-5
