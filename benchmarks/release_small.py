"""Train, judge and release the small networks in weights/: simulate, train, test on a store of its own, save

    python benchmarks/release_small.py            # about 20 minutes on two cores; stores and runs go to stores/ and runs/
"""
import argparse
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from lensnb.core import read_json, write_json
from lensnb.weights import load_weights, save_weights

ROOT = Path(__file__).parent.parent
NETS = {'small-flux': ['--pixels', 'flux'], 'small-composite': ['--pixels', 'composite8'], 'small-hst': ['--survey', 'hst', '--dtype', 'float16']}
CONFIG = {'small-hst': ['data.size_pix=96', 'train.epochs=8', 'train.precision=bf16', 'train.channels_last=true']}
N_TRAIN = {'small-hst': 8000}


def sh(*args):
    args = [str(a) for a in args]
    print('$ ' + ' '.join(args), flush=True)
    subprocess.run([str(Path(sys.executable).parent/args[0]), *args[1:]], check=True)


def main():
    p = argparse.ArgumentParser(description='Train and release the small networks')
    p.add_argument('--n', type=int, default=12_000, help='training images each; 8,000 of Hubble')
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--nets', nargs='*', default=list(NETS), choices=list(NETS))
    a = p.parse_args()
    for name in a.nets:
        made = NETS[name]
        store, held = ROOT/'stores'/f'{name}-train', ROOT/'stores'/f'{name}-test'
        run, scores = ROOT/'runs'/name, ROOT/'runs'/f'{name}-test'
        if not store.exists(): sh('lensnb-simulate', store, '--n', N_TRAIN.get(name, a.n), '--seed', a.seed, *made, '--store-name', f'{name}-train')
        if not held.exists(): sh('lensnb-simulate', held, '--n', 3000, '--seed', a.seed, *made, '--store-name', f'{name}-test')
        if not (run/'card.json').exists(): sh('lensnb-train', '--config', ROOT/'configs'/'small.yaml', '--data', store, '--out', run, f'name={name}', f'seed={a.seed}', *CONFIG.get(name, []), *(['--resume'] if run.exists() else []))
        if not scores.exists(): sh('lensnb-test', '--weights', run, '--data', held, '--out', scores)
        model, card = load_weights(run)
        m = read_json(scores/'metrics.json')
        test = {k: m[k] for k in ('n_lens', 'n_nonlens', 'auc', 'tpr_at_fpr')}
        data = {**card.data, 'test_store': f'3,000 images, half of them lenses, store name {name}-test, seed {a.seed}'}
        out = ROOT/'weights'/name
        out.mkdir(parents=True, exist_ok=True)
        save_weights(out, model, replace(card, name=name, metrics={**card.metrics, 'simulated_test': test}, data=data), half=True)
        (out/'config.yaml').write_text((run/'config.yaml').read_text().replace(f'{ROOT}/', ''))
        (out/'history.csv').write_text((run/'history.csv').read_text())
        write_json(ROOT/'benchmarks'/'results'/f'{name}.json', test)
        print(f"{name}: test AUC {m['auc']['value']:.3f} [{m['auc']['lo']:.3f}, {m['auc']['hi']:.3f}] -> {out}", flush=True)


if __name__ == '__main__': main()
