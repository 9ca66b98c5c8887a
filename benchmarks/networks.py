"""Networks compared: same images, same number of them, the learning rate of each chosen on `val`, judged on `survey-val`

    python benchmarks/networks.py                                   # all: hours on two cores; stores and runs go to stores/ and runs/
    python benchmarks/networks.py --nets regnety_002 --seeds 0      # a part; what is finished is not done again
    python benchmarks/networks.py --table                           # what there is, with intervals over objects and seeds
    python benchmarks/networks.py --release                         # weights/lsst-NETWORK of the seed that did best on `val`

First every network is trained for a few epochs at each of three learning rates (seed 100); the best partial AUC below a
false-positive rate of 1e-2 on `val` decides. Then it is trained with each seed in full, and scores `survey-val` without
test-time pooling. One row a finished run goes to benchmarks/results/networks.csv, its logits to benchmarks/results/survey-val/; `--table` makes the board, ROC
curves (networks_roc.csv), completeness by Einstein radius (networks_found.csv) and false positives by kind (networks_kinds.csv) from them.
How fast each network learns is measured by benchmarks/train.py. `survey-test` is not opened.
"""
import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from release import release, threshold_at

from lensnb.compare import leaderboard
from lensnb.config import load_config
from lensnb.core import Scores, atomic_file, sigmoid, write_table
from lensnb.cutouts import open_cutouts
from lensnb.learner import train_run
from lensnb.metrics import completeness, ranking
from lensnb.predict import predict
from lensnb.selection import fpr_by_kind, selection_function
from lensnb.simulate import load_recipe, simulate_store
from lensnb.store import open_store
from lensnb.weights import load_weights

ROOT = Path(__file__).parent.parent
RESULTS = ROOT/'benchmarks'/'results'
NETS = {'lens_cnn': 'bf16', 'regnety_002': 'bf16', 'cmu_resnet': 'bf16'}   # and the arithmetic that is fastest on two cores
RATES = np.logspace(-4, -.1, 40)
LRS = (.0005, .002, .008)
FEWER = {'cmu_resnet': 5000}   # images of `val` that choose its best epoch, where all 20,000 would take a third of the time
FIGURES = {'auc': 'auc', 'auprc': 'auprc', 'tpr0': 'tpr0', 'tpr10': 'tpr10', 'tpr_at_fpr:0.01': 'tpr_1e-2', 'tpr_at_fpr:0.001': 'tpr_1e-3'}


def store(name, recipes='stores.yaml'):
    path = ROOT/'stores'/name
    return open_store(path) if path.is_dir() else simulate_store(path, workers=os.cpu_count(), **load_recipe(ROOT/'configs'/recipes, name))


def rows(path): return pd.read_csv(path) if path.is_file() else pd.DataFrame()


def add(path, row): write_table(pd.concat([rows(path), pd.DataFrame([row])], ignore_index=True), path)


def trained(name, *changes):
    "A finished run of this name; one that was interrupted goes on"
    out = ROOT/'runs'/name
    if not (out/'card.json').is_file():
        cfg = load_config(ROOT/'configs'/'networks.yaml', [f'name={name}', f"data.validation={ROOT/'stores'/'val'}", *changes])
        train_run(cfg, store('train'), out, resume=out.exists(), validation=store('val'))
    return out


def choose_lr(net, epochs):
    path = RESULTS/'networks_lr.csv'
    for lr in LRS:
        done = rows(path)
        if len(done) and ((done['network'] == net) & (done['lr'] == lr)).any(): continue
        out = trained(f'{net}-lr{lr:g}', f'model.name={net}', f'train.precision={NETS[net]}', f'train.lr={lr}', f'train.epochs={epochs}', 'seed=100')
        h = pd.read_csv(out/'history.csv')
        add(path, dict(network=net, lr=lr, epochs=epochs, pauc=round(h['pauc'].max(), 4), auc=round(h['auc'].max(), 4)))
    done = rows(path)
    return float(done[done['network'] == net].sort_values('pauc')['lr'].iloc[-1])


def flat(scores):
    "Figures of a score table with their intervals, in columns"
    r, out = ranking(scores), {}
    for key, name in FIGURES.items():
        f = r
        for part in key.split(':'): f = f[part]
        out |= {name: f['value'], f'{name}_lo': f.get('lo'), f'{name}_hi': f.get('hi')}
    return {k: None if v is None else round(v, 4) for k, v in out.items()}


def keep(scores, name, where='survey-val'):
    "The logits of a run on a store, small enough to commit, so that any comparison can be made again"
    with atomic_file(RESULTS/where/f'{name}.npz') as tmp: np.savez_compressed(tmp, logit=scores.logit.astype(np.float32))


def kept(name, where='survey-val', held=None):
    "The score table of a run on a store (None: the canonical one of this name), from its logits; or None"
    path = RESULTS/where/f'{name}.npz'
    if not path.is_file(): return None
    df, logit = (held or store(where)).catalog, np.load(path, allow_pickle=False)['logit'].astype(float)
    if len(df) != len(logit): raise SystemExit(f'{path.name} holds {len(logit)} scores, and its store {len(df)} images: one of them is of another version.')
    return Scores.from_frame(df[['id', 'label', 'kind', 'group', 'theta_e_arcsec']].assign(path='', logit=logit, p_lens=sigmoid(logit), pred=(logit > 0).astype(int))).labelled()


def one(net, seed, lr):
    name = f'{net}-seed{seed}'
    out = trained(name, f'model.name={net}', f'train.precision={NETS[net]}', f'train.lr={lr}', f'seed={seed}', *([f'data.max_validation={FEWER[net]}'] if net in FEWER else []))
    model, _ = load_weights(out)
    store('survey-val')
    scores, _ = predict(out, open_cutouts(ROOT/'stores'/'survey-val'), engine='auto')
    keep(scores, name)
    known = scores.labelled()
    add(RESULTS/'networks.csv', dict(network=net, seed=seed, lr=lr, parameters_M=round(sum(p.numel() for p in model.parameters())/1e6, 2), **flat(known), n_lens=int((known.label == 1).sum()), n_nonlens=int((known.label == 0).sum())))


def details(runs, fpr=.01):
    "Where the networks differ: ROC curves, completeness by Einstein radius and false positives by kind, each seed at its threshold for this FPR"
    curves, kinds, found = [], [], []
    for net, seeds in runs.items():
        parts = []
        for seed, s in seeds.items():
            curves.append(completeness(s, RATES).assign(network=net, seed=seed))
            parts.append(s.to_frame().assign(id=[f'{o}/{seed}' for o in s.id], pred=(s.logit >= threshold_at(s, fpr)).astype(int)))
        pooled = Scores.from_frame(pd.concat(parts, ignore_index=True))
        kinds.append(fpr_by_kind(pooled).assign(network=net))
        found.append(selection_function(pooled, 'theta_e_arcsec', bins=[.4, .8, 1, 1.2, 1.4, 1.6, 1.8, 2, 2.4, 4]).assign(network=net))
    for name, part in (('roc', curves), ('kinds', kinds), ('found', found)): write_table(pd.concat(part).round(5), RESULTS/f'networks_{name}.csv')


def table():
    done = rows(RESULTS/'networks.csv')
    print(done.to_string(index=False))
    runs = {net: {s: o for s in sorted(part['seed']) if (o := kept(f'{net}-seed{s}')) is not None} for net, part in done.groupby('network')}
    runs = {k: v for k, v in runs.items() if v}
    details(runs)
    if len(runs) < 2: return
    board = leaderboard({k: list(v.values()) for k, v in runs.items()})
    board.to_csv(RESULTS/'networks_board.csv')
    print(board.to_string())


def choose_seed(net):
    "The run of this network that did best on `val`"
    runs = {p: pd.read_csv(p/'history.csv')['pauc'].max() for p in (ROOT/'runs').glob(f'{net}-seed*') if (p/'card.json').is_file()}
    return max(runs, key=runs.get)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--nets', nargs='*', default=list(NETS), choices=list(NETS))
    p.add_argument('--seeds', nargs='*', type=int, default=[0, 1, 2])
    p.add_argument('--lr-epochs', type=int, default=3)
    p.add_argument('--table', action='store_true')
    p.add_argument('--release', action='store_true')
    a = p.parse_args()
    if a.release:
        for net in a.nets:
            run = choose_seed(net)
            scores = kept(run.name)
            release(run, f"lsst-{net.replace('_', '-')}", store('calib'), scores, ROOT/'stores', figures={k: v for k, v in flat(scores).items() if v is not None})
        return
    if not a.table:
        for net in a.nets:
            lr = choose_lr(net, a.lr_epochs)
            print(f'{net}: learning rate {lr:g}', flush=True)
            done = rows(RESULTS/'networks.csv')
            for seed in a.seeds:
                if not (len(done) and ((done['network'] == net) & (done['seed'] == seed)).any()): one(net, seed, lr)
    table()


if __name__ == '__main__': main()
