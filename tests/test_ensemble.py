"An ensemble from outside: commands, checksums, and cards that cannot be right"
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import run

from lensnb.calibrate import shift_prior
from lensnb.core import InputError, Scores
from lensnb.ensemble import HOW, EnsembleCard, apply_ensemble, fit_ensemble, read_ensemble, save_ensemble
from lensnb.weights import read_card

AS_IT_IS = dict(method='platt', parameters=dict(slope=1., offset=0.), prevalence=.5)


@pytest.fixture
def both(tmp_path, flux):
    "Two copies of one network beside their ensemble"
    for o in ('a', 'b'): shutil.copytree(flux[1], tmp_path/o)
    sha = read_card(flux[1]).sha256
    card = EnsembleCard('both', [dict(name=o, sha256=sha, calibration=AS_IT_IS) for o in ('a', 'b')], 'logit_mean', [.5, .5], .5, calibration=AS_IT_IS, threshold=.5)
    return save_ensemble(tmp_path/'both', card)


def test_two_equal_members_score_like_one(tmp_path, flux, both):
    run('lensnb-test', '--weights', flux[1], '--data', flux[0], '--out', tmp_path/'one', '--engine', 'torch')
    r = run('lensnb-test', '--weights', f'ensemble:{both}', '--data', flux[0], '--out', tmp_path/'two', '--engine', 'torch', '--prior', 1e-3)
    one, two = (Scores.read(tmp_path/o/'predictions.csv') for o in ('one', 'two'))
    assert r.stdout.count('\n') == 1 and '80 objects scored' in r.stdout
    np.testing.assert_allclose(two.logit, one.logit, atol=1e-5)
    np.testing.assert_allclose(two.p_lens, shift_prior(one.p_lens, .5, 1e-3), atol=1e-6)
    assert (two.pred == (one.logit >= 0)).all() and np.allclose(two.extra['disagreement'], 0)
    assert {'metrics.json', 'roc.png', 'report.html'} <= {p.name for p in (tmp_path/'two').iterdir()}


def test_a_member_trained_again_is_refused(tmp_path, flux, both):
    d = json.loads((both/'card.json').read_text())
    d['members'][1]['sha256'] = 'f'*64
    (both/'card.json').write_text(json.dumps(d))
    r = run('lensnb-test', '--weights', f'ensemble:{both}', '--data', flux[0], '--out', tmp_path/'x', code=1)
    assert 'b is not the network that' in r.stderr and not (tmp_path/'x').exists()


def test_what_an_ensemble_cannot_do(tmp_path, flux, both):
    def said(*args): return run(*args, code=1).stderr
    test = ('lensnb-test', '--data', flux[0], '--out', tmp_path/'x', '--weights')
    assert 'where one network looks' in said(*test, f'ensemble:{both}', '--cam')
    assert 'write --weights ensemble:both' in said(*test, both)
    assert 'no ensemble named' in said(*test, 'ensemble:nobody')
    assert 'not the card of an ensemble' in said(*test, f'ensemble:{flux[1]}')
    shutil.rmtree(both.parent/'b')
    assert "needs its member 'b'" in said(*test, f'ensemble:{both}')
    assert 'is an ensemble, and one network is wanted' in said('lensnb-train', '--data', flux[0], '--out', tmp_path/'run', '--from', both)


def test_a_calibration_goes_into_the_card(tmp_path, both):
    rng, label = np.random.default_rng(0), np.arange(400) % 2
    pd.DataFrame(dict(id=np.arange(400), logit=rng.normal(size=400)+2*label, label=label)).to_csv(tmp_path/'s.csv', index=False)
    run('lensnb-calibrate', tmp_path/'s.csv', '--card', f'ensemble:{both}')
    card = read_ensemble(both)
    assert card.calibration['n_lens'] == 200 and card.names == ('a', 'b') and card.threshold != .5


@pytest.mark.parametrize('change, said', [
    (dict(members=[]), 'at least two members'), (dict(how='vote'), "says 'vote'"), (dict(weight=[1]), 'a weight of 0 or more'), (dict(weight=[1, -1]), 'a weight of 0 or more'),
    (dict(weight=[0, 0]), 'one of them above 0'), (dict(threshold=2), 'must be a probability'), (dict(how='rank_mean'), 'the grid of every member'),
    (dict(format_version=9), 'has format 9'), (dict(colour='red'), "a field 'colour'"), (dict(members=[dict(name='a'), dict(name='b')]), 'lacks calibration, sha256')])
def test_cards_that_cannot_be_right(change, said, both):
    d = json.loads((both/'card.json').read_text())
    (both/'card.json').write_text(json.dumps({**d, **change}))
    with pytest.raises(InputError, match=said): read_ensemble(both)


def members(n=3, rows=3000, seed=0):
    rng, label = np.random.default_rng(seed), np.arange(rows) % 10 == 0
    seen = 2.5*label+.6*rng.normal(size=rows)+.8*rng.normal(size=(n, rows))
    return {f'net{i}': Scores.from_frame(pd.DataFrame(dict(id=np.arange(rows), logit=2*z-4, label=label, flags=['cropped' if i else 'cropped;masked:3']*rows))) for i, z in enumerate(seen)}


@pytest.mark.parametrize('how', HOW)
def test_neither_the_order_of_rows_nor_of_members_matters(how):
    sky = members()
    card = fit_ensemble(sky, how)
    rng = np.random.default_rng(1)
    mixed = {k: Scores.from_frame(sky[k].to_frame().sample(frac=1, random_state=int(rng.integers(99)))) for k in ('net2', 'net0', 'net1')}
    a, b = (apply_ensemble(card, o).to_frame().set_index('id') for o in (sky, mixed))
    b = b.loc[a.index]
    np.testing.assert_allclose(a.logit, b.logit, atol=1e-9)
    assert (a.pred == b.pred).all() and (a['flags'] == 'cropped;masked:3').all()


@pytest.mark.parametrize('how', HOW)
def test_the_best_candidates_never_tie(how):
    sky = members()
    card = fit_ensemble(sky, how)
    far = {k: Scores.from_frame(pd.DataFrame(dict(id=range(50), logit=np.linspace(50, 300, 50)))) for k in sky}
    assert (np.diff(apply_ensemble(card, far).logit) > 0).all()
