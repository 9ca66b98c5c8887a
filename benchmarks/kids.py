"""How many real lens candidates of KiDS does a one-band network call a lens, by grade and Einstein radius?

    LENSNB_REAL_DATA=FOLDER python benchmarks/kids.py kids-r

Only candidates, no galaxies beside them: recall at the threshold of the card, not an AUC. The r band of KiDS DR4, 0.214" pixels, brought to the
card's; what another finder and people called a lens (grades A and B), so neither all of them are lenses nor are they a fair sample of lenses.
The Einstein radii are those fitted by the authors of the list. Rows go to benchmarks/results/kids.csv: development figures.
"""
import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd

from lensnb.core import write_table
from lensnb.cutouts import open_cutouts
from lensnb.intervals import proportion
from lensnb.predict import predict
from lensnb.weights import find_weights, read_card

ROOT = Path(__file__).parent.parent
RESULT = ROOT/'benchmarks'/'results'/'kids.csv'
EDGES = (0, 1, 1.5, 2, 3, 5)   # arcsec


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('weights', nargs='+', help='names or folders of weights for the r band in flux')
    a = p.parse_args()
    if not os.environ.get('LENSNB_REAL_DATA'): raise SystemExit('The real images are not here: set LENSNB_REAL_DATA to the folder of real data.')
    data = Path(os.environ['LENSNB_REAL_DATA'])/'kids_lenses'
    t = pd.read_csv(data/'catalog.csv')
    c = open_cutouts(data/'kids_r.npz', pixel_scale_arcsec=.214)
    if len(c) != len(t): raise SystemExit(f'{len(c)} images and {len(t)} rows: the catalogue is of another version.')
    rows = []
    for w in a.weights:
        card = read_card(find_weights(w))
        for tta in (False, True):
            s, bad = predict(w, c, resample=True, tta=tta, progress=False)
            if len(bad): print(f'{len(bad)} cannot be scored, the first: {bad.reason[0]}')
            order = pd.Index(c.catalog['id']).get_indexer(s.id)
            known, called = t.iloc[order].reset_index(drop=True), s.pred == 1
            radius = known['fit_einstein_radius_arcsec']
            parts = {'all': np.ones(len(s), bool), **{f'grade {g}': (known['grade'] == g).to_numpy() for g in ('A', 'B')},
                     **{f'Einstein radius {lo:g} to {hi:g}"': ((radius > lo) & (radius <= hi)).to_numpy() for lo, hi in zip(EDGES, EDGES[1:], strict=False)}, 'without a fitted radius': radius.isna().to_numpy()}
            for what, pick in parts.items():
                v = proportion(called[pick])
                rows.append(dict(weights=Path(w).name, tta=tta, what=what, n=int(pick.sum()), recall=v['value'], lo=v['lo'], hi=v['hi'], threshold=card.threshold, median_p=float(np.median(s.p_lens[pick]))))
    table = pd.DataFrame(rows).round(4)
    write_table(table, RESULT)
    print(table.to_string(index=False))


if __name__ == '__main__': main()
