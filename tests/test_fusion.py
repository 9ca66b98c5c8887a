"Catalogue columns beside the image: every network, every engine, from the terminal and back, roles, gaps, units, and a run that was cut off"
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import run
from fastai.callback.core import Callback

from lensnb import engine as E
from lensnb.columns import check_columns, fit_columns
from lensnb.config import load_config
from lensnb.core import Survey, read_json
from lensnb.cutouts import open_cutouts, write_cutouts
from lensnb.learner import train_run
from lensnb.models import REGISTRY, create_model
from lensnb.pixels import Normalisation, border_sky
from lensnb.predict import predict
from lensnb.store import open_store, write_store
from lensnb.weights import WeightCard, load_weights, save_weights

CATALOGUE = pd.DataFrame(dict(label=np.arange(200.) % 2, mag_i=np.random.default_rng(0).normal(20, 1, 200), g_r=np.random.default_rng(1).normal(1, .3, 200)))
COLUMNS = fit_columns(CATALOGUE, check_columns(CATALOGUE, ['mag_i', 'g_r']))


def fused(name, fusion, bands=3, size=64, pixels='flux'):
    torch.manual_seed(0)
    net = create_model(name, bands, size, fusion=fusion, columns=2, column_drop=.1)
    for p in net.fuse.parameters(): torch.nn.init.normal_(p, std=.1)
    return net, WeightCard('toy', name, bands=('g', 'r', 'i')[:bands], pixels=pixels, size_pix=size, normalisation=Normalisation(pixels).to_dict(), threshold=.5, meta_columns=COLUMNS, options=net.options)


def inputs(n=4, bands=3, size=64):
    g = torch.Generator().manual_seed(0)
    meta = torch.randn(n, 2, generator=g)
    meta[0, 1] = float('nan')
    return torch.randn(n, bands, size, size, generator=g), meta


@pytest.mark.parametrize('fusion', ['concat', 'film'])
@pytest.mark.parametrize('name', [*REGISTRY, 'regnety_002', 'tf_efficientnet_lite0', 'vit_tiny_patch16_224'])
def test_every_network_takes_columns(name, fusion, tmp_path):
    net, card = fused(name, fusion)
    x, meta = inputs()
    net.train()(x, meta).square().sum().backward()
    assert [k for k, p in net.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()] == []
    save_weights(tmp_path/'toy', net, card)
    back, _ = load_weights(tmp_path/'toy')
    with torch.no_grad():
        assert torch.equal(back(x, meta), net.eval()(x, meta)) and torch.isfinite(back(x, meta)).all()
        assert not torch.equal(back(x, meta), back(x, meta+1))


@pytest.mark.parametrize('engine', ['onnx', 'openvino'])
@pytest.mark.parametrize('fusion, pixels, tta', [('concat', 'flux', False), ('film', 'flux', True), ('film', 'composite8', False)])
def test_engines_agree_on_columns(fusion, pixels, tta, engine):
    pytest.importorskip({'onnx': 'onnxruntime'}.get(engine, engine))
    scorer = E.FusedScorer(*fused('lens_cnn', fusion, pixels=pixels), tta)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (5, 3, 64, 64)).astype('u1') if pixels == 'composite8' else (50+4*rng.standard_normal((5, 3, 64, 64))).astype('f4')
    meta, sky = inputs(5)[1].numpy(), () if pixels == 'composite8' else border_sky(x)
    slow = E.TorchEngine(scorer)(x, *sky, meta=meta)
    np.testing.assert_allclose(E.ENGINES[engine](scorer)(x, *sky, meta=meta), slow, atol=E.TOLERANCE)
    with pytest.raises(ValueError, match='takes 2 catalogue columns'): E.TorchEngine(scorer)(x, *sky)
    auto = E.make_engine(scorer.model, scorer.card, device='cpu', tta=tta)
    np.testing.assert_allclose(auto(x, *sky, meta=meta), slow, atol=E.TOLERANCE)


@pytest.fixture(scope='module')
def with_columns(work):
    store = work/'with-columns'
    run('lensnb-simulate', store, '--n', 80, '--seed', 3, '--workers', 1, '--columns')
    return store


QUICK = ['train.epochs=1', 'train.precision=fp32']


@pytest.fixture(scope='module')
def film(with_columns, work):
    out = work/'film-run'
    run('lensnb-train', 'data.meta_columns=[mag_i,g_r,r_half_arcsec]', 'model.fusion=film', *QUICK, '--data', with_columns, '--out', out)
    return out


def test_from_the_terminal(film, with_columns, tmp_path):
    card = read_json(film/'card.json')
    assert [c['name'] for c in card['meta_columns']] == ['mag_i', 'g_r', 'r_half_arcsec'] and card['options'] == dict(fusion='film', columns=3) and not card['oracle']
    run('lensnb-test', '--weights', film, '--data', with_columns, '--out', tmp_path/'store')
    files = open_store(with_columns)
    cat = files.catalog[['id', 'label', 'mag_i', 'g_r', 'r_half_arcsec']]
    write_cutouts(tmp_path/'fits', files.batch(slice(None)), cat[['id']], files.survey, 'fits')
    cat.to_csv(tmp_path/'cat.csv', index=False)
    run('lensnb-test', '--weights', film, '--data', tmp_path/'fits', '--catalog', tmp_path/'cat.csv', '--out', tmp_path/'files', '--cam', '--cam-top', 2)
    assert len(list((tmp_path/'files'/'cam').glob('*.png'))) == 2
    a, b = (pd.read_csv(tmp_path/o/'predictions.csv').set_index('id').logit.sort_index() for o in ('store', 'files'))
    np.testing.assert_allclose(a, b, atol=1e-3)
    assert 'oracle' not in (tmp_path/'store'/'report.html').read_text().split('</title>')[0]


def test_columns_that_are_lacking_or_wrong(film, with_columns, tmp_path):
    s = open_store(with_columns)
    cat = s.catalog[['id', 'label', 'mag_i', 'g_r', 'r_half_arcsec']]
    cases = {'none': cat[['id', 'label']], 'some': cat.drop(columns='g_r'), 'unit': cat.assign(r_half_arcsec=cat.r_half_arcsec*3600)}
    for name, part in cases.items(): write_store(tmp_path/name, s.batch(slice(None)), part, s.survey)
    r = run('lensnb-test', '--weights', film, '--data', tmp_path/'none', '--out', tmp_path/'o1', code=1)
    assert 'needs the catalogue columns mag_i, g_r, r_half_arcsec' in r.stderr and 'none of them' in r.stderr
    r = run('lensnb-test', '--weights', film, '--data', tmp_path/'unit', '--out', tmp_path/'o2', code=1)
    assert "The median of 'r_half_arcsec'" in r.stderr and 'arcsec, which is off by a factor of' in r.stderr
    r = run('lensnb-test', '--weights', film, '--data', tmp_path/'some', '--out', tmp_path/'o3')
    assert 'The catalogue lacks g_r' in r.stderr and pd.read_csv(tmp_path/'o3'/'predictions.csv')['flags'].str.contains('missing:g_r').all()


def test_truth_is_refused_and_an_oracle_says_so(with_columns, tmp_path):
    ask = ['data.meta_columns=[flux_lensed_image_in_sigma]', *QUICK, '--data', with_columns]
    r = run('lensnb-train', *ask, '--out', tmp_path/'no', code=1)
    said = r.stderr.strip().split('\n')[-1]
    assert "'flux_lensed_image_in_sigma' is a truth column" in said and 'with AUC 1.000' in said and not (tmp_path/'no').exists()
    assert 'is a truth column' in run('lensnb-train', 'data.roles={flux_lensed_image_in_sigma: catalogue}', *ask, '--out', tmp_path/'no', code=1).stderr
    run('lensnb-train', 'data.oracle=true', *ask, '--out', tmp_path/'oracle')
    run('lensnb-test', '--weights', tmp_path/'oracle', '--data', with_columns, '--out', tmp_path/'test')
    run('lensnb-report', tmp_path/'test', '--out', tmp_path/'again')
    pages = [tmp_path/'oracle'/'report.html', tmp_path/'test'/'report.html']
    for page in pages: assert 'oracle, not usable on a survey' in page.read_text().split('</title>')[0], page


def test_a_strong_catalogue_column_is_warned_of(with_columns, tmp_path):
    s = open_store(with_columns)
    write_store(tmp_path/'s', s.batch(slice(None)), s.catalog[['id', 'label']].assign(ebv_mag=s.catalog['label']*.1), s.survey)
    r = run('lensnb-train', 'data.meta_columns=[ebv_mag]', *QUICK, '--data', tmp_path/'s', '--out', tmp_path/'o')
    assert "The catalogue column 'ebv_mag' alone tells lenses from the rest with AUC 1.000" in r.stderr


def test_no_columns_to_fuse(with_columns, tmp_path):
    assert 'there are none' in run('lensnb-train', 'model.fusion=film', *QUICK, '--data', with_columns, '--out', tmp_path/'o', code=1).stderr


class Stop(Callback):
    order = 90
    def after_epoch(self):
        if self.epoch == 1: raise KeyboardInterrupt


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
    rng = np.random.default_rng(0)
    n, r = 96, np.hypot(*(np.mgrid[:16, :16]-7.5))
    label = np.arange(n) % 2
    images = rng.normal(size=(n, 2, 16, 16))+9*np.exp(-r**2/8)+4*label[:, None, None, None]*np.exp(-(r-5)**2)
    cat = pd.DataFrame(dict(id=[f'toy{i}' for i in range(n)], label=label, mag_i=20+rng.normal(size=n), theta_e_arcsec=label*rng.uniform(.8, 2, n)))
    return write_store(tmp_path_factory.mktemp('fusion')/'toy', images, cat, Survey('toy', ('g', 'r'), pixel_scale_arcsec=.2))


def test_a_fused_run_with_targets_goes_on_where_it_was(toy, tmp_path):
    cfg = load_config(None, ['data.meta_columns=[mag_i]', 'train.auxiliary=[theta_e_arcsec]', 'train.epochs=3', 'data.batch_size=16', 'train.precision=fp32', 'train.channels_last=true', 'train.ema=.9'])
    train_run(cfg, toy, tmp_path/'whole', progress=False)
    with pytest.raises(KeyboardInterrupt): train_run(cfg, toy, tmp_path/'cut', progress=False, cbs=[Stop()])
    train_run(cfg, toy, tmp_path/'cut', resume=True, progress=False)
    (a, card), (b, _) = load_weights(tmp_path/'whole'), load_weights(tmp_path/'cut')
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    assert not any(k.startswith('aux') for k in a.state_dict()) and card.data['auxiliary'] == ['theta_e_arcsec'] and not card.oracle


def test_targets_change_the_network_and_leave_no_trace(toy, tmp_path):
    base = load_config(None, ['train.epochs=2', 'data.batch_size=16', 'train.precision=fp32', 'train.channels_last=true'])
    train_run(base, toy, tmp_path/'plain', progress=False)
    train_run(load_config(None, ['train.auxiliary=[theta_e_arcsec]'], base=base), toy, tmp_path/'told', progress=False)
    (a, ca), (b, cb) = load_weights(tmp_path/'plain'), load_weights(tmp_path/'told')
    assert a.state_dict().keys() == b.state_dict().keys() and ca.meta_columns == cb.meta_columns == ()
    assert not torch.equal(a.head.weight, b.head.weight)


def test_weights_of_images_are_told_of_columns(toy, tmp_path):
    quick = ['train.epochs=1', 'data.batch_size=16', 'train.precision=fp32', 'train.channels_last=true']
    train_run(load_config(None, quick), toy, tmp_path/'image', progress=False)
    told = load_config(None, [*quick, f"model.weights={tmp_path/'image'}", 'data.meta_columns=[mag_i]', 'model.fusion=film', 'train.lr=1e-9', 'train.weight_decay=0', 'train.freeze_norm=true'])
    train_run(told, toy, tmp_path/'fused', progress=False)
    before, after = (predict(tmp_path/o, open_cutouts(toy.path), progress=False)[0].logit for o in ('image', 'fused'))
    np.testing.assert_allclose(before, after, atol=1e-4)   # FiLM begins at rest, and nothing was learned
    other = load_config(None, [*quick, f"model.weights={tmp_path/'fused'}", 'data.meta_columns=[theta_e_arcsec]', 'data.oracle=true', 'model.fusion=film'])
    with pytest.raises(ValueError, match='mag_i'): train_run(other, toy, tmp_path/'x', progress=False)
    again = load_config(None, [*quick, f"model.weights={tmp_path/'fused'}", 'data.meta_columns=[mag_i]', 'model.fusion=film', 'data.max_images=60'])
    train_run(again, toy, tmp_path/'again', progress=False)
    assert load_weights(tmp_path/'again')[1].meta_columns == load_weights(tmp_path/'fused')[1].meta_columns   # the inputs stay what they were


def test_cards_without_columns_are_as_before(toy, tmp_path):
    net = create_model('lens_cnn', 2, 16)
    card = WeightCard('old', 'lens_cnn', bands=('g', 'r'), pixels='flux', size_pix=16, normalisation=Normalisation().to_dict(), threshold=.5)
    saved = save_weights(tmp_path/'old', net, card)
    assert (saved.options, saved.meta_columns) == ({}, ()) and load_weights(tmp_path/'old')[1] == saved
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        predict((net.eval(), replace(card, pixel_scale_arcsec=.2)), open_cutouts(toy.path), progress=False, engine='torch')
