"Training as a user meets it: repeatable, resumable, validated elsewhere, with hard negatives; its refusals"
import hashlib

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import run

from lensnb.core import read_json
from lensnb.store import open_store, write_store
from lensnb.weights import read_card

FIXED = ['train.precision=fp32', 'train.channels_last=true', 'data.batch_size=16']


def sha(folder): return hashlib.sha256((folder/'model.safetensors').read_bytes()).hexdigest()


@pytest.fixture(scope='module')
def other(work, flux):
    "A second store of the same kind, with galaxies of its own"
    path = work/'flux-other'
    run('lensnb-simulate', path, '--n', 60, '--seed', 2, '--workers', 1, '--store-name', 'other')
    return path


@pytest.fixture(scope='module')
def pool(work):
    path = work/'flux-pool'
    run('lensnb-simulate', path, '--n', 60, '--lens-frac', 0, '--seed', 3, '--workers', 1, '--store-name', 'pool')
    return path


def test_same_seed_same_weights(tmp_path, flux):
    args = ['train.epochs=2', *FIXED, '--data', flux[0]]
    for name in ('a', 'b'): run('lensnb-train', *args, '--out', tmp_path/name)
    run('lensnb-train', 'seed=1', *args, '--out', tmp_path/'c')
    assert sha(tmp_path/'a') == sha(tmp_path/'b') != sha(tmp_path/'c')
    assert read_card(tmp_path/'a').sha256 == sha(tmp_path/'a')


def test_a_run_repeats_itself_from_its_own_config(tmp_path, flux):
    run('lensnb-train', 'train.epochs=1', 'data.batch_size=16', '--data', flux[0], '--out', tmp_path/'a')
    kept = yaml.safe_load((tmp_path/'a'/'config.yaml').read_text())
    assert kept['train']['precision'] in ('fp32', 'bf16') and kept['train']['channels_last'] in (True, False), 'what was measured is written down'
    run('lensnb-train', '--config', tmp_path/'a'/'config.yaml', '--data', flux[0], '--out', tmp_path/'b')
    assert sha(tmp_path/'a') == sha(tmp_path/'b')


def test_validation_store(tmp_path, flux, other):
    run('lensnb-train', 'train.epochs=1', *FIXED, '--data', flux[0], '--validation', other, '--out', tmp_path/'a')
    scores = pd.read_csv(tmp_path/'a'/'scores.csv')
    assert set(scores['id']) == set(open_store(other).catalog.dropna(subset='label')['id'])
    card = read_card(tmp_path/'a')
    assert card.data['validation_store'] == 'flux-other' and card.data['n_train'] == 80
    assert {'auc', 'pauc'} <= set(pd.read_csv(tmp_path/'a'/'history.csv'))
    said = run('lensnb-train', *FIXED, '--data', flux[0], '--validation', flux[0], '--out', tmp_path/'b', code=1).stderr
    assert 'seen in training' in said and not (tmp_path/'b').exists()


def test_one_class_is_refused(tmp_path, flux, pool, other):
    said = run('lensnb-train', *FIXED, '--data', flux[0], '--validation', pool, '--out', tmp_path/'a', code=1).stderr
    assert 'validation part needs lenses and non-lenses' in said
    said = run('lensnb-train', *FIXED, '--data', pool, '--validation', other, '--out', tmp_path/'a', code=1).stderr
    assert 'training part needs lenses and non-lenses' in said
    assert not (tmp_path/'a').exists()


def test_other_kinds_of_stores_are_refused(tmp_path, flux, composite):
    said = run('lensnb-train', *FIXED, '--data', flux[0], '--validation', composite[0], '--out', tmp_path/'a', code=1).stderr
    assert 'composite8' in said and 'flux' in said


def test_hard_negatives(tmp_path, flux, other, pool):
    out = tmp_path/'a'
    run('lensnb-train', 'train.epochs=1', 'mine.epochs=1', *FIXED, '--data', flux[0], '--validation', other, '--hard-negatives', pool, '--out', out)
    mined = pd.read_csv(out/'hard_negatives.csv')
    assert len(mined) == 8 and mined['logit'].is_monotonic_decreasing and set(mined['id']) <= set(open_store(pool).catalog['id'])
    assert read_card(out/'first').data['n_train'] == 80 and read_card(out).data['n_train'] == 88
    assert sha(out) != sha(out/'first') and (out/'report.html').is_file()
    said = run('lensnb-train', *FIXED, '--data', flux[0], '--validation', other, '--hard-negatives', other, '--out', tmp_path/'b', code=1).stderr
    assert 'seen in training' in said


def test_from_released_weights(tmp_path, flux):
    run('lensnb-train', 'train.epochs=1', 'train.lr=1e-9', *FIXED, '--from', 'small-flux', '--data', flux[0], '--out', tmp_path/'a')
    card = read_card(tmp_path/'a')
    assert card.architecture == 'lens_cnn' and 'small-flux' in card.started_from
    assert read_json(tmp_path/'a'/'metrics.json')['auc']['value'] > .8, 'it starts with what small-flux knows'


def test_learning_rates_are_found_and_nothing_is_trained(tmp_path, flux):
    r = run('lensnb-train', *FIXED, '--data', flux[0], '--out', tmp_path/'a', '--find-lr')
    assert 'valley' in r.stdout and sorted(p.name for p in (tmp_path/'a').iterdir()) == ['lr.csv', 'lr.png']
    assert pd.read_csv(tmp_path/'a'/'lr.csv')['lr'].is_monotonic_increasing


def test_a_loss_that_is_no_number_names_the_batch(tmp_path, flux):
    "One cutout of absurd brightness; that the weights of earlier epochs are kept is shown in the notebook"
    s = open_store(flux[0])
    cat = s.catalog.assign(split=np.where(np.arange(80) < 60, 'train', 'val'))
    cat.loc[0, [c for c in cat if c.startswith('sigma_')]] = 1e-38
    write_store(tmp_path/'bad', s.batch(slice(None)), cat, s.survey)
    r = run('lensnb-train', 'train.epochs=2', *FIXED, '--data', tmp_path/'bad', '--out', tmp_path/'a', code=1)
    assert 'not a number in epoch 0, batch' in r.stderr


def test_out_of_memory_is_one_sentence():
    import torch

    from lensnb.cli import _sentence
    with pytest.raises(RuntimeError) as e: torch.empty(10**16)
    assert _sentence(e.value).startswith('Out of memory') and 'batch' in _sentence(e.value)
