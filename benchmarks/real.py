"""What are networks worth on real images? Numbers only: no picture of the data leaves it

    LENSNB_REAL_DATA=FOLDER python benchmarks/real.py small-composite                  # names or folders of weights for composites
    LENSNB_REAL_DATA=FOLDER python benchmarks/real.py --tta runs/wide --step 'wider'   # eight-fold pooling; the step of the table
    LENSNB_REAL_DATA=FOLDER python benchmarks/real.py --tta --together composite-lite0 composite-cnn --step 'together'   # the mean of their logits as they are; benchmarks/composites.py takes calibrated ones

Rows go to benchmarks/results/real.csv, one for each figure; what a step and a network had there before is replaced.

hard: CFHTLS candidates that the Space Warps crowd chose, expert grade 2 and better against 0.3 and worse; AUC (a zooid is one
object), Spearman's rank correlation with the grade of all, purity of the best 20, and the share of the lenses above the card's threshold.
rings: DECaLS galaxies with and without a ring (Galaxy Zoo votes): the share above the card's threshold.
Beside them stand what needs no network: redness and brightness of the central 3", and the crowd's own posterior.
The folder is a development half: every figure here is a development figure.
"""
import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import logit
from scipy.stats import spearmanr

from lensnb.core import Scores, write_table
from lensnb.cutouts import open_cutouts
from lensnb.intervals import auc_interval, proportion
from lensnb.metrics import precision_at_k
from lensnb.predict import predict

ROOT = Path(__file__).parent.parent
RESULT = ROOT/'benchmarks'/'results'/'real.csv'
GOOD, BAD, TOP, CORE_ARCSEC, SCALE = 2., .3, 20, 3., .187


def candidates(data):
    "The pictures, and their table in the same order"
    c = open_cutouts(data/'spacewarps'/'images', pixel_scale_arcsec=SCALE)
    return c, c.catalog


def hard(t, score):
    "Scores of the well and the badly graded, groups by zooid"
    keep = (t['expert_grade'] >= GOOD) | (t['expert_grade'] <= BAD)
    s = np.asarray(score, float)
    return Scores.from_frame(pd.DataFrame(dict(id=t['id'], path=t['path'], label=(t['expert_grade'] >= GOOD).astype(int), group=t['zooid'], logit=s, p_lens=.5, pred=0))[keep.to_numpy()])


def correlation(grade, score, group, n_boot=1000):
    "Spearman's rank correlation; the interval resamples zooids"
    names, rng = pd.factorize(group)[0], np.random.default_rng(0)
    of = [np.flatnonzero(names == k) for k in range(names.max()+1)]
    drawn = [spearmanr(grade[i], score[i])[0] for i in (np.concatenate([of[k] for k in rng.integers(len(of), size=len(of))]) for _ in range(n_boot))]
    return dict(value=spearmanr(grade, score)[0], lo=np.percentile(drawn, 2.5), hi=np.percentile(drawn, 97.5))


def figures(t, score, called=None):
    "The figures of the candidates"
    s = hard(t, score)
    yield 'hard: AUC', auc_interval(s), len(s)
    yield 'hard: Spearman with the grade', correlation(t['expert_grade'].to_numpy(), np.asarray(score, float), t['zooid']), len(t)
    yield f'hard: purity of the best {TOP}', precision_at_k(s, TOP), TOP
    if called is None: return
    good, bad = (t['expert_grade'] >= GOOD).to_numpy(), (t['expert_grade'] <= BAD).to_numpy()
    group = pd.factorize(t['zooid'])[0]
    for name, pick in (('lenses', good), ('the rejected', bad)): yield f'hard: share of {name} above the threshold', proportion(called[pick], group[pick]), int(pick.sum())


def core(c, t):
    "Redness and brightness of the central 3 arcsec, of pictures with bands g r i"
    x = np.stack([c.read(i) for i in range(len(t))]).astype(float)
    half = round(CORE_ARCSEC/2/SCALE)
    mid = x.shape[-1]//2
    g, r, i = x[..., mid-half:mid+half, mid-half:mid+half].mean((2, 3)).T
    return {'redness of the core': (i+1)/(g+1), 'brightness of the core': (g+r+i)/3}


def scored(weights, cutouts, tta):
    s, bad = predict(weights, cutouts, tta=tta, progress=False, resample=True)
    if len(bad): raise SystemExit(f'{len(bad)} of {len(cutouts)} images cannot be scored, the first: {bad.reason[0]}')
    return s


def write(step, name, rows, tta=False):
    old = pd.read_csv(RESULT) if RESULT.is_file() else pd.DataFrame(columns=['step', 'weights', 'tta'])
    new = pd.DataFrame([dict(step=step, weights=name, tta=tta, figure=f, value=v['value'], lo=v['lo'], hi=v['hi'], n=n) for f, v, n in rows]).round(4)
    old = old[~((old['step'] == step) & (old['weights'] == name) & (old['tta'].astype(bool) == tta))]
    write_table(pd.concat([old, new], ignore_index=True), RESULT)
    print(f'\n{step}: {name}{", eight-fold" if tta else ""}\n'+new[['figure', 'value', 'lo', 'hi', 'n']].to_string(index=False), flush=True)


def rings(data, weights, tta):
    "How often a network fires on galaxies with and without a ring"
    c = open_cutouts(data/'decals_rings'/'images')
    table = pd.read_csv(data/'decals_rings'/'catalog.csv').assign(id=lambda t: [Path(f).stem for f in t['file']]).set_index('id')
    s = scored(weights, c, tta)
    ring = table.loc[s.id, 'ring'].to_numpy() == 1
    for name, pick in (('with a ring', ring), ('without', ~ring)): yield f'rings: share of those {name} above the threshold', proportion(s.pred[pick] == 1), int(pick.sum())


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('weights', nargs='*', help='names or folders of weights for composites')
    p.add_argument('--step', default='as released')
    p.add_argument('--tta', action='store_true', help='mean over the eight symmetries')
    p.add_argument('--together', action='store_true', help='only the mean of the logits of all, and no threshold')
    a = p.parse_args()
    if a.together and len({Path(w).name for w in a.weights}) < 2: p.error('--together wants at least two networks of different names.')
    if not os.environ.get('LENSNB_REAL_DATA'): raise SystemExit('The real images are not here: set LENSNB_REAL_DATA to the folder of real data.')
    data = Path(os.environ['LENSNB_REAL_DATA'])
    torch.set_num_threads(min(2, os.cpu_count()))
    c, t = candidates(data)
    for name, score in (core(c, t) | {'the crowd': logit(t['volunteer_p'].to_numpy().clip(1e-6, 1-1e-6))}).items(): write('no network', name, figures(t, score))
    logits = {}
    for w in a.weights:
        s = scored(w, c, a.tta)
        if list(s.id) != list(t['id']): raise SystemExit('The scores are in another order than the pictures.')
        logits[Path(w).name] = s.logit
        if not a.together: write(a.step, Path(w).name, [*figures(t, s.logit, s.pred == 1), *rings(data, w, a.tta)], a.tta)
    if a.together: write(a.step, '+'.join(logits), [*figures(t, np.mean(list(logits.values()), 0))], a.tta)


if __name__ == '__main__': main()
