"""How fast does a network learn? The whole training loop from a store, against bare forward and backward passes in the same run

    python benchmarks/train.py                       # about five minutes on two quiet cores
    python benchmarks/train.py --nets resnet18 --device cuda

The loop reads the store, standardises, augments, normalises, takes the optimiser's step and keeps the history; the bare rate is
forward and backward of one batch that lies in memory. Rounds of both alternate; printed are the median of each and the median,
lowest and highest ratio. One row a network goes to benchmarks/results/train.csv.
"""
import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fastai.callback.core import Callback, CancelEpochException
from torch.nn.functional import binary_cross_entropy_with_logits

from lensnb.config import load_config
from lensnb.core import write_table
from lensnb.learner import Watch, make_learner, prepare
from lensnb.objective import Fast, choose_arithmetic, keep_memory
from lensnb.simulate import simulate_store
from lensnb.store import open_store

ROOT = Path(__file__).parent.parent
NETS = ('regnety_002', 'resnet18', 'lens_cnn', 'cmu_resnet')


class NoValidation(Callback):
    "Time the training part only"
    order = 99
    def after_train(self): raise CancelEpochException


def bare(model, batch, steps):
    x, meta, y = batch
    start = time.perf_counter()
    for _ in range(steps): binary_cross_entropy_with_logits(model(x, meta), y).backward()
    if x.is_cuda: torch.cuda.synchronize()
    return steps*len(x)/(time.perf_counter()-start)


def loop(learn):
    start = time.perf_counter()
    learn.fit(1)
    return len(learn.dls.train)*learn.dls.train.bs/(time.perf_counter()-start)


def measure(name, store, n, rounds, device):
    cfg = load_config(None, [f'model.name={name}', f'train.device={device}', 'data.val_fraction=0.05', f'data.max_images={n}'])
    dls, net = prepare(cfg, store)
    batch = dls.train.one_batch()
    precision, last = choose_arithmetic(net, batch)
    model = Fast(net, precision, last).train()
    learn = make_learner(cfg, dls, model, [Watch(), NoValidation()])
    both = []
    with learn.no_logging(), learn.no_bar():
        loop(learn)
        for _ in range(rounds):
            model.train()
            both.append((bare(model, batch, len(dls.train)), loop(learn)))
    b, w = np.array(both).T
    ratio = w/b
    return dict(network=name, device=device, threads=torch.get_num_threads(), precision=precision, channels_last=last, bare_images_per_s=round(np.median(b)), loop_images_per_s=round(np.median(w)),
        ratio=round(np.median(ratio), 3), ratio_lo=round(ratio.min(), 3), ratio_hi=round(ratio.max(), 3), rounds=rounds)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--nets', nargs='*', default=list(NETS))
    p.add_argument('--n', type=int, default=2000, help='images in the store')
    p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--store', help='a store to read instead of a new one')
    p.add_argument('--device', default='cpu', choices=['cpu', 'cuda'])
    a = p.parse_args()
    keep_memory()   # as every training does
    path = ROOT/'benchmarks'/'results'/'train.csv'
    with tempfile.TemporaryDirectory() as tmp:
        store = open_store(a.store) if a.store else simulate_store(Path(tmp)/'speed', a.n, workers=2, dtype='float16')
        for name in a.nets:
            row = measure(name, store, a.n, a.rounds, a.device)
            print(row, flush=True)
            old = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=['network', 'device'])
            old = old[~((old['network'] == name) & (old['device'] == a.device))]
            write_table(pd.concat([old, pd.DataFrame([row])], ignore_index=True), path)


if __name__ == '__main__': main()
