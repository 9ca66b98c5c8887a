"""Lenses with dark substructure: what they hold, what they cost, what a ruler sees, and how they compare with published images

    python benchmarks/subhalos.py statistics [--n 1000]
    python benchmarks/subhalos.py speed [--n 200]
    python benchmarks/subhalos.py shortcut [--n 1000]
    LENSNB_REAL_DATA=folder python benchmarks/subhalos.py published [--n 100]
    LENSNB_REAL_DATA=folder python benchmarks/subhalos.py fit
    LENSNB_REAL_DATA=folder python benchmarks/subhalos.py rods

`published` and `fit` read `deeplense_substructure` (no, sphere, vort: five images each, scaled to [0, 1]; the count of a photon
is the smallest step between two pixels, so that counts can be had back) and `deeplense_model1_published` (1,000 images with and
1,000 without substructure, 8 bits, the lens galaxy in the middle). `fit` fits a smooth lens to every image of the first and to as
many of ours: for the images without substructure its parameters are what the set was made with, and for the others the excess of
chi squared says how much of the substructure a smooth lens cannot imitate. `rods` fits a sphere with shear and a rod to the five
images with a vortex; source index, radius and blur are those that `fit` found. Times are CPU times of one process with one thread.
Each part writes its numbers to benchmarks/results/subhalos_<part>.csv.
"""
import argparse
import os
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from caustics.lenses.func import M0_totmass_tnfw, physical_deflection_angle_tnfw, reduced_from_physical_deflection_angle
from scipy.optimize import least_squares

from lensnb.core import Scores, scene_rng, write_table
from lensnb.galaxies import comoving_distance
from lensnb.halos import Substructure, halo_shape, mass_to_radius
from lensnb.intervals import auc_interval
from lensnb.lensing import from_components, pixel_grid, point_mass, ray_shoot, rod, sersic, shear, sie
from lensnb.subhalos import CLASSES, PRESETS, preset_survey, ring_radius, shortcut_scores, simulate_substructure

RESULTS = Path(__file__).parent/'results'
FOLDERS = {'none': 'no', 'cdm': 'sphere', 'vortex': 'vort'}
EXPECTED = {('theta_e_arcsec', 'none'): 1.28, ('n_subhalo', 'cdm'): 25, ('subhalo_mass_msun', 'cdm'): 3.8e10, ('rod_mass_msun', 'vortex'): 3e10}


def keep(part, rows):
    table = pd.DataFrame(rows)
    write_table(table, RESULTS/f'subhalos_{part}.csv')
    print(table.to_string(index=False), flush=True)


def made(preset, kind, n, seed=0):
    "n images of a class with their truth"
    for i in range(n): yield simulate_substructure(scene_rng(seed, f'{preset}/{kind}', i), kind, preset)


def statistics(n):
    rows = []
    for kind in CLASSES:
        truth, radius = [], []
        for image, row, sub in made('deeplense_model1', kind, n):
            truth.append(row | dict(span_arcsec=np.hypot(sub.x_arcsec, sub.y_arcsec).max() if len(sub) else 0., nearest_arcsec=np.hypot(sub.x_arcsec, sub.y_arcsec).min() if len(sub) else 0.,
                                    peak=image.max(), empty_zero=(image[0, :20, :20] == 0).mean()))
            radius.append(ring_radius(image[0], .05))
        t = pd.DataFrame(truth).assign(ring_radius_arcsec=radius)
        for c in ('theta_e_arcsec', 'n_subhalo', 'subhalo_mass_msun', 'largest_subhalo_mass_msun', 'rod_mass_msun', 'rod_length_arcsec', 'span_arcsec', 'nearest_arcsec', 'source_x_arcsec',
                  'deflection_rms_arcsec', 'ring_radius_arcsec', 'peak', 'empty_zero', 'snr_lensed_image'):
            rows.append(dict(kind=kind, n=n, quantity=c, mean=t[c].mean(), error=t[c].std()/n**.5, least=t[c].min(), most=t[c].max(), expected=EXPECTED.get((c, kind))))
    keep('statistics', rows)


def cpu(f, n):
    "CPU milliseconds of a call, the median of n"
    f()
    cost = []
    for _ in range(n):
        start = time.process_time()
        f()
        cost.append(1e3*(time.process_time()-start))
    return float(np.median(cost))


def speed(n):
    rows = []
    for preset in PRESETS:
        cost = {}
        for kind in CLASSES:
            numbers = iter(range(n+1))
            cost[kind] = cpu(lambda: simulate_substructure(scene_rng(0, 'speed', next(numbers)), kind, preset), n)  # noqa: B023
        mean = np.mean(list(cost.values()))
        size = preset_survey(preset).size_pix
        rows.append(dict(what=f'{preset}, {size}x{size}, whole image', **{f'{k}_ms': v for k, v in cost.items()}, images_per_cpu_s=1e3/mean, minutes_for_30000_on_two_cores=30000*mean/1e3/2/60))
    rows += [dict(what=f'{name}: {what}', cdm_ms=before, after_ms=after, ratio=before/after) for name, what, before, after in kernels(max(n//20, 3))]
    keep('speed', rows)


def kernels(n):
    "Deflection of a class, one call of the lensing room or of caustics a clump, and ours: name, what, milliseconds before and after"
    rng = np.random.default_rng(0)
    x, y = pixel_grid(150, .05)
    axes = x[:1].numpy(), y[:, :1].numpy()
    theta, at = np.full(100, .022), rng.uniform(-2, 2, (2, 100))
    points = Substructure('point', theta, theta, *at)
    yield '100 points', 'one by one, then one matrix product', cpu(lambda: [point_mass(x, y, *o) for o in zip(theta.tolist(), *at.tolist(), strict=True)], n), cpu(lambda: points.deflection(*axes), 5*n)
    m, z, zs = 10**rng.uniform(7, 9.5, 80), .5, 1.5
    theta, (near, far), at = mass_to_radius(m, z, zs), comoving_distance([z, zs]), rng.uniform(-1.5, 1.5, (2, 80))
    halos = Substructure('tnfw', m, theta, *at, **halo_shape(rng, 'tnfw', m, theta, 1.2, z))
    x64, y64 = x.double(), y.double()
    d_l, d_s, d_ls = (torch.tensor(o) for o in (near/(1+z), far/(1+zs), (far-near)/(1+zs)))

    def caustics_way():
        a = 0
        for x0, y0, r, tau, mass in zip(*(torch.as_tensor(o) for o in (*at, halos.scale_arcsec, halos.tau, m)), strict=True):
            a = a+torch.stack(reduced_from_physical_deflection_angle(*physical_deflection_angle_tnfw(x0, y0, r, tau, x64, y64, M0_totmass_tnfw(mass, tau), d_l), d_s, d_ls))
        return a
    off = float(np.abs(caustics_way().numpy()-halos.deflection(*axes)).max())
    assert off < 1e-5, off
    yield '80 truncated NFW halos', f'caustics one by one, then tables (largest difference {off:.0e} arcsec)', cpu(caustics_way, n), cpu(lambda: halos.deflection(*axes), 5*n)


RULERS = {'light above a fifth of the peak': .2, 'light above a tenth': .1, 'light above half': .5}


def shortcut(n):
    rows = []
    for preset in PRESETS:
        images = {k: np.stack([o[0][0] for o in made(preset, k, n, seed=1)]) for k in CLASSES}
        for ruler, above in RULERS.items():
            for k, (radius, y) in shortcut_scores(images, preset_survey(preset).pixel_scale_arcsec, above).items():
                a = auc_interval(Scores(*[np.arange(2*n).astype(str)]*2, radius, 0*y, 0*y, label=y))
                rows.append(dict(preset=preset, kind=k, ruler=ruler, n_each=n, auc=a['value'], lo=a['lo'], hi=a['hi'], none_arcsec=radius[:n].mean(), kind_arcsec=radius[n:].mean()))
    keep('shortcut', rows)


def counts(image):
    "An image that was scaled to [0, 1] in counts again, but for its lowest pixel"
    x = np.asarray(image, float)
    return np.rint(x/np.diff(np.unique(x)).min())


def real(): return Path(os.environ['LENSNB_REAL_DATA'])
def evaluation(kind): return [counts(np.load(p)[0]) for p in sorted((real()/'deeplense_substructure'/FOLDERS[kind]).glob('*.npy'))]
def radius_map(n=150, scale=.05): return np.hypot(np.arange(n)[:, None]-(n-1)/2, np.arange(n)-(n-1)/2)*scale


def describe(x):
    "Numbers of one image in counts, lowest pixel at 0"
    r = radius_map()
    empty = x[r > 4.5]
    light = x-empty.mean()
    profile = np.array([light[(r >= a) & (r < a+.5)].mean() for a in np.arange(0, 4, .5)])/light.max()
    second = [(light*a).sum()/light[r < 4].sum() for a in np.broadcast_arrays((np.arange(150)-74.5)**2*.0025, ((np.arange(150)-74.5)**2*.0025)[:, None])]
    return dict(peak=x.max(), empty_mean=empty.mean(), empty_sigma=empty.std(), ring_radius_arcsec=ring_radius(x, .05), light_over_peak=light[r < 4].sum()/light.max(), flattening=second[1]/second[0]) | {
        f'profile_{a:.1f}': p for a, p in zip(np.arange(0, 4, .5), profile, strict=True)}


def published(n):
    rows = []

    def add(group, kind, images):
        t = pd.DataFrame([describe(x) for x in images])
        rows.extend(dict(images=group, kind=kind, n=len(t), quantity=c, mean=t[c].mean(), scatter=t[c].std(), low=t[c].quantile(.05), high=t[c].quantile(.95)) for c in t)
    for kind in CLASSES:
        add('published, evaluation', kind, evaluation(kind))
        for preset in ('deeplense_evaluation', 'deeplense_model1'): add(preset, kind, [o[0][0]-o[0].min() for o in made(preset, kind, n, seed=2)])
    z = np.load(real()/'deeplense_model1_published'/'sub_nosub2000.npz', allow_pickle=False)
    far = radius_map() > .75   # the lens galaxy covers the middle
    for label, kind in ((0, 'none'), (1, 'with')):
        x = z['images'][z['label_sub'] == label, 0].astype(float)
        add('published, 8 bits, beyond 0.75 arcsec', kind, [np.where(far, o, 0)/o[far].max()*255 for o in x])
    for kind in ('none', 'cdm', 'vortex'):
        add('deeplense_evaluation, beyond 0.75 arcsec', kind, [np.where(far, o[0][0], 0)/o[0][0][far].max()*255 for o in made('deeplense_evaluation', kind, n, seed=2)])
    keep('published', rows)


NAMES = ('theta_e', 'e1', 'e2', 'gamma1', 'gamma2', 'source_x', 'source_y', 'r_half', 'sersic_n', 'source_e1', 'source_e2', 'psf_fwhm', 'flux_e3', 'sky')
START = (1.25, .02, 0, .1, 0, 0, 0, .4, 1.2, .1, 0, .15, 100, 10)
STEPS = (.1, .05, .05, .05, .05, .1, .1, .05, .2, .1, .1, .03, 10, 1)


def smooth_model(p):
    "An SIE with shear and a Sérsic source, blurred, in counts"
    q, s = dict(zip(NAMES, p, strict=True)), 2
    x, y = pixel_grid(150, .05, s, torch.float64)

    def shape(e1, e2):
        e, pa = from_components(e1, e2)
        return (1-min(e, .9))/(1+min(e, .9)), pa
    (q_lens, pa), (q_source, pa_source), (g, pa_shear) = shape(q['e1'], q['e2']), shape(q['source_e1'], q['source_e2']), from_components(q['gamma1'], q['gamma2'])
    light = sersic(*ray_shoot(x, y, [partial(sie, theta_e_arcsec=abs(q['theta_e']), q=q_lens, pa=pa), partial(shear, gamma=min(g, .9), pa=pa_shear)]),
                   float(np.clip(q['sersic_n'], .4, 6)), max(q['r_half'], .02), q_source, pa_source, q['source_x'], q['source_y'])
    f = torch.fft.fftfreq(150*s, d=.05/s, dtype=torch.float64)
    k = torch.exp(-2*(np.pi*q['psf_fwhm']/2.35482*f)**2)
    light = torch.fft.ifft2(torch.fft.fft2(light)*k[:, None]*k).real
    return 1e3*q['flux_e3']*.0025*light.reshape(150, s, 150, s).mean((1, 3)).numpy()+q['sky']


def fit_one(x):
    "Best smooth lens: parameters, chi squared a pixel"
    best = None
    for at in ((.02, .02), (.2, .2), (-.2, .2), (.2, -.2), (-.2, -.2)):
        start = np.array(START, float)
        start[5:7] = at
        sigma = np.sqrt(np.maximum(x, 4)+1.)
        r = least_squares(lambda p: ((smooth_model(p)-x)/sigma).ravel(), start, x_scale=STEPS, max_nfev=25)  # noqa: B023
        if best is None or r.cost < best.cost: best = r
        if 2*best.cost/x.size < 1.02: break
    variance = np.maximum(smooth_model(best.x), 1)
    return dict(zip(NAMES, best.x, strict=True), chi2_per_pixel=float(((smooth_model(best.x)-x)**2/variance).mean()))


def fit(n):
    rows = []
    for kind in CLASSES:
        theirs = evaluation(kind)
        ours = [o[0][0]-o[0].min() for o in made('deeplense_evaluation', kind, len(theirs), seed=3)]
        for group, images in (('published', theirs), ('ours', ours)):
            for i, x in enumerate(images): rows.append(dict(images=group, kind=kind, number=i+1, **fit_one(x)))
    keep('fit', rows)


ROD = ('theta_e', 'gamma', 'gamma_pa', 'source_x', 'source_y', 'source_e1', 'source_e2', 'flux_e3', 'sky', 'rod_theta', 'half_length', 'rod_angle', 'rod_x', 'rod_y')


def rod_model(p):
    "A sphere with shear and a rod before a source of n = 1.5 and 0.5 arcsec, blurred by 0.087 arcsec (sigma), in counts"
    q, s = dict(zip(ROD, p, strict=True)), 2
    x, y = pixel_grid(150, .05, s, torch.float64)
    e, pa = from_components(q['source_e1'], q['source_e2'])
    lenses = [partial(sie, theta_e_arcsec=abs(q['theta_e'])), partial(shear, gamma=min(abs(q['gamma']), .9), pa=q['gamma_pa']),
              partial(rod, theta_e_arcsec=abs(q['rod_theta']), half_length_arcsec=abs(q['half_length'])+1e-3, pa=q['rod_angle'], x0=q['rod_x'], y0=q['rod_y'], core_arcsec=1e-3)]
    light = sersic(*ray_shoot(x, y, lenses), 1.5, .5, (1-min(e, .9))/(1+min(e, .9)), pa, q['source_x'], q['source_y'])
    k = torch.exp(-2*(np.pi*.087*torch.fft.fftfreq(150*s, d=.05/s, dtype=torch.float64))**2)
    light = torch.fft.ifft2(torch.fft.fft2(light)*k[:, None]*k).real
    return 1e3*q['flux_e3']*.0025*light.reshape(150, s, 150, s).mean((1, 3)).numpy()+q['sky']


def rods(n):
    rows = []
    for i, x in enumerate(evaluation('vortex')):
        best, sigma = None, np.sqrt(x+1.)
        for angle, half in [(a, h) for a in np.arange(4)*np.pi/4+.2-np.pi/2 for h in (.3, 1.2)]:
            start = (1.3, .1, 1.54, .05, 0, .15, 0, 144, 9, .22, half, angle, 0, 0)
            r = least_squares(lambda p: ((rod_model(p)-x)/sigma).ravel(), start, x_scale=(.1, .05, .1, .1, .1, .1, .1, 10, 1, .05, .2, .3, .1, .1), max_nfev=25)  # noqa: B023
            if best is None or r.cost < best.cost: best = r
            if 2*best.cost/x.size < 1.02: break
        rows.append(dict(number=i+1, **dict(zip(ROD, best.x, strict=True)), chi2_per_pixel=2*best.cost/x.size, share_of_the_lens=(best.x[9]/best.x[0])**2))
        print(rows[-1], flush=True)
    keep('rods', rows)


if __name__ == '__main__':
    parts = {f.__name__: f for f in (statistics, speed, shortcut, published, fit, rods)}
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('part', choices=list(parts))
    parser.add_argument('--n', type=int, help='images of each class')
    args = parser.parse_args()
    torch.set_num_threads(1)
    parts[args.part](args.n or dict(speed=200, published=100).get(args.part, 1000))
