"""How well are simulated and real galaxies told apart, and by what? Numbers only: no picture of the data leaves it

Needs the folder of real data named in LENSNB_REAL_DATA. Rows are written to benchmarks/results/realism.csv under a
label; rows of other labels stay, so that `--label before` and `--label after` stand side by side.

DES: 46 luminous red galaxies, linear flux in g r i, zero point 30 (the border noise at that zero point is the depth of
DES DR1: 25.1 in g within 2" at 5 sigma), against simulated early types, of which a quarter have satellites.
Space Warps: 210 CFHTLS lens candidates as colour composites, against simulated composites of lenses and of what
looks like them. Both are matched in magnitude first. Mixes and statistics were fixed before the first run; the simulator was then tuned on
these same galaxies, so every figure after 'before' is a development figure.

'before' is the simulator of commit 5fc0f8f, run by this script with cameras written by hand: DES as 5 exposures of 90 s
(with 10, the noise alone gives an AUC of .995), CFHTLS as the lsst composites of that commit at 0.187" and its seeing.
"""
import argparse
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lensnb.core import scene_rng
from lensnb.cutouts import open_cutouts
from lensnb.plot import show_grid
from lensnb.realism import image_statistics, match, told_apart
from lensnb.simulate import FAMILIES, simulate_one
from lensnb.surveys import get_survey

ROOT = Path(__file__).parent.parent
RESULT = ROOT/'benchmarks'/'results'/'realism.csv'
SAMPLES = {   # folder, fields of the real survey, families of the simulation, partners of each real image
    'des': dict(folder='des_galaxies/des_grizY46.npz', survey=dict(name='des', size_pix=91), real=dict(zero_point_mag=(30.,)*3), ratio=5, n=700,
                mix={'etg':.75, 'etg_sat':.25}),
    'spacewarps': dict(folder='spacewarps/images', survey=dict(name='cfhtls', pixels='composite8', size_pix=128), real={}, ratio=3, n=1000,
                       mix={'lens':.4, 'arc_like':.1, 'ring':.13, 'spiral':.13, 'etg_sat':.12, 'group':.07, 'merger':.05})}


def real_sample(data, folder, survey, bands):
    cat, images, bad = open_cutouts(data/folder, bands=bands, pixel_scale_arcsec=survey.pixel_scale_arcsec).load()
    if len(bad): print(f'{len(bad)} real images cannot be read, first {bad.id[0]}: {bad.reason[0]}')
    group = cat['zooid'] if 'zooid' in cat else cat['id']
    return images, image_statistics(images, survey).assign(group='real '+group.astype(str))


def simulated_sample(survey, name, mix, n, seed):
    mix = {k: w for k, w in mix.items() if k in FAMILIES}
    kinds = scene_rng(seed, f'realism-{name}/kinds', 0).choice(list(mix), n, p=np.array(list(mix.values()))/sum(mix.values()))
    images = np.stack([simulate_one(survey, scene_rng(seed, f'realism-{name}', i), str(k))[0] for i, k in enumerate(kinds)])
    return images, image_statistics(images, survey).assign(group=[f'simulated {i}' for i in range(n)], kind=kinds)


def compare(name, spec, data, seed, sheets):
    survey = get_survey(**spec['survey'])
    if len(survey.bands) > 3: survey = get_survey(**spec['survey'], bands=('g', 'r', 'i'))
    start = time.time()
    real_images, real = real_sample(data, spec['folder'], replace(survey, **spec['real']), survey.bands if survey.pixels == 'flux' else None)
    sim_images, sim = simulated_sample(survey, name, spec['mix'], spec['n'], seed)
    i, j = match(real, sim, ratio=spec['ratio'])
    res = told_apart(real.iloc[i], sim.iloc[j], seed=seed)
    print(f"\n{name}: {res['n_a']} of {len(real)} real and {res['n_b']} simulated images, AUC {res['auc']:.3f} [{res['lo']:.3f}, {res['hi']:.3f}] ({time.time()-start:.0f} s)")
    print(res['importance'].round(3).to_string(index=False))
    if sheets: contact_sheets(sheets, name, survey, real_images[i], sim_images[j])
    whole = dict(statistic='all eight', auc=res['auc'], lo=res['lo'], hi=res['hi'])
    alone = res['importance'].rename(columns=dict(auc_alone='auc', median_a='median_real', median_b='median_simulated'))
    return pd.concat([pd.DataFrame([whole]), alone], ignore_index=True).assign(sample=name, n_real=res['n_a'], n_simulated=res['n_b'])


def contact_sheets(folder, name, survey, real, simulated):
    "For the eye, outside the repository"
    rng = np.random.default_rng(0)
    for kind, x in (('real', real), ('simulated', simulated)):
        x = x[rng.choice(len(x), min(40, len(x)), replace=False)]
        show_grid(list(x), pixels=survey.pixels, ncol=8, size_inch=1.6).savefig(folder/f'{name}_{kind}.png')


def main():
    p = argparse.ArgumentParser(description='Tell simulated from real galaxies')
    p.add_argument('--label', default='now', help='name of these rows in the table; earlier rows of the same label are replaced')
    p.add_argument('--only', choices=list(SAMPLES), help='one of the two samples')
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--out', type=Path, default=RESULT)
    p.add_argument('--sheets', type=Path, help='folder outside the repository for contact sheets')
    a = p.parse_args()
    data = Path(os.environ.get('LENSNB_REAL_DATA', ''))
    if not data.is_dir() or not os.environ.get('LENSNB_REAL_DATA'): raise SystemExit('The real galaxies are not here: set LENSNB_REAL_DATA to their folder.')
    if a.sheets:
        if ROOT in a.sheets.resolve().parents: raise SystemExit('Pictures of the data must stay outside the repository: choose another folder for --sheets.')
        a.sheets.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    names = [a.only] if a.only else list(SAMPLES)
    new = pd.concat([compare(name, SAMPLES[name], data, a.seed, a.sheets) for name in names], ignore_index=True)
    commit = subprocess.run(['git', 'describe', '--always', '--dirty'], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    new = new.assign(label=a.label, commit=commit, seed=a.seed)[['label', 'sample', 'statistic', 'auc', 'lo', 'hi', 'importance', 'median_real', 'median_simulated', 'n_real', 'n_simulated', 'commit', 'seed']]
    if a.out.exists():
        old = pd.read_csv(a.out)
        new = pd.concat([old[~((old['label'] == a.label) & old['sample'].isin(names))], new], ignore_index=True)
    a.out.parent.mkdir(exist_ok=True)
    new.round(4).to_csv(a.out, index=False)
    print(f'\n{a.out.name} written')


if __name__ == '__main__': main()
