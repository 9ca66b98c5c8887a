"""What are a stem of stride one and a doubled input worth? Three choices on one backbone

    python benchmarks/stem.py                # about 20 minutes a seed on two cores; stores and runs go to stores/ and runs/

`regnety_002` from nothing on 10,000 images of the canonical store `train`, eight epochs, the same learning rate and seeds; judged on
`survey-val`. One row a run goes to benchmarks/results/stem.csv; what each choice costs is measured by benchmarks/train.py's way:
forward and backward of one batch, images a second.
"""
import argparse
from pathlib import Path

import torch
from networks import RESULTS, ROOT, add, flat, keep, rows, store, trained

from lensnb.cutouts import open_cutouts
from lensnb.models import create_model
from lensnb.objective import step_time
from lensnb.predict import predict

CHOICES = {'as designed': (None, 1), 'stride 1': (1, 1), 'doubled input': (None, 2)}
NET, LR = 'regnety_002', .002


def speed():
    for name, (stride, up) in CHOICES.items():
        net = create_model(NET, 3, 64, stem_stride=stride, upscale=up)
        t = step_time(net, (torch.randn(64, 3, 64, 64), torch.zeros(64, 0), torch.ones(64)), 'bf16', True, n=8)
        add(RESULTS/'stem_speed.csv', dict(choice=name, train_images_per_s=round(64/t), threads=torch.get_num_threads()))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--seeds', nargs='*', type=int, default=[0, 1])
    p.add_argument('--n', type=int, default=10_000)
    p.add_argument('--epochs', type=int, default=8)
    p.add_argument('--speed', action='store_true', help='only measure what each choice costs')
    a = p.parse_args()
    if a.speed: return speed()
    path = RESULTS/'stem.csv'
    for seed in a.seeds:
        for choice, (stride, up) in CHOICES.items():
            done = rows(path)
            if len(done) and ((done['choice'] == choice) & (done['seed'] == seed)).any(): continue
            name = f"stem-{choice.replace(' ', '-')}-seed{seed}"
            stem = 'null' if stride is None else stride
            out = trained(name, f'model.name={NET}', f'model.stem_stride={stem}', f'model.upscale={up}', f'train.lr={LR}', f'train.epochs={a.epochs}', f'data.max_images={a.n}', 'data.max_validation=5000', f'seed={seed}', 'train.precision=bf16')
            store('survey-val')
            scores, _ = predict(out, open_cutouts(Path(ROOT)/'stores'/'survey-val'))
            keep(scores, name)
            add(path, dict(choice=choice, seed=seed, epochs=a.epochs, n=a.n, **flat(scores.labelled())))
    print(rows(path).to_string(index=False))


if __name__ == '__main__': main()
