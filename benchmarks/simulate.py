"""Simulated images per second on one core: each family, plain SIE lenses, the mixes; and lenstronomy on the same scenes

    python benchmarks/simulate.py [--pixels composite8] [--rounds 8] [--n 12] [--lenstronomy FOLDER]

FOLDER is the site-packages of another environment that has lenstronomy (python3 -m venv other; other/bin/pip install
lenstronomy). It is put at the end of the path, so that all packages that both have are ours. Times are CPU times of one
process with one thread, warmed up; what is compared takes turns in blocks, and the median block is given with the range of
all. Both environments need the same version of Python. lenstronomy makes one band after the other, as its users do; a GPU,
where there is one, makes 256 plain lenses at once.
"""
import argparse
import sys
import time
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import torch

from lensnb.camera import REALISM, draw_night, record
from lensnb.core import scene_rng
from lensnb.lensing import pixel_grid, ray_shoot, sersic, shear, sie
from lensnb.scene import SUPERSAMPLE, Component, band_rows, blur_and_bin, expose
from lensnb.simulate import FAMILIES, MIXES, simulate_one
from lensnb.surveys import BANDS, get_survey


def blocks(tasks, rounds, n):
    "CPU seconds per call, (rounds,), of each task; a task is a function of a number, and tasks take turns"
    for f in tasks.values():
        for i in range(3): f(i)
    cost = {name: [] for name in tasks}
    for r in range(rounds):
        for name, f in tasks.items():
            start = time.process_time()
            for i in range(r*n, (r+1)*n): f(i)
            cost[name].append((time.process_time()-start)/n)
    return {name: np.array(c) for name, c in cost.items()}


def show(name, *columns):
    rates = [np.sort(1/seconds) for seconds in columns]
    print(f'{name:26s}'+''.join(f'{np.median(r):7.0f} {f"({r[0]:.0f} to {r[-1]:.0f})":16s}' for r in rates), flush=True)


def families(survey, rounds, n):
    "Whole noisy images: each family, plain lenses, and the mixes that a store is made of"
    def one(i, kind, measured): simulate_one(survey, scene_rng(0, kind, i), kind, measured=measured)
    tasks = {(kind, measured): partial(one, kind=kind, measured=measured) for kind in FAMILIES for measured in (False, True)}
    cost = blocks(tasks | {'plain': partial(plain_image, survey)}, rounds, n)
    def both(kind): return np.stack([cost[kind, False], cost[kind, True]])
    print(f'{survey.name}, {survey.n_band} bands, {survey.size_pix} pixels, {survey.pixels}: images/s on one core, and with measured catalogue columns')
    for kind in FAMILIES: show(kind, *both(kind))
    show('plain SIE lens', cost['plain'])
    for mix, weights in MIXES.items(): show(f'half lenses, {mix} mix', *(both('lens')+sum(w*both(kind) for kind, w in weights.items()))/2)


def plain_lens(i):
    "Parameters of an elliptical galaxy in front of a disk, by number"
    rng = scene_rng(0, 'plain', i)
    theta_e, q, pa, t = rng.uniform(.8, 1.6), rng.uniform(.5, .95), rng.uniform(0, np.pi), rng.uniform(0, 2*np.pi)
    b = .4*theta_e*rng.random()
    return dict(sie=dict(theta_e_arcsec=theta_e, q=q, pa=pa), shear=dict(gamma=rng.uniform(0, .1), pa=rng.uniform(0, np.pi)),
                source=dict(n=1., r_eff_arcsec=.3, q=.7, pa=rng.uniform(0, np.pi), x0=b*np.cos(t), y0=b*np.sin(t)), source_mag=np.array([23.2, 23., 22.9]),
                light=dict(n=4., r_eff_arcsec=rng.uniform(.5, 1.2), q=q, pa=pa, x0=.013, y0=.021), light_mag=np.array([20.6, 19.1, 18.4]))


def plain_scene(survey, p, psf):
    "Its noiseless image, (band, height, width)"
    def component(k):
        mag = np.zeros(len(BANDS))
        mag[band_rows(survey)] = p[k+'_mag']
        return Component(partial(sersic, **p[k]), mag)
    lenses = [partial(sie, **p['sie']), partial(shear, **p['shear'])]
    return expose(survey, [component('source')], psf, lenses)[0]+expose(survey, [component('light')], psf)[0]


def plain_image(survey, i):
    "The same, noisy"
    rng = scene_rng(0, 'night', i)
    night = draw_night(rng, survey, REALISM)
    return record(rng, plain_scene(survey, plain_lens(i), night), survey, night, (), REALISM)[0]


def batch_renderer(survey, numbers, device):
    "A function that renders many of them at once, (batch, band, height, width), with the same lensing functions"
    scenes = [plain_lens(i) for i in numbers]
    def column(values): return torch.tensor(np.array(values), dtype=torch.float32, device=device)[..., None, None]
    def columns(k): return {name: column([p[k][name] for p in scenes]) for name in scenes[0][k]}
    def flux(k): return column([10**(-.4*(p[k+'_mag']-survey.zero_point_mag)) for p in scenes])
    x, y = (c.to(device) for c in pixel_grid(survey.size_pix, survey.pixel_scale_arcsec, SUPERSAMPLE))
    blur = torch.stack([blur_and_bin(survey.size_pix, survey.pixel_scale_arcsec, f) for f in survey.psf_fwhm_arcsec]).to(device)
    lenses, source, light = [partial(sie, **columns('sie')), partial(shear, **columns('shear'))], columns('source'), columns('light')

    def render():
        arc, galaxy = sersic(*ray_shoot(x, y, lenses), **source)[:, None], sersic(x, y, **light)[:, None]
        image = blur @ (arc*flux('source')+galaxy*flux('light')) @ blur.mT
        if device == 'cuda': torch.cuda.synchronize()
        return image
    return render


def in_batches(survey, rounds):
    device, size = ('cuda', 256) if torch.cuda.is_available() else ('cpu', 4)
    render = batch_renderer(survey, range(size), device)
    one = plain_scene(survey, plain_lens(size-1), survey.psf_fwhm_arcsec)
    assert np.abs(render()[-1].cpu().numpy()-one).max() < 1e-4*one.max()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        render()
        seconds.append((time.perf_counter()-start)/size)
    show(f'noiseless, {size} at once on {device}', np.array(seconds))


def lenstronomy_renderer(survey):
    "The same by lenstronomy: a function of the parameters; what can be prepared once is prepared here"
    sys.modules['coverage'] = None  # numba would take the script beside this one for the package of that name
    import golden
    from lenstronomy.Data.imaging_data import ImageData
    from lenstronomy.Data.psf import PSF
    from lenstronomy.ImSim.image_model import ImageModel
    from lenstronomy.LensModel.lens_model import LensModel
    from lenstronomy.LightModel.light_model import LightModel
    n, scale = survey.size_pix, survey.pixel_scale_arcsec
    corner = -(n-1)/2*scale
    data = ImageData(image_data=np.zeros((n, n)), ra_at_xy_0=corner, dec_at_xy_0=corner, transform_pix2angle=np.eye(2)*scale)
    models = [ImageModel(data, PSF('GAUSSIAN', fwhm=f, pixel_size=scale), LensModel(['SIE', 'SHEAR']), LightModel(['SERSIC_ELLIPSE']), LightModel(['SERSIC_ELLIPSE']),
                         kwargs_numerics=dict(supersampling_factor=SUPERSAMPLE, supersampling_convolution=True)) for f in survey.psf_fwhm_arcsec]

    def render(p):
        lens = [golden.lens('sie', p['sie'])[1], golden.lens('shear', p['shear'])[1]]
        flux = {k: 10**(-.4*(p[k+'_mag']-survey.zero_point_mag)) for k in ('source', 'light')}
        light = {k: [[golden.light('sersic', f, p[k], {})[1]] for f in flux[k]] for k in flux}
        return np.stack([m.image(lens, light['source'][b], light['light'][b]) for b, m in enumerate(models)])
    return render


def against_lenstronomy(survey, rounds):
    theirs, scenes = lenstronomy_renderer(survey), [plain_lens(i) for i in range(10)]
    def ours(p): return plain_scene(survey, p, survey.psf_fwhm_arcsec)
    cost = blocks({name: lambda i, f=f: f(scenes[i%10]) for name, f in (('lensnb', ours), ('lenstronomy', theirs))}, rounds, 10)
    print('the same noiseless three-band scene: images/s on one core')
    for name, seconds in cost.items(): show(name, seconds)
    ratio = np.sort(cost['lenstronomy']/cost['lensnb'])
    print(f'{np.median(ratio):.1f} times the speed of lenstronomy {version("lenstronomy")} ({ratio[0]:.1f} to {ratio[-1]:.1f})')
    off = np.max([np.abs(ours(p)-image)/image.max((1, 2), keepdims=True) for p in scenes for image in [theirs(p)]], (0, 1))
    print(f'largest difference {off[4:-4, 4:-4].max():.1e} of the peak of a band; {off.max():.1e} in the four pixels at the border, where each continues the sky in its own way')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--pixels', default='flux', choices=('flux', 'composite8'))
    parser.add_argument('--rounds', type=int, default=8, help='blocks of each kind')
    parser.add_argument('--n', type=int, default=12, help='images in a block')
    parser.add_argument('--lenstronomy', help='site-packages that hold lenstronomy')
    args = parser.parse_args()
    torch.set_num_threads(1)
    survey = get_survey('lsst', args.pixels)
    families(survey, args.rounds, args.n)
    in_batches(survey, args.rounds)
    if args.lenstronomy: sys.path.append(args.lenstronomy)
    if find_spec('lenstronomy'): against_lenstronomy(survey, args.rounds)
    else: print('lenstronomy is not here; see the top of this file')
