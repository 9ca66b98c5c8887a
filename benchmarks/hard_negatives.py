"""What is one round of hard negatives worth? Measured on `survey-val`, by kind of look-alike too

    python benchmarks/hard_negatives.py               # after benchmarks/networks.py; about 15 minutes a seed on two cores

Takes the runs of one network of benchmarks/networks.py, mines the canonical store `pool` (40,000 natural non-lenses) and trains five
epochs more with what fooled it. Beside it, the same five epochs without hard negatives: the gain must not be that of longer training.
"""
import argparse

import pandas as pd
from networks import RESULTS, ROOT, add, flat, keep, kept, rows, store

from lensnb.compare import compare
from lensnb.config import load_config
from lensnb.cutouts import open_cutouts
from lensnb.learner import train_run
from lensnb.mine import mine_run, second_round
from lensnb.predict import predict


def scored(out):
    if kept(out.name) is None: keep(predict(out, open_cutouts(ROOT/'stores'/'survey-val'))[0], out.name)
    return kept(out.name)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--net', default='regnety_002')
    p.add_argument('--seeds', nargs='*', type=int, default=[0, 1, 2])
    a = p.parse_args()
    path, arms = RESULTS/'hard_negatives.csv', {'before': [], 'longer': [], 'hard negatives': []}
    store('survey-val')
    for seed in a.seeds:
        first = ROOT/'runs'/f'{a.net}-seed{seed}'
        cfg = load_config(first/'config.yaml', [f'model.weights={first}', f"mine.store={ROOT/'stores'/'pool'}"])
        outs = {'before': first, 'longer': ROOT/'runs'/f'{a.net}-longer{seed}', 'hard negatives': ROOT/'runs'/f'{a.net}-hard{seed}'}
        if not (outs['longer']/'card.json').is_file():
            train_run(second_round(cfg, first), store('train'), outs['longer'], resume=(outs['longer']/'checkpoint').is_dir(), validation=store('val'))
        if not (outs['hard negatives']/'card.json').is_file():
            mine_run(cfg, store('train'), outs['hard negatives'], resume=outs['hard negatives'].is_dir(), validation=store('val'), pool=store('pool'))
        for arm, out in outs.items():
            arms[arm].append(scored(out))
            done = rows(path)
            if not (len(done) and ((done['arm'] == arm) & (done['seed'] == seed) & (done['network'] == a.net)).any()):
                add(path, dict(network=a.net, arm=arm, seed=seed, **flat(arms[arm][-1])))
    table = pd.concat([compare(arms['hard negatives'], arms[o]).assign(against=o) for o in ('before', 'longer')])
    table.to_csv(RESULTS/'hard_negatives_gain.csv', index=False, float_format='%.4f')
    print(table.to_string(index=False))


if __name__ == '__main__': main()
