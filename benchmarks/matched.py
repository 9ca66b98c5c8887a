"""Simulated lenses whose middles look like those of real candidates: a second training on a choice of the same images

    python benchmarks/matched.py composite_lite0       # runs/composite-lite0-matched; benchmarks/zoo.py train composite_lite0 comes first

benchmarks/core_colour.py shows that simulated lens galaxies brighter than i = 18 are white in the middle, and that real candidates look like
fainter ones; and that most simulated look-alikes are redder than what people were fooled by. So of the lenses brighter than that 15 % are
kept, of smooth red galaxies, satellites, blue companions and groups 35 %, of the rest all. The network goes on from its first training, for
two epochs, as the second training of benchmarks/zoo.py does, with the hard negatives found there. Both shares were chosen once, by eye.
"""
import argparse
from copy import copy

import numpy as np
import pandas as pd
from zoo import ALSO, ROOT, config, done, entries, kind, learning_rate, named, store

from lensnb.learner import train_run
from lensnb.mine import second_round

BRIGHT_I, KEEP_BRIGHT, RED, KEEP_RED = 18., .15, ('etg', 'etg_sat', 'arc_like', 'group'), .35


def chosen(catalog, rng):
    "Row numbers that are kept"
    u, k = rng.random(len(catalog)), catalog['kind'].to_numpy()
    bright = (k == 'lens') & (catalog['lens_mag_i'].to_numpy() < BRIGHT_I)
    keep = np.where(bright, u < KEEP_BRIGHT, np.where(np.isin(k, RED), u < KEEP_RED, True))
    return np.flatnonzero(keep & catalog['label'].notna().to_numpy())


def only(held, rows):
    "The store where nothing else has a label"
    out = copy(held)
    out.catalog = held.catalog.assign(label=held.catalog['label'].where(held.catalog.index.isin(rows)))
    return out


def train(entry, seed):
    k, rng, out = kind(entry), np.random.default_rng(seed), ROOT/'runs'/f"{entry.replace('_', '-')}-matched"
    first, second = (ROOT/'runs'/named(entry, seed, o) for o in ('first', 'second'))
    if not done(second): raise SystemExit(f'The trainings of {entry} are not here: python benchmarks/zoo.py train {entry}')
    held, pool, hard = store(f'{k}train'), store(f'{k}pool'), pd.read_csv(second/'hard_negatives.csv')
    rows = chosen(held.catalog, rng)
    others = [(o, chosen(o.catalog, rng)) for o in map(store, ALSO[k])]
    others.append((pool, hard['row'].to_numpy()[~np.isin(hard['kind'], RED) | (rng.random(len(hard)) < KEEP_RED)]))
    for o, part in [(held, rows), *others]: print(o.path.name, len(part), o.catalog['kind'].iloc[part].value_counts().to_dict(), flush=True)
    cfg = config(entry, f'name={out.name}', f'train.lr={learning_rate(entry)}', f'seed={seed}', f'model.weights={first}', 'model.pretrained=none', 'mine.epochs=2')
    if not done(out): train_run(second_round(cfg, first), only(held, rows), out, resume=out.exists(), validation=store(f'{k}val'), extra=others)
    print(f'{out} is trained: LENSNB_REAL_DATA=FOLDER python benchmarks/real.py {out} --tta --step "simulations, lens galaxies as faint as real ones"')


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('entry', choices=[o for o in entries() if kind(o) == 'composite-'])
    p.add_argument('--seed', type=int, default=0)
    a = p.parse_args()
    train(a.entry, a.seed)


if __name__ == '__main__': main()
