"""Which step brings a network trained on simulations closer to real images? One row of figures a step and a seed

    LENSNB_REAL_DATA=FOLDER python benchmarks/steps.py --steps narrow wide groups     # about 15 minutes a step and seed on two cores

Each step of configs/real.yaml is a training store of 9,000 composites; the network, its learning rate and the number of images that it
sees are the same. Figures on the real candidates (benchmarks/real.py) go to benchmarks/results/steps.csv: development figures all.
"""
import argparse
import os
from pathlib import Path

import pandas as pd
from real import candidates, figures, rings, scored

from lensnb.config import load_config
from lensnb.core import write_table
from lensnb.learner import train_run
from lensnb.simulate import load_recipe, simulate_store
from lensnb.store import open_store

ROOT = Path(__file__).parent.parent
RESULT = ROOT/'benchmarks'/'results'/'steps.csv'


def store(name, workers):
    path = ROOT/'stores'/f'real-{name}'
    try: return open_store(path)
    except Exception: return simulate_store(path, workers=workers, **{**load_recipe(ROOT/'configs'/'real.yaml', name), 'store_name': f'real-{name}'})


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--steps', nargs='+', required=True)
    p.add_argument('--seeds', nargs='*', type=int, default=[0, 1])
    p.add_argument('--net', default='lens_cnn')
    p.add_argument('--epochs', type=int, default=8)
    p.add_argument('--label', default='', help='added to the name of the step where other keys change it')
    p.add_argument('--workers', type=int, default=os.cpu_count())
    p.add_argument('changes', nargs='*', help='keys of the config, after --')
    a = p.parse_args()
    if not os.environ.get('LENSNB_REAL_DATA'): raise SystemExit('The real images are not here: set LENSNB_REAL_DATA to the folder of real data.')
    data = Path(os.environ['LENSNB_REAL_DATA'])
    c, t = candidates(data)
    for seed in a.seeds:
        for step in a.steps:
            name = f'{step}{a.label}'
            done = pd.read_csv(RESULT) if RESULT.is_file() else pd.DataFrame(columns=['step', 'net', 'seed'])
            if ((done['step'] == name) & (done['net'] == a.net) & (done['seed'] == seed)).any(): continue
            out = ROOT/'runs'/f'real-{name}-{a.net}-{seed}'
            if not (out/'card.json').is_file():
                cfg = load_config(None, [f'name=real-{name}', f'model.name={a.net}', f'seed={seed}', f'train.epochs={a.epochs}', 'train.lr=0.002', 'augment.stretch=0.1', *a.changes])
                train_run(cfg, store(step, a.workers), out, resume=out.exists())
            for tta in (False, True):
                s = scored(out, c, tta)
                rows = [*figures(t, s.logit, s.pred == 1), *rings(data, out, tta)]
                m = pd.read_csv(out/'history.csv')
                table = pd.DataFrame([dict(step=name, net=a.net, seed=seed, tta=tta, epochs=a.epochs, simulated_auc=m['auc'].max(), figure=f, value=v['value'], lo=v['lo'], hi=v['hi'], n=n) for f, v, n in rows]).round(4)
                done = pd.concat([done, table], ignore_index=True)
                print(f"{name} seed {seed}{' eight-fold' if tta else ''}: simulated AUC {m['auc'].max():.3f}; " + '; '.join(f"{r.figure} {r.value:.3f} [{r.lo:.3f}, {r.hi:.3f}]" for r in table.head(3).itertuples()), flush=True)
            write_table(done, RESULT)


if __name__ == '__main__': main()
