"""How fast lensnb-test scores a store, from disk to the table of scores: images a second, memory, and how far from PyTorch

    python benchmarks/engines.py                                        # all: an hour on two cores; 7 GB under stores/
    python benchmarks/engines.py --nets mobilenetv3_small_100 --engines auto --repeat 5
    python benchmarks/engines.py --n 20000 --engines openvino onnx torch --sky stored

A store of n three-band cutouts of 64 pixels at half precision is made of 2,000 simulated ones, repeated; without labels, as
a survey's are. `stored`: sky and sigma are in its catalogue. `measured`: they are not. Each run is `lensnb-test` as a process
of its own, and its time is the whole of it: start, imports, choice of the engine, reading, scoring, CSV, report. The store
is in the page cache from the first run on. Speeds are the best of `--repeat` runs and the range of all; `cpu_ms` is the
processor time an image costs, which other work on the machine disturbs less; `peak_mb` the largest resident memory, `own_mb`
that part of it that is not pages of files, mostly of libraries. Networks start from nothing, with a head that spreads their logits by 3 on the simulated images;
`small-flux` is the released one. `logit_difference` is the largest to `--engine torch` over the 2,000 images.
One row a network, engine and kind of sky goes to benchmarks/results/engines.csv; rows of other runs stay.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lensnb.core import read_table, write_table
from lensnb.models import create_model
from lensnb.pixels import Normalisation
from lensnb.simulate import simulate_store
from lensnb.store import StoreWriter, open_store
from lensnb.weights import WeightCard, as_input, save_weights

ROOT = Path(__file__).parent.parent
RESULTS = ROOT/'benchmarks'/'results'/'engines.csv'
NETS = ('mobilenetv3_small_100', 'regnety_002', 'tf_efficientnet_lite0', 'lens_cnn', 'resnet18', 'small-flux')
KEY = ['network', 'engine', 'sky', 'tta', 'n']


def base(folder):
    "The images that everything is made of"
    path = folder/'engines-base'
    return open_store(path) if path.is_dir() else simulate_store(path, n=2000, families='natural', dtype='float16', store_name='engines', workers=os.cpu_count())


def big(folder, n, sky):
    "n of them in turn; without sky and sigma in the catalogue if they are to be measured"
    path, first = folder/f'engines-{n}-{sky}', base(folder)
    if path.is_dir(): return path
    if sky == 'measured':
        shutil.copytree(big(folder, n, 'stored'), path, copy_function=os.link)
        cat = read_table(path/'catalog.parquet')
        (path/'catalog.parquet').unlink()
        write_table(cat[['id', 'path']], path/'catalog.parquet')
        return path
    rows = np.arange(n) % len(first)
    columns = [f'{p}_{b}' for p in ('sky', 'sigma') for b in first.survey.bands]
    with StoreWriter(path, n, first.survey, 'float16', first.scale) as w:
        for i in range(0, n, len(first)): w.images[i:i+len(first)] = first.images[:min(len(first), n-i)]
        w.finish(first.catalog.loc[rows, columns].assign(id=[f'object{i:07d}' for i in range(n)]))
    return path


def network(folder, name):
    "A folder of weights: released ones by name, else an untrained network whose logits are spread"
    out, first = folder/'engines-weights'/name, base(folder)
    if '-' in name: return name
    if not (out/'card.json').is_file():
        torch.manual_seed(0)
        s = first.survey
        net = create_model(name, s.n_band, s.size_pix).eval()
        card = WeightCard(name, name, s.bands, 'flux', s.size_pix, Normalisation().to_dict(), .5)
        torch.nn.init.normal_(net.head.weight)
        with torch.no_grad():
            z = net(as_input(card, first.batch(slice(0, 256))))
            net.head.weight.mul_(3/z.std())
            net.head.bias.sub_(net(as_input(card, first.batch(slice(0, 256)))).mean())
        save_weights(out, net, card)
    return str(out)


WATCH = """
import json, os, subprocess, sys, time
start = time.perf_counter()
p = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
own = 0
os.set_blocking(p.stderr.fileno(), False)
said = b''
while True:
    pid, status, used = os.wait4(p.pid, os.WNOHANG)
    said += p.stderr.read() or b''
    if pid: break
    try: own = max(own, int(open(f'/proc/{p.pid}/status').read().split('RssAnon:')[1].split()[0]))
    except (OSError, IndexError): pass
    time.sleep(.02)
print(json.dumps(dict(seconds=time.perf_counter()-start, cpu=used.ru_utime+used.ru_stime, peak_mb=used.ru_maxrss/1000, own_mb=own/1000, status=status, said=said.decode())))
"""   # runs in a small process: the peak that the system reports for a child is not below that of its parent


def test(weights, data, *options):
    "Costs of one lensnb-test, the logits it wrote, and what scored them"
    out = Path(data).with_name(f'.engines-{os.getpid()}')
    shutil.rmtree(out, ignore_errors=True)
    command = [str(Path(sys.executable).parent/'lensnb-test'), '--weights', weights, '--data', str(data), '--out', str(out), *options]
    r = json.loads(subprocess.run([sys.executable, '-c', WATCH, *command], capture_output=True, text=True, check=True).stdout)
    if r['status']: raise SystemExit(f'{" ".join(command)}\n{r["said"]}')
    r['logit'] = read_table(out/'predictions.csv')['logit'].to_numpy()
    r['said'] = next(o for o in r['said'].splitlines() if o.startswith('Scored by'))
    shutil.rmtree(out)
    return r


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--n', type=int, default=100_000)
    p.add_argument('--nets', nargs='+', default=NETS)
    p.add_argument('--engines', nargs='+', default=('auto', 'openvino', 'onnx', 'torch'))
    p.add_argument('--sky', nargs='+', default=('stored', 'measured'))
    p.add_argument('--tta', action='store_true')
    p.add_argument('--repeat', type=int, default=3)
    p.add_argument('--folder', type=Path, default=ROOT/'stores')
    a = p.parse_args()
    extra = ['--tta'] if a.tta else []
    truth = {net: test(network(a.folder, net), base(a.folder).path, '--engine', 'torch', *extra)['logit'] for net in a.nets}
    for sky in a.sky:
        for net in a.nets:
            for engine in a.engines:
                runs = [test(network(a.folder, net), big(a.folder, a.n, sky), '--engine', engine, *extra) for _ in range(a.repeat)]
                rates = sorted(a.n/r['seconds'] for r in runs)
                z, right = runs[0]['logit'][:len(truth[net])], truth[net][:a.n]
                row = dict(network=net, engine=engine, sky=sky, tta=a.tta, n=a.n, images_per_s=round(rates[-1]), slowest=round(rates[0]), cpu_ms=round(min(r['cpu'] for r in runs)/a.n*1e3, 3),
                    peak_mb=round(max(r['peak_mb'] for r in runs)), own_mb=round(max(r['own_mb'] for r in runs)), logit_difference=float(f'{abs(z-right).max():.2g}'), logit_std=round(right.std(), 2),
                    repeats=a.repeat, cores=os.cpu_count(), said=runs[-1]['said'])
                print(' '.join(f'{k}={v}' for k, v in row.items()), flush=True)
                old = pd.read_csv(RESULTS) if RESULTS.is_file() else pd.DataFrame(columns=KEY)
                old = old[~(old[KEY].astype(str) == pd.Series(row)[KEY].astype(str)).all(axis=1)]
                write_table(pd.concat([old, pd.DataFrame([row])], ignore_index=True), RESULTS)


if __name__ == '__main__': main()
