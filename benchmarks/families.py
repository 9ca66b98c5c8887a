"""How hard is each family? AUC against lenses, for a network and for colours alone

    python benchmarks/families.py             # about 15 minutes on two cores; stores and runs go to stores/ and runs/

Trains `lens_cnn` for eight epochs on the canonical store `train` (20,000 images, seed 0) and a tree on the measured colours of
the same images, and judges both on a store of their own with as many images of every family.
"""
import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier

from lensnb.config import load_config
from lensnb.core import Scores, write_table
from lensnb.cutouts import open_cutouts
from lensnb.learner import train_run
from lensnb.lookalikes import HARD_MIX
from lensnb.metrics import auc_interval
from lensnb.predict import predict
from lensnb.simulate import load_recipe, simulate_store
from lensnb.store import open_store

ROOT = Path(__file__).parent.parent
COLOURS = ['g_r', 'r_i']
FAMILIES = [k for k, share in HARD_MIX.items() if share]


def store(name, **recipe):
    path = ROOT/'stores'/name
    return open_store(path) if path.is_dir() else simulate_store(path, workers=os.cpu_count(), **recipe)


def table(frame, score):
    "AUC of each family against all lenses"
    rows = []
    for family in FAMILIES:
        part = frame[(frame['kind'] == family) | (frame['label'] == 1)]
        z = part[score].to_numpy(float)
        scores = Scores(part['id'], part['id'], z, np.full(len(z), .5), np.zeros(len(z)), part['label'])
        rows.append(dict(family=family, n=int((part['kind'] == family).sum()), **auc_interval(scores)))
    return pd.DataFrame(rows).set_index('family')


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--epochs', type=int, default=8)
    p.add_argument('--per-family', type=int, default=500)
    a = p.parse_args()
    train = store('train', **load_recipe(ROOT/'configs'/'stores.yaml', 'train'))
    mix = dict.fromkeys(FAMILIES, 1/len(FAMILIES))
    n_other = a.per_family*len(FAMILIES)
    held = store('families', n=n_other+1000, lens_frac=1000/(n_other+1000), families=mix, seed=2026, store_name='families', dtype='float16', measured=True)

    run = ROOT/'runs'/'families'
    if not (run/'card.json').exists():
        cfg = load_config(None, ['name=families', 'seed=0', 'model.name=lens_cnn', f'train.epochs={a.epochs}', 'train.lr=0.002', 'data.val_fraction=0.1'])
        train_run(cfg, train, run, resume=run.exists())
    scores, _ = predict(run, open_cutouts(ROOT/'stores'/'families'))
    frame = held.catalog.merge(pd.DataFrame(dict(id=scores.id, network=scores.logit)), on='id')

    good = train.catalog.dropna(subset=['label'])
    tree = HistGradientBoostingClassifier(max_iter=100, max_leaf_nodes=15, random_state=0).fit(good[COLOURS], good['label'])
    frame['colours'] = tree.decision_function(frame[COLOURS])

    net, colours = table(frame, 'network'), table(frame, 'colours')
    out = net.add_prefix('network_').drop(columns='network_n').join(colours)
    out = out.rename(columns=dict(value='colours_auc', lo='colours_lo', hi='colours_hi', network_value='network_auc')).reset_index()
    write_table(out.round(4), ROOT/'benchmarks'/'results'/'families.csv')
    print(out.round(3).to_string(index=False))
    lens = held.catalog[held.catalog['label'] == 1]
    print(f"lenses: S/N of the lensed image 16/50/84 %: {lens['snr_lensed_image'].quantile([.16, .5, .84]).round(0).tolist()}; "
          f"Einstein radius {lens['theta_e_arcsec'].quantile([.16, .5, .84]).round(2).tolist()} arcsec")


if __name__ == '__main__': main()
