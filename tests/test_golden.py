"Six noiseless scenes, point by point against the images that lenstronomy made of them (benchmarks/golden.py)"
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from lensnb import lensing

GOLDEN = Path(__file__).parent/'golden'
SPEC = json.loads((GOLDEN/'scenes.json').read_text())
THEIRS = np.load(GOLDEN/'scenes.npz')


def made(name, **kw):
    "A function of x and y from its name in `lensnb.lensing` and its parameters"
    return partial(getattr(lensing, name), **{k: THEIRS[v] if k == 'stamp' else v for k, v in kw.items()})


def render(scene, dtype=torch.float64):
    "Surface brightness of a scene on the grid of points"
    x, y = lensing.pixel_grid(**SPEC['grid'], dtype=dtype)
    rays = lensing.ray_shoot(x, y, [made(name, **kw) for name, kw in scene['lenses']])
    parts = [(rays, item) for item in scene['source']]+[((x, y), item) for item in scene['light']]
    return sum(flux*made(name, **kw)(*at) for at, (name, flux, kw) in parts)


def difference(image, name):
    "Largest difference as a share of the peak"
    return float(np.abs(image.double().numpy()-THEIRS[name]).max()/THEIRS[name].max())


@pytest.mark.parametrize('name', SPEC['scenes'])
def test_golden(name):
    image = render(SPEC['scenes'][name])
    assert image.dtype == torch.float64
    assert difference(image, name) < 1e-6 # asked for: 1e-4; what is left is the rounding of the stored float32


@pytest.mark.parametrize('name', SPEC['scenes'])
def test_single_precision_is_enough(name):
    image = render(SPEC['scenes'][name], torch.float32)
    assert image.dtype == torch.float32
    assert difference(image, name) < 1e-4


@pytest.mark.parametrize('wrong', [dict(theta_e_arcsec=1.2*1.7/2/.7**.5), dict(pa=-.4), dict(q=.72), dict(x0=.005)])
def test_golden_can_fail(wrong):
    "Another code's Einstein radius, an angle the other way round, a small slip: each is seen"
    scene = SPEC['scenes']['sie']
    (name, kw), = scene['lenses']
    assert difference(render(dict(scene, lenses=[[name, kw | wrong]])), 'sie') > 1e-3
