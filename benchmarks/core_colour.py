"""Are the middles of simulated lenses as red and as bright as those of real candidates?

    LENSNB_REAL_DATA=FOLDER python benchmarks/core_colour.py     # the stores `composite-train`, `composite-far-train` and `composite-far-rejected` are simulated where they are not there yet

Redness (mean of i over mean of g, natural logarithm) and brightness (mean of g, r and i, of 255) of the central 3" of the candidates of
Space Warps, by grade, and of simulated lenses and look-alikes, by kind and by the magnitude of the lens galaxy. Rows go to
benchmarks/results/core_colour.csv: median, 10 % and 90 %, and the AUC that each alone would have. Numbers only: no picture leaves the data.
"""
import os
from pathlib import Path

import numpy as np
import pandas as pd
from real import BAD, CORE_ARCSEC, GOOD, RESULT, candidates, core
from sklearn.metrics import roc_auc_score
from zoo import store

from lensnb.core import write_table

MAGS = (0, 17.5, 18, 18.5, 19, 19.5, 30)


def simulated(name='composite-train'):
    held = store(name)
    scale, mid, out = held.survey.pixel_scale_arcsec, held.survey.size_pix//2, []
    half = round(CORE_ARCSEC/2/scale)
    for i in range(0, len(held), 1000):
        g, r, b = held.batch(slice(i, i+1000))[..., mid-half:mid+half, mid-half:mid+half].astype(float).mean((2, 3)).T
        out.append(pd.DataFrame(dict(redness=np.log((b+1)/(g+1)), brightness=(g+r+b)/3)))
    return held.catalog[['label', 'kind', 'lens_mag_i']].join(pd.concat(out, ignore_index=True))


def row(sample, t, label=None):
    out = dict(sample=sample, n=len(t))
    for k in ('redness', 'brightness'):
        out |= {f'{k}_{q}': round(v, 2) for q, v in zip(('p10', 'p50', 'p90'), np.quantile(t[k], (.1, .5, .9)), strict=True)}
        if label is not None: out[f'{k}_auc'] = round(roc_auc_score(label, t[k]), 3)
    return out


def main():
    if not os.environ.get('LENSNB_REAL_DATA'): raise SystemExit('The real images are not here: set LENSNB_REAL_DATA to the folder of real data.')
    c, t = candidates(Path(os.environ['LENSNB_REAL_DATA']))
    seen = core(c, t)
    real = pd.DataFrame(dict(grade=t['expert_grade'].to_numpy(float), redness=np.log(seen['redness of the core']), brightness=seen['brightness of the core']))
    hard = real[(real.grade >= GOOD) | (real.grade <= BAD)]
    out = [row('real, hard', hard, hard.grade >= GOOD), row(f'real, grade {GOOD:g} or better', hard[hard.grade >= GOOD]), row(f'real, grade {BAD:g} or worse', hard[hard.grade <= BAD])]
    sim = simulated()
    sim = sim[sim.label.notna()]
    out += [row('simulated, all', sim, sim.label), row('simulated, look-alikes', sim[sim.label == 0])]
    out += [row(f'simulated, {k}', part) for k, part in sim.groupby('kind')]
    lens = sim[sim.kind == 'lens']
    out += [row(f'simulated, lens of i {lo:g} to {hi:g}', lens[lens.lens_mag_i.between(lo, hi, inclusive='left')]) for lo, hi in zip(MAGS, MAGS[1:], strict=False)]
    far = simulated('composite-far-train')   # lens galaxies at the redshifts of those that people find
    far = far[far.label.notna()]
    out += [row('far, all', far, far.label), row('far, lens', far[far.kind == 'lens']), row('far, look-alikes', far[far.label == 0])]
    more = simulated('composite-far-rejected')
    out.append(row('far, blue_disk', more[more.kind == 'blue_disk']))
    write_table(pd.DataFrame(out), RESULT.with_name('core_colour.csv'))
    print(pd.DataFrame(out).to_string(index=False))


if __name__ == '__main__': main()
