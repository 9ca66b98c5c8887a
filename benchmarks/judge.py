"""Time and peak memory of a whole report on a million scores, one in a thousand a lens, 1,000 bootstrap replicates

usage: python benchmarks/judge.py [N]     (1,000,000 by default)"""
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from lensnb.report import report_scores
from lensnb.scoretable import read_score_table


def write_table(path, n, seed=0):
    "Scores of two bell curves, a family of hard look-alikes, and truths of the lenses"
    rng = np.random.default_rng(seed)
    kind = rng.choice(['lens', 'spiral', 'ring'], n, p=[.001, .979, .02])
    lens = kind == 'lens'
    theta = np.where(lens, rng.uniform(.5, 2., n), np.nan)
    logit = 1.5*rng.normal(size=n) + np.select([lens, kind == 'ring'], [1+2*np.nan_to_num(theta), -2.], -5.)
    pd.DataFrame(dict(id=np.arange(n), logit=logit, label=lens.astype(int), kind=kind, theta_e_arcsec=theta)).to_csv(path, index=False)


if __name__ == '__main__':
    n = int(float(sys.argv[1])) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as d:
        write_table(Path(d)/'scores.csv', n)
        t0 = time.time()
        table = read_score_table(Path(d)/'scores.csv')
        t1 = time.time()
        page = report_scores(table, Path(d)/'report.html')
        t2, size = time.time(), page.stat().st_size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1e6
    print(f'{n:,} scores: read in {t1-t0:.1f} s, judged in {t2-t1:.1f} s, {t2-t0:.1f} s in all; peak memory {peak:.2f} GB; page of {size/1e3:.0f} kB')
