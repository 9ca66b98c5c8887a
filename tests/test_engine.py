"Engines: the sky as it was measured before it became quick, every network in every engine, no reports to anybody, and stores with bad rows"
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from lensnb import engine as E
from lensnb.core import InputError, Survey
from lensnb.cutouts import open_cutouts
from lensnb.models import REGISTRY, create_model
from lensnb.pixels import Normalisation, _frame, border_sky
from lensnb.predict import predict
from lensnb.store import StoreWriter, write_store
from lensnb.weights import WeightCard

BANDS = ('g', 'r', 'i')


def reference_sky(x, n_iter=5):
    "border_sky until version 0.1, in whole arrays of double precision; what it gave must not change"
    v = np.sort(np.asarray(x, dtype=np.float32)[..., _frame(x.shape[-2:])], -1).astype(np.float64)
    lead, n = v.shape[:-1], v.shape[-1]
    v = v.reshape(-1, n)
    row = np.arange(len(v))
    lo, hi = np.zeros(len(v), int), np.full(len(v), n)
    for _ in range(n_iter):
        at = lambda q: v[row, lo+((hi-lo-1)*q).astype(int)]  # noqa: B023
        mid, sig = at(.5), (at(.8413)-at(.1587))/2
        lo, hi = (v < (mid-3*sig)[:, None]).sum(1), (v <= (mid+3*sig)[:, None]).sum(1)
    c1, c2 = (np.pad(np.cumsum((v-mid[:, None])**k, 1), ((0, 0), (1, 0))) for k in (1, 2))
    m1, m2 = ((c[row, hi]-c[row, lo])/(hi-lo) for c in (c1, c2))
    sigma = np.sqrt(np.maximum(m2-m1**2, 0))/.9866
    sigma = np.where(sigma > 0, sigma, v.std(1))
    return (mid+m1).reshape(lead).astype(np.float32), sigma.reshape(lead).astype(np.float32)


def sky_cases():
    rng = np.random.default_rng(0)
    x = (100+3*rng.standard_normal((60, 3, 64, 64))).astype('f4')
    x[:, :, 20:44, 20:44] += 500
    x[::3, :, 2:6, 10:30] += rng.uniform(0, 300, (20, 3, 1, 1))
    padded = np.pad(x[:5, :, 16:48, 16:48], ((0, 0), (0, 0), (16, 16), (16, 16)))
    return {'float32': x, 'float16': x.astype('f2'), 'float64': x.astype('f8'), 'uint8': np.clip(x/3, 0, 255).astype('u1'), 'integers': np.round(x/5), 'tiny': x*1e-12, 'huge': x*1e12,
            'heavy tails': np.exp(rng.standard_normal((50, 2, 32, 32))*2), 'odd size': x[..., :63, 1:62], 'oblong': x[:, :2, :13, :29], 'small': x[..., :5, :5], 'one': x[0], 'plane': x[0, 0],
            'crop': x[..., 3:-3, 3:-3], 'constant': np.full((4, 2, 16, 16), 7.), 'padded': padded, 'two values': rng.integers(0, 2, (40, 1, 24, 24)), 'none': x[:0]}


@pytest.mark.parametrize('name', sky_cases())
def test_sky_is_what_it_was(name):
    x = sky_cases()[name]
    for new, old in zip(border_sky(x), reference_sky(x), strict=True):
        assert new.dtype == old.dtype and new.shape == old.shape
        np.testing.assert_array_max_ulp(new, old, 1)
        assert new.size == 0 or (new == old).mean() > .99


def test_sky_of_scaled_half_precision():
    x = sky_cases()['float16']/8
    scale = np.array([1.3, .02, 700], 'f4')
    for new, old in zip(border_sky(x, scale=scale), reference_sky(x.astype('f4')*scale[:, None, None]), strict=True): np.testing.assert_array_max_ulp(new, old, 1)


def images(n, size=64, seed=1):
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[:size, :size]-(size-1)/2
    return (rng.normal(size=(n, 3, size, size))*2 + 30 + rng.uniform(2, 300, (n, 3, 1, 1))*np.exp(-(u**2+v**2)/rng.uniform(5, 60, (n, 1, 1, 1)))).astype('f4')


def network(name, pixels='flux', size=64):
    torch.manual_seed(0)
    net = create_model(name, 3, size).eval()
    norm = Normalisation(pixels)
    x = images(32, size)
    with torch.no_grad():
        torch.nn.init.normal_(net.head.weight)
        u = torch.from_numpy(np.ascontiguousarray(norm(x if pixels == 'flux' else np.clip(x, 0, 255)), 'f4'))
        net.head.weight.mul_(3/net(u).std())
    return net, WeightCard(name, name, BANDS, pixels, size, norm.to_dict(), .5)


def fast(name):
    pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime' if name == 'onnx' else 'openvino')
    return E.ENGINES[name]


@pytest.mark.parametrize('name', [*REGISTRY, 'mobilenetv3_small_100', 'regnety_002', 'edgenext_xx_small'])
@pytest.mark.parametrize('engine', ['onnx', 'openvino'])
def test_every_network_in_every_engine(name, engine):
    scorer, x = E.Scorer(*network(name)), images(5)
    sky = border_sky(x)
    np.testing.assert_allclose(fast(engine)(scorer)(x, *sky), E.TorchEngine(scorer)(x, *sky), atol=E.TOLERANCE)


@pytest.mark.parametrize('engine', ['onnx', 'openvino'])
@pytest.mark.parametrize('dtype', ['f4', 'f2', 'u1'])
def test_every_kind_of_pixels(engine, dtype):
    pixels = 'composite8' if dtype == 'u1' else 'flux'
    scorer = E.Scorer(*network('lens_cnn', pixels), tta=True)
    x, scale = np.clip(images(21), 0, 255).astype(dtype), np.float32([1, 2, 3] if dtype == 'f2' else [1, 1, 1])
    sky = border_sky(x, scale=scale) if pixels == 'flux' else ()
    np.testing.assert_allclose(fast(engine)(scorer)(x, *sky, scale=scale), E.TorchEngine(scorer)(x, *sky, scale=scale), atol=E.TOLERANCE)


def test_the_new_exporter_stands_in_for_the_old(monkeypatch):
    pytest.importorskip('onnxscript')
    def gone(*a): raise AttributeError('no such exporter')
    monkeypatch.setattr(E, '_export_traced', gone)
    scorer, x = E.Scorer(*network('lens_cnn'), tta=True), images(3)
    sky = border_sky(x)
    np.testing.assert_allclose(fast('onnx')(scorer)(x, *sky), E.TorchEngine(scorer)(x, *sky), atol=E.TOLERANCE)


@pytest.mark.parametrize('engine,package', [('onnx', 'onnxruntime'), ('openvino', 'openvino'), ('onnx', 'onnx')])
def test_what_is_missing_is_named(monkeypatch, engine, package):
    fast(engine)
    for name in [o for o in sys.modules if o.split('.')[0] == package]: monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    x = images(2)
    with pytest.raises(ImportError, match=r"pip install 'lensnb\[fast\]'"): E.make_engine(*network('lens_cnn'), engine)(x, *border_sky(x))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        auto = E.make_engine(*network('lens_cnn'), device='cpu')
        auto(x, *border_sky(x))
    assert auto.engine.name != engine


def test_openvino_reports_to_nobody():
    fast('openvino')
    code = """
import socket, sys, urllib.request
def refuse(*a, **k): raise SystemExit('somebody was called: %r' % (a,))
socket.socket.connect = socket.getaddrinfo = urllib.request.urlopen = refuse
import numpy as np
from lensnb.engine import make_engine
from lensnb.weights import load_weights
x = np.random.default_rng(0).normal(size=(3, 3, 64, 64)).astype('f4')
make_engine(*load_weights('small-flux'), 'openvino')(x, np.zeros((3, 3), 'f4'), np.ones((3, 3), 'f4'))
assert 'openvino' in sys.modules and not [o for o in sys.modules if o.startswith('openvino_telemetry')]
import openvino
print(openvino.tools.ovc.telemetry.__class__.__module__)
"""
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    assert r.stdout.strip() == 'openvino.tools.ovc.telemetry_stub'


def catalog(n): return pd.DataFrame(dict(id=[f'o{i:03d}' for i in range(n)]))


def both_ways(net, path, **options):
    "Scores by blocks, and by reading one cutout after another"
    c = open_cutouts(path)
    assert c.store is not None
    fastly, lost = predict(net, c, progress=False, **options)
    slowly, lost2 = predict(net, replace(c, store=None), progress=False, **options)
    assert list(fastly.id) == list(slowly.id) and list(fastly.flags) == list(slowly.flags)
    pd.testing.assert_frame_equal(lost, lost2)
    np.testing.assert_allclose(fastly.logit, slowly.logit, atol=E.TOLERANCE)
    return fastly, lost


@pytest.mark.parametrize('dtype', ['float32', 'float16'])
@pytest.mark.parametrize('engine', ['torch', 'onnx', 'auto'])
def test_a_store_with_bad_rows(tmp_path, dtype, engine):
    x = images(40)
    x[3] = np.nan
    x[5, 1] = 4
    x[7, 0, :9] = np.nan
    x[8] = np.pad(x[8, :, 16:48, 16:48], ((0, 0), (16, 16), (16, 16)))
    x[11, 2, 0, 0] = np.inf
    scale = np.nanmax(np.where(np.isfinite(x), abs(x), 0), (0, 2, 3))/3e4
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with StoreWriter(tmp_path/'s', 40, Survey('t', BANDS, size_pix=64), dtype, scale if dtype == 'float16' else None) as w:
            w.images[:] = x/(scale[:, None, None] if dtype == 'float16' else 1)
            w.finish(catalog(40))
    scores, lost = both_ways(network('lens_cnn'), tmp_path/'s', engine=engine, batch_size=16)
    assert list(lost.id) == ['o003', 'o005', 'o008']
    for said, why in zip(lost.reason, ('band g has no valid pixel (all NaN or masked)', 'band r is constant (', 'band g is constant along its border'), strict=True): assert said.startswith(why)
    flags = dict(zip(scores.id, scores.flags, strict=True))
    assert (flags['o007'], flags['o011'], flags['o012']) == ('masked:576', 'masked:1', '')


@pytest.mark.parametrize('size', [64, 70, 81])
def test_a_store_is_cropped_and_its_bands_are_picked(tmp_path, size):
    x = images(30, size)
    four = np.concatenate([x[:, :1]*0+np.random.default_rng(2).normal(size=(30, 1, size, size)), x[:, ::-1]], 1)
    write_store(tmp_path/'s', four, catalog(30), Survey('t', ('y', 'i', 'r', 'g')), dtype='float16')
    net = network('lens_cnn')
    scores, _ = both_ways(net, tmp_path/'s', engine='onnx', batch_size=7)
    assert set(scores.flags) == {'' if size == 64 else 'cropped'}
    t = (size-64)//2
    write_store(tmp_path/'plain', x[..., t:t+64, t:t+64], catalog(30), Survey('t', BANDS))
    np.testing.assert_allclose(scores.logit, predict(net, open_cutouts(tmp_path/'plain'), progress=False, engine='torch')[0].logit, atol=.1)


def test_a_store_of_pictures(tmp_path):
    x = np.clip(images(20), 0, 255).astype('u1')
    x[4, 1] = 9
    write_store(tmp_path/'s', x, catalog(20), Survey('t', BANDS, 'composite8'), dtype='uint8')
    _, lost = both_ways(network('lens_cnn', 'composite8'), tmp_path/'s', engine='onnx', tta=True)
    assert list(lost.id) == ['o004']


def test_sky_columns_are_believed(tmp_path):
    "The sky of the catalogue is used, and measured where it is missing"
    x, cat = images(20), catalog(20)
    sky, sigma = border_sky(x)
    for k, b in enumerate(BANDS): cat[f'sky_{b}'], cat[f'sigma_{b}'] = sky[:, k], sigma[:, k]
    cat.loc[2, 'sky_g'] = np.nan
    cat.loc[3, 'sigma_r'] *= 5
    net, c = network('lens_cnn'), {}
    for name, table in (('with', cat), ('without', catalog(20))):
        write_store(tmp_path/name, x, table, Survey('t', BANDS))
        c[name] = predict(net, open_cutouts(tmp_path/name), progress=False, engine='torch')[0].logit
    same = abs(c['with']-c['without']) < 1e-4
    assert list(np.flatnonzero(~same)) == [3]


def test_a_row_that_breaks_the_network_costs_one_row(tmp_path):
    class Picky(torch.nn.Module):
        def forward(self, x): return torch.log(3-x[:, 0, 0, 0])
    x = images(9)
    x[4, 0, 0, 0] = 1e9
    write_store(tmp_path/'s', x, catalog(9), Survey('t', BANDS))
    card = network('lens_cnn')[1]
    scores, lost = predict((Picky(), card), open_cutouts(tmp_path/'s'), progress=False)
    assert (len(scores), list(lost.id), lost.reason[0]) == (8, ['o004'], 'the network gives no number for it')


def test_an_engine_says_no(tmp_path):
    write_store(tmp_path/'s', images(3), catalog(3), Survey('t', BANDS))
    with pytest.raises(InputError, match='The engine is auto, torch'): predict(network('lens_cnn'), open_cutouts(tmp_path/'s'), engine='quick')
