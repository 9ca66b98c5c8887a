"""What is each step of `augment` worth? An ablation on the sky trained on, and on others

    python benchmarks/augment.py                 # stores and runs go to stores/augment/
    python benchmarks/augment.py --pixels flux --n 20000 --epochs 15

A small training set (3,000 images, half of them lenses, hard look-alikes) is the case in which augmentation should matter.
Every arm adds one step to the eight symmetries; `all` takes every step, `default` the config as shipped. Each network is judged on
a natural mix with 10 % lenses under the sky it was trained on, and under others that it has never seen.

flux, trained on lsst: `kids` has the same pixels with other seeing and noise in every band; `des` has pixels of .263" for .2",
and worse seeing, and is shown to the network without resampling.
composite8, trained on lsst through one hand's stretch: `lupton` is the same sky through another stretch.

A finished run adds rows to benchmarks/results/augment.csv and is not done again; when all are there, the gains over the symmetries
alone, with intervals from objects and seeds together, go to benchmarks/results/augment_gains.csv.
"""
import argparse
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lensnb.compare import judge
from lensnb.config import load_config
from lensnb.core import Scores, sigmoid, write_table
from lensnb.data import Feed
from lensnb.learner import train_run
from lensnb.simulate import simulate_store
from lensnb.store import open_store
from lensnb.surveys import LUPTON, STRETCH, get_survey
from lensnb.weights import load_weights

ROOT = Path(__file__).parent.parent
RESULTS = ROOT/'benchmarks'/'results'
FIGURES = ('auc', 'tpr_at_fpr 0.01')
ONE_HAND = {**STRETCH, 'jitter': .2, 'noise': 1., 'noise_scatter': .13}
OFF = dict(dihedral=False, shift_pix=0, zoom=0, seeing_pix=0, noise_sigma=0, flux_scale=0, colour=0, offset=0, stretch=0, artefacts=0)
STEPS = dict(shift=dict(shift_pix=1), zoom=dict(zoom=.25), seeing=dict(seeing_pix=1), noise=dict(noise_sigma=1), brightness=dict(flux_scale=.2), artefacts=dict(artefacts=.2))
ALL = {k: v for step in STEPS.values() for k, v in step.items()}
JITTER = dict(flux_scale=.2, colour=.1, offset=.02, noise_sigma=.3)
SYMMETRIES = {**OFF, 'dihedral': True}
ARMS = {'flux': {'none': OFF, 'symmetries': SYMMETRIES, **{f'+ {name}': {**SYMMETRIES, **step} for name, step in STEPS.items()}, 'all': {**SYMMETRIES, **ALL}, 'default': {}},
        'composite8': {'none': OFF, 'symmetries': SYMMETRIES, '+ stretch': {**SYMMETRIES, 'stretch': .15}, '+ jitter': {**SYMMETRIES, **JITTER},
                       'all': {**SYMMETRIES, **ALL, **JITTER, 'stretch': .15}}}
SKIES = {'flux': {'lsst': {}, 'kids': dict(name='kids', bands=('g', 'r', 'i')), 'des': dict(name='des')},
         'composite8': {'lsst': {}, 'lupton': dict(stretch=LUPTON)}}


def survey(pixels, sky):
    one_hand = dict(stretch=ONE_HAND) if pixels == 'composite8' else {}
    return get_survey(**{**dict(name='lsst', pixels=pixels), **one_hand, **SKIES[pixels][sky]})


def store(folder, pixels, sky, part, n):
    "Simulated once, and kept; the last block is simulated again after an interruption"
    path, name = folder/f'{pixels}-{sky}-{part}-{n}', f'augment-{part}'
    mix = dict(lens_frac=.5, families='hard') if part == 'train' else dict(lens_frac=.1, families='natural')
    try: return open_store(path)
    except Exception: return simulate_store(path, survey(pixels, sky), n, seed=2026, workers=1, store_name=name, dtype='float16', **mix)


@torch.no_grad()
def score(run, held):
    "Scores of a store, whatever its survey says"
    net, card = load_weights(run)
    cfg = load_config(None, [f'data.size_pix={card.size_pix}'])
    feed = Feed(held, cfg, np.zeros((len(held.catalog), 0), np.float32))
    net = net.eval()
    parts = [net(feed.norm.stretch(feed.batch(np.arange(i, min(i+256, len(held.catalog))))[0])).double() for i in range(0, len(held.catalog), 256)]
    logit = torch.cat(parts).numpy()
    return Scores.from_frame(held.catalog[['id', 'label', 'kind']].assign(logit=logit, p_lens=sigmoid(logit), pred=(logit > 0).astype(int)))


def run_one(folder, pixels, arm, seed, train, held, a):
    "Train and score, or read what a run before this one has left"
    run = folder/f"run-{pixels}-{arm.replace(' ', '')}-{seed}-{a.n}-{a.epochs}-{a.net}"
    done = {sky: run/f'scores-{sky}.csv' for sky in held}
    if not all(f.is_file() for f in done.values()):
        if not (run/'card.json').is_file():
            shutil.rmtree(run, ignore_errors=True)
            keys = [f'augment.{k}={v}' for k, v in ARMS[pixels][arm].items()]
            cfg = load_config(None, ['name=augment', f'seed={seed}', f'model.name={a.net}', f'train.epochs={a.epochs}', 'train.lr=0.003', 'train.precision=bf16', 'train.channels_last=true', 'data.val_fraction=0.1', *keys])
            train_run(cfg, train, run, progress=False)
        for sky, s in held.items(): score(run, s).write(done[sky])
    return {sky: Scores.read(f) for sky, f in done.items()}


def figures(scores): return {k: float(v[0]) for k, v in judge({'this': scores, 'again': scores}, 2)[0].items() if k in FIGURES}


def gains(scores, base='symmetries'):
    "Every arm on a sky, its figures, and its lead over the symmetries alone"
    observed, drawn = judge(scores, 1000)
    at, rows = list(scores).index(base), []
    for name in FIGURES:
        for k, arm in enumerate(scores):
            lo, hi = np.clip(np.quantile(drawn[name][k], [.025, .975]), 0, 1)
            lead = drawn[name][k]-drawn[name][at]
            rows.append(dict(arm=arm, figure=name, n_seed=len(scores[arm]), value=observed[name][k], lo=lo, hi=hi, gain=observed[name][k]-observed[name][at],
                             gain_lo=np.quantile(lead, .025), gain_hi=np.quantile(lead, .975)))
    return pd.DataFrame(rows)


def add_rows(path, rows, keys):
    "Add rows to a table; a row with the same keys is replaced"
    old = pd.read_csv(path) if path.is_file() else None
    write_table(pd.concat([old, rows]).drop_duplicates(keys, keep='last').round(5), path)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--pixels', nargs='+', choices=list(ARMS), default=list(ARMS), help='kinds of pixels')
    p.add_argument('--n', type=int, default=3000, help='training images')
    p.add_argument('--n-test', type=int, default=5000, help='images of each sky that is judged')
    p.add_argument('--epochs', type=int, default=8)
    p.add_argument('--seeds', type=int, default=3)
    p.add_argument('--net', default='lens_cnn')
    p.add_argument('--work', type=Path, default=ROOT/'stores'/'augment', help='folder for stores and runs')
    p.add_argument('--results', type=Path, default=RESULTS, help='folder for the two tables')
    a = p.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    setting = dict(net=a.net, n=a.n, epochs=a.epochs)
    for pixels in a.pixels:
        train = store(a.work, pixels, 'lsst', 'train', a.n)
        held = {sky: store(a.work, pixels, sky, 'test', a.n_test) for sky in SKIES[pixels]}
        every = {sky: {arm: [] for arm in ARMS[pixels]} for sky in held}
        for seed in range(a.seeds):
            for arm in ARMS[pixels]:
                scores = run_one(a.work, pixels, arm, seed, train, held, a)
                rows = pd.DataFrame([dict(pixels=pixels, arm=arm, seed=seed, sky=sky, **setting, **figures(s)) for sky, s in scores.items()])
                add_rows(a.results/'augment.csv', rows, ['pixels', 'arm', 'seed', 'sky', *setting])
                print(rows.drop(columns=list(setting)).round(4).to_string(index=False, header=arm == 'none'), flush=True)
                for sky, s in scores.items(): every[sky][arm].append(s)
        table = pd.concat([gains(scores).assign(pixels=pixels, sky=sky, **setting) for sky, scores in every.items()])
        add_rows(a.results/'augment_gains.csv', table, ['pixels', 'arm', 'sky', 'figure', *setting])
        print(table.round(3).to_string(index=False))


if __name__ == '__main__': main()
