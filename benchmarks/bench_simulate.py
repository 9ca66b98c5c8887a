"""Simulated images per second on one core, per family and over the default training mix

    python benchmarks/bench_simulate.py [flux|composite8] [images per family]
"""
import sys
import time

import torch

from lensnb.core import scene_rng
from lensnb.simulate import FAMILIES, LOOK_ALIKES, get_survey, simulate_one


def seconds_per_image(survey, kind, n):
    "CPU time of one image, warmed up"
    for i in range(5): simulate_one(survey, scene_rng(0, 'warm', i), kind)
    start = time.process_time()
    for i in range(n): simulate_one(survey, scene_rng(0, f'bench-{kind}', i), kind)
    return (time.process_time()-start)/n


if __name__ == '__main__':
    pixels = sys.argv[1] if len(sys.argv) > 1 else 'flux'
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    torch.set_num_threads(1)
    survey = get_survey('lsst', pixels=pixels)
    cost = {kind: seconds_per_image(survey, kind, n) for kind in FAMILIES}
    for kind, s in cost.items(): print(f'{kind:12s}{1/s:6.0f} images/s{1e3*s:8.2f} ms')
    mix = (cost['lens']+sum(w*cost[k] for k, w in LOOK_ALIKES.items())/sum(LOOK_ALIKES.values()))/2
    print(f'{"default mix":12s}{1/mix:6.0f} images/s{1e3*mix:8.2f} ms   (half lenses, {survey.size_pix} pixels, {survey.n_band} bands, {pixels}, one thread)')
