"""Where does each released network look? Heat maps judged on simulated lenses whose lensed light is known

    python benchmarks/heat.py                         # 500 lenses, all four networks: under ten minutes of one core
    python benchmarks/heat.py --weights small-flux    # one of them; the rows of the others stay

Table benchmarks/results/heat.csv, a figure a row: weights, method, mask (of `heat.truth_masks`), lenses (all, or those found and missed at the
threshold of the card), n, figure, value, lo, hi. Intervals are bootstraps over images. `brightness` (the light of the picture) and `middle` (heat
that falls with the distance from the middle) are maps that ask no network. Curves and symmetries are of the first 100 lenses, the null is the mean
of three networks with shuffled weights. `core_seconds_100` is the processor time of one core for 100 maps. No network has seen these lenses: the name of
the store is part of its seed.
"""
import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lensnb.cam import METHODS, cams, heat_maps
from lensnb.core import InputError, write_table
from lensnb.heat import agreement, areas, deletion_insertion, heat_share, judge_heat, shuffled, truth_masks
from lensnb.intervals import mean_ratio
from lensnb.predict import batch_logits
from lensnb.simulate import remake, simulate_store
from lensnb.weights import as_input, load_weights, probability

RESULTS = Path(__file__).parent/'results'
WEIGHTS = ('small-flux', 'lsst-lens-cnn', 'small-composite', 'lsst-cmu-resnet')
N_SHUFFLED, N_FEW = 3, 100


def lenses(folder, pixels, n):
    "Cutouts of simulated lenses, and both kinds of masks with the rows that have them"
    store = simulate_store(folder/pixels, n=n, lens_frac=1., pixels=pixels, seed=0, store_name='heat', progress=False)
    parts = [remake(store, i) for i in range(n)]
    masks = {}
    for name, visible in (('lensed image', False), ('visible part', True)):
        rows, made = [], []
        for i, o in enumerate(parts):
            try: made.append(truth_masks(o, list(store.survey.bands), visible))
            except InputError: continue   # let off with the weaker cut: nothing of it is visible
            rows.append(i)
        masks[name] = np.array(rows), {k: np.stack([m[k] for m in made]) for k in made[0]}
    return store.batch(slice(None)), masks


def plain_maps(x):
    "Maps that ask no network"
    light = x.mean(1).numpy()
    far = np.hypot(*(np.indices(light.shape[1:])-(light.shape[-1]-1)/2))
    return {'brightness': np.clip(light-np.median(light, (1, 2), keepdims=True), 0, None), 'middle': np.broadcast_to(1-far/far.max(), light.shape)}


def speed(model, card, images):
    "Processor seconds for 100 maps of each method"
    out = {}
    for m in METHODS:
        start = time.process_time()
        cams(model, card, list(images), m)
        out[m, 'core_seconds_100'] = (time.process_time()-start)*100/len(images)
    return out


def one_network(name, images, masks):
    "All rows of one network"
    model, card = load_weights(name)
    x, rows = as_input(card, images), []
    few = x[:N_FEW]
    n_few = len(few)
    found = np.concatenate([probability(card, batch_logits(model, o)) for o in x.split(64)]) >= card.threshold
    heat = {**heat_maps(model, x, METHODS), **plain_maps(x)}
    null = [heat_maps(shuffled(model, np.random.default_rng(k), x), x, METHODS) for k in range(N_SHUFFLED)]
    def add(method, figure, made, mask='', which='all', n=n_few): rows.append(dict(weights=name, method=method, mask=mask, lenses=which, n=n, figure=figure, **made))
    for method, h in heat.items():
        for mask, (at, made) in masks.items():
            for which, pick in (('all', found | True), ('found', found), ('missed', ~found)):
                keep = pick[at]
                of, part = at[keep], {k: o[keep] for k, o in made.items()}
                others = [o[method][of] for o in null] if method in METHODS else None
                for figure, value in judge_heat(h[of], part, others).items(): add(method, figure, value, mask, which, len(of))
                if others: add(method, 'shuffled_over_uniform', mean_ratio(np.mean([heat_share(o, part['image']) for o in others], 0), part['image'].mean((1, 2))), mask, which, len(of))
        add(method, 'blank', dict(value=float((h.max((1, 2)) == 0).mean())), n=len(h))
    orders = {**{k: h[:N_FEW] for k, h in heat.items()}, 'random': np.zeros(few[:, 0].shape)}
    for method, h in orders.items():
        for figure, value in areas(deletion_insertion(model, card, few, h, np.random.default_rng(0))).items(): add(method, figure, mean_ratio(value))
    for method, value in agreement(model, few, METHODS).items(): add(method, 'agreement', mean_ratio(value))
    for (method, figure), value in speed(model, card, images[:N_FEW]).items(): add(method, figure, dict(value=value))
    add('', 'found', mean_ratio(found), n=len(found))
    return rows


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--n', type=int, default=500, help='simulated lenses')
    p.add_argument('--weights', nargs='+', default=WEIGHTS)
    p.add_argument('--out', type=Path, default=RESULTS/'heat.csv')
    a = p.parse_args()
    torch.set_num_threads(1)
    sky, start = {}, time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        for name in a.weights:
            pixels = load_weights(name)[1].pixels
            if pixels not in sky: sky[pixels] = lenses(Path(folder), pixels, a.n)
            table = pd.DataFrame(one_network(name, *sky[pixels]))[['weights', 'method', 'mask', 'lenses', 'n', 'figure', 'value', 'lo', 'hi']].round(4)
            others = pd.read_csv(a.out).query('weights != @name') if a.out.is_file() else table[:0]
            write_table(pd.concat([others, table]).sort_values('weights', kind='stable'), a.out)
            shown = table[(table.lenses == 'all') & (table['mask'] != 'visible part')].pivot(index='method', columns='figure', values='value')
            print(f'{name}, after {time.process_time()-start:.0f} s of one core\n{shown.round(3).to_string()}', flush=True)


if __name__ == '__main__': main()
