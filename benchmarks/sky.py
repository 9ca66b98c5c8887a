"""Make canonical stores and print what it cost: images a second per core, peak memory, rounding, shared scenes

    python benchmarks/sky.py train --workers 1 --n 4000     # into a temporary folder
    python benchmarks/sky.py survey-test --keep stores      # kept as stores/survey-test
    python benchmarks/sky.py --shared                       # no scene in two of the canonical stores
"""
import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from lensnb.core import scene_rng
from lensnb.simulate import load_recipe, simulate_one, simulate_store
from lensnb.surveys import electrons, pixel_sigma

RECIPES = Path(__file__).parent.parent/'configs'/'stores.yaml'


def peak_gb(who): return resource.getrusage(who).ru_maxrss/1e6


def rounding(store, n=500):
    "Error of half precision in units of each pixel's noise, measured on scenes that are made anew in float32"
    s, meta, err = store.survey, store.meta, []
    for i in np.linspace(0, len(store)-1, n).astype(int):
        x, _ = simulate_one(s, scene_rng(meta['seed'], meta['store_name'], int(i)), store.catalog['kind'][i])
        noise = np.sqrt(np.maximum(x, 0)/electrons(s)[:, None, None]+(pixel_sigma(s)**2)[:, None, None])
        err.append(np.abs(store.batch(int(i))-x)/noise)
    err = np.array(err)
    return f"rounding / noise of the pixel, {n} images: rms {np.sqrt((err**2).mean()):.5f}, 99.9 % below {np.quantile(err, .999):.4f}, largest {err.max():.2f}"


def shared():
    "Scenes of different stores compared by the first numbers that their generators give"
    names = list(yaml.safe_load(RECIPES.read_text()))
    recipes = {k: load_recipe(RECIPES, k) for k in names}
    first = {k: {tuple(scene_rng(r['seed'], k, i).integers(0, 2**63, 2)) for i in range(r['n'])} for k, r in recipes.items()}
    total, union = sum(map(len, first.values())), len(set.union(*first.values()))
    return f"{', '.join(names)}: {total:,} scenes, {total-union} of them with a generator that another has"


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('name', nargs='?', help='canonical store')
    p.add_argument('--workers', type=int, default=os.cpu_count())
    p.add_argument('--n', type=int, help='fewer images')
    p.add_argument('--no-columns', action='store_true', help='without the measured columns')
    p.add_argument('--keep', help='folder to keep the store in')
    p.add_argument('--shared', action='store_true')
    a = p.parse_args()
    if a.shared: print(shared())
    if not a.name: return
    recipe = load_recipe(RECIPES, a.name)
    if a.n: recipe['n'] = a.n
    if a.no_columns: recipe['measured'] = False
    with tempfile.TemporaryDirectory() as tmp:
        wall = time.perf_counter()
        store = simulate_store(Path(a.keep or tmp)/a.name, workers=a.workers, **recipe)
        wall = time.perf_counter()-wall
        self, children = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
        print(f"{a.name}: {len(store):,} images in {wall:.0f} s on {a.workers} process(es): {len(store)/wall:.0f} images/s, {len(store)/wall/a.workers:.0f} per core"
              f"{'' if recipe['measured'] else ', without measured columns'}; peak memory {peak_gb(self):.2f} GB here, {peak_gb(children):.2f} GB in a worker")
        print(store.catalog.groupby('kind').size().to_dict())
        if store.meta['dtype'] == 'float16': print(rounding(store))


if __name__ == '__main__': main()
