"""What does a start from ImageNet buy, and at which size of training set? And what does an impostor do that was never shown?

    python benchmarks/transfer.py                  # ImageNet against nothing: two backbones, three sizes; hours on two cores
    python benchmarks/transfer.py --leave-out      # training without one family of look-alikes at a time

Transfer: a smaller set is seen more often, so that all see 20,000 images (see EPOCHS); the learning rate is the same for all and was not tuned, and the
best epoch is chosen on 2,000 images of `val`. Leave one out: `lens_cnn` without rings, mergers or spirals in training, with the same
number of other images, and the false-positive rate on the missing family at a rate of one in a hundred over all, judged on `survey-val`: `val`
has too few rings. Transfer is judged on the other 18,000 images of `val`; rows go to benchmarks/results/transfer.csv and leave_out.csv, what is finished is not done again.
"""
import argparse
from copy import copy

import numpy as np
import pandas as pd
from networks import RESULTS, ROOT, add, flat, keep, kept, rows
from release import threshold_at
from zoo import done, scored, store

from lensnb.config import load_config
from lensnb.core import Scores
from lensnb.data import thin_out
from lensnb.intervals import proportion
from lensnb.learner import train_run

BACKBONES = ('tf_efficientnet_lite0', 'tf_efficientnet_lite1')
EPOCHS = {1000: 20, 5000: 4, 20_000: 1}   # by number of training images: 20,000 are seen by all
LEFT_OUT_EPOCHS, CHOOSE = 2, 2000
FAMILIES = ('ring', 'merger', 'spiral')
LR = .002   # of all runs; not tuned


def config(*changes):
    return load_config(ROOT/'configs'/'networks.yaml', [f"data.validation={ROOT/'stores'/'val'}", f'data.max_validation={CHOOSE}', *changes])


def others(s):
    "Scores of the images of `val` that chose no epoch"
    label = store('val').catalog['label'].to_numpy()
    rows = np.flatnonzero(~np.isnan(label.astype(float)))
    return Scores.from_frame(s.to_frame().drop(index=thin_out(rows, label[rows], CHOOSE)))


def run(name, cfg, train, where='val'):
    out = ROOT/'runs'/name
    if not done(out): train_run(cfg, train, out, resume=out.exists(), validation=store('val'))
    held = store(where)
    if kept(name, where, held) is None: keep(scored(out, where), name, where)
    return others(kept(name, where, held)) if where == 'val' else kept(name, where, held)


def transfer(seeds, networks):
    path = RESULTS/'transfer.csv'
    for seed in seeds:
        for net in networks:
            for n, epochs in EPOCHS.items():
                for start in ('imagenet', 'none'):
                    t = rows(path)
                    if len(t) and ((t[['network', 'start', 'n', 'seed']] == [net, start, n, seed]).all(axis=1)).any(): continue
                    name = f'transfer-{net}-{start}-{n}-seed{seed}'
                    s = run(name, config(f'name={name}', f'model.name={net}', f'model.pretrained={start}', f'data.max_images={n}', f'train.epochs={epochs}', f'train.lr={LR}', f'seed={seed}'), store('train'))
                    add(path, dict(network=net, start=start, n=n, seed=seed, **flat(s)))
                    print(rows(path).iloc[-1].to_string(), flush=True)


def without(family, seed):
    "The training store without a family, and as many images left out at random for the arm that keeps it"
    train = store('train')
    kind = train.catalog['kind'].to_numpy()
    other = np.flatnonzero((kind != 'lens') & (kind != family))
    gone = np.flatnonzero(kind == family)
    spare = np.random.default_rng(seed).choice(other, len(gone), replace=False)
    def hide(row):
        out = copy(train)
        out.catalog = train.catalog.assign(label=train.catalog['label'].mask(train.catalog.index.isin(row)))
        return out
    return {'without': hide(gone), 'with': hide(spare)}


def leave_out(seeds):
    path = RESULTS/'leave_out.csv'
    for seed in seeds:
        for family in FAMILIES:
            for arm, train in without(family, seed).items():
                t = rows(path)
                if len(t) and ((t[['family', 'arm', 'seed']] == [family, arm, seed]).all(axis=1)).any(): continue
                name = f'leave-{family}-{arm}-seed{seed}'
                s = run(name, config(f'name={name}', 'model.name=lens_cnn', f'train.epochs={LEFT_OUT_EPOCHS}', f'train.lr={LR}', f'seed={seed}'), train, 'survey-val')
                called = s.logit >= threshold_at(s, .01)
                mine = (pd.Series(s.extra['kind']) == family).to_numpy()
                p = proportion(called[mine])
                add(path, dict(family=family, arm=arm, seed=seed, fpr=p['value'], fpr_lo=p['lo'], fpr_hi=p['hi'], n=int(mine.sum()), **flat(s)))
                print(rows(path).iloc[-1].to_string(), flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--leave-out', action='store_true')
    p.add_argument('--seeds', nargs='*', type=int, default=[0])
    p.add_argument('--networks', nargs='*', choices=BACKBONES, default=BACKBONES)
    a = p.parse_args()
    leave_out(a.seeds) if a.leave_out else transfer(a.seeds, a.networks)


if __name__ == '__main__': main()
