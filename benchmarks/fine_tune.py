"""What do 210 real images with grades add to a network trained on simulations? A new last layer, cross-validated by object

    LENSNB_REAL_DATA=FOLDER python benchmarks/fine_tune.py small-composite
    LENSNB_REAL_DATA=FOLDER python benchmarks/fine_tune.py composite-cnn --release composite-cfhtls
    LENSNB_REAL_DATA=FOLDER python benchmarks/fine_tune.py composite-cnn composite-regnety --beside   # with simulations, and with unlabelled galaxies
    LENSNB_REAL_DATA=FOLDER python benchmarks/fine_tune.py composite-cnn composite-regnety --core     # with redness and brightness of the core

The layers that look stay as they were trained; the last layer is fitted anew to the expert grade of all candidates, from what the network
says of the eight orientations. It is a ridge regression: no network is trained on so few pictures. Objects (zooid) are in one fold only,
and the strength of the ridge is chosen inside the other folds. Pooled out-of-fold scores, a mean of ten divisions, are judged as in
benchmarks/real.py and added to benchmarks/results/real.csv: development figures. --release fits on all candidates and writes the weights.

--beside adds three rows: with simulated images beside the real ones (`composite-calib`, lenses as grade 2.5, others as .3), with galaxies cut
from the tiles of the same survey as grade 0 (of random galaxies hardly one in a thousand is a lens), and with these galaxies as the last
layer itself grades them (pseudo-labels). What stands beside weighs as much as the real candidates together.

--core makes two other rows. In one the logarithms of redness and brightness of the central 3" join the features, and the ridge hardly pulls on
them. The other fits nothing to real images: the network's logit and the redness, each in units of its scatter, are added as equals.
"""
import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from real import candidates, core, figures, write
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from zoo import store

from lensnb.cutouts import open_cutouts
from lensnb.measure import cut_stamps, detect
from lensnb.pixels import Normalisation, centre_crop
from lensnb.weights import load_weights, save_weights

ROOT = Path(__file__).parent.parent
ALPHAS = np.logspace(0, 4, 9)
FOLDS, DIVISIONS = 8, 10


@torch.no_grad()
def embeddings(model, card, images):
    "What the network makes of each image before its last layer, mean over the eight orientations, (n, feature)"
    norm, out = Normalisation.from_dict(card.normalisation), 0
    x = norm.standardise(centre_crop(images, card.size_pix)).astype(np.float32)
    for k in range(4):
        for flip in (False, True):
            view = np.rot90(x[..., ::-1] if flip else x, k, (2, 3))
            out = out+torch.cat([model.embed(norm.stretch(torch.from_numpy(np.ascontiguousarray(view[i:i+64])))) for i in range(0, len(x), 64)]).double().numpy()/8
    return out


def parts(group, seed, n):
    "Fold of each row; an object is in one"
    names = np.unique(group, return_inverse=True)[1]
    return (np.random.default_rng(seed).permutation(names.max()+1) % n)[names]


def fitted(x, y, alpha, beside=None, free=0):
    """`beside`: features and grades of other images, which weigh as much as these together; grades of None are those of a first fit.
    The last `free` features are ten times as large: the ridge hardly pulls on them"""
    w = np.ones(len(y))
    if beside is not None:
        more, grade = beside
        if grade is None: grade = predicted(fitted(x, y, alpha), more)
        w = np.concatenate([w, np.full(len(more), len(y)/len(more))])
        x, y = np.concatenate([x, more]), np.concatenate([y, np.broadcast_to(grade, len(more))])
    scale = StandardScaler().fit(x, sample_weight=w)
    if free: scale.scale_[-free:] /= 10
    return scale, Ridge(alpha).fit(scale.transform(x), y, sample_weight=w)


def unit(x): return (x-x.mean())/x.std()


def predicted(fit, x): return fit[1].predict(fit[0].transform(x))


def best_alpha(x, y, group, seed, beside=None, free=0):
    "The ridge whose out-of-fold predictions follow the grades best"
    fold, error = parts(group, seed, 5), np.zeros(len(ALPHAS))
    for k in range(5):
        for i, a in enumerate(ALPHAS): error[i] += ((predicted(fitted(x[fold != k], y[fold != k], a, beside, free), x[fold == k])-y[fold == k])**2).sum()
    return ALPHAS[error.argmin()]


def out_of_fold(x, y, group, beside=None, free=0):
    "Pooled scores that no image had a hand in, and the ridges chosen"
    total, chosen = np.zeros(len(y)), []
    for seed in range(DIVISIONS):
        fold = parts(group, seed, FOLDS)
        for k in range(FOLDS):
            rest = fold != k
            chosen.append(best_alpha(x[rest], y[rest], group[rest], 1000+seed, beside, free))
            total[~rest] += predicted(fitted(x[rest], y[rest], chosen[-1], beside, free), x[~rest])
    return total/DIVISIONS, chosen


def simulated(n=1000):
    "Images and grades of a simulated store"
    held = store('composite-calib')
    pick = np.linspace(0, len(held)-1, n).round().astype(int)
    return held.batch(pick).astype(np.float32), np.where(held.catalog['label'].to_numpy()[pick] == 1, 2.5, .3)


def unlabelled(data, size_pix):
    "Galaxies of the tiles that are bright enough to be looked at"
    stamps = []
    for folder in sorted({f.parent for f in (data/'spacewarps'/'tiles').rglob('*.png')}):
        tiles = open_cutouts(folder)
        for k in range(len(tiles)):
            field = tiles.read(k)
            found = detect(gaussian_filter(field, (0, 1, 1)), 8., contrast=.02)
            found = found[found['n_pix'] >= 60]
            stamps.append(cut_stamps(field, found['x_pix'], found['y_pix'], size_pix)[0])
    return np.concatenate(stamps)


def with_head(model, fit, y):
    "The network with the fitted line as its last layer; its logit is 0 halfway between the grades 0.3 and 2"
    scale, ridge = fit
    w = ridge.coef_/scale.scale_
    middle, unit = 1.15, max(np.std(y), 1e-6)/2
    head = model.head
    with torch.no_grad():
        head.weight.copy_(torch.tensor(w/unit, dtype=torch.float32)[None])
        head.bias.copy_(torch.tensor([(ridge.intercept_-(w*scale.mean_).sum()-middle)/unit], dtype=torch.float32))
    return model


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('weights', nargs='+', help='names or folders of weights for composites')
    more = p.add_mutually_exclusive_group()
    more.add_argument('--beside', action='store_true', help='also with simulations and with unlabelled galaxies')
    more.add_argument('--core', action='store_true', help='with redness and brightness of the core, instead')
    p.add_argument('--release', default=None, help='write weights/NAME of the first, fitted on all candidates')
    a = p.parse_args()
    if not os.environ.get('LENSNB_REAL_DATA'): raise SystemExit('The real images are not here: set LENSNB_REAL_DATA to the folder of real data.')
    data = Path(os.environ['LENSNB_REAL_DATA'])
    c, t = candidates(data)
    images = np.stack([c.read(i) for i in range(len(t))]).astype(np.float32)
    y, group = t['expert_grade'].to_numpy(float), t['zooid'].to_numpy()
    seen, everything, others = np.log(np.stack(list(core(c, t).values()), 1)), [], {}
    if a.core: write('no network', 'core fitted, out of fold', figures(t, out_of_fold(seen, y, group, free=2)[0]))
    for w in a.weights:
        model, card = load_weights(w)
        everything.append(embeddings(model.eval(), card, images))
        if a.beside:
            sims, grade = simulated()
            wild = unlabelled(data, card.size_pix)
            print(f'{len(sims)} simulated images, {len(wild)} galaxies of the tiles', flush=True)
            wild = embeddings(model, card, wild)
            others[w] = {'and simulations': (embeddings(model, card, sims), grade), 'and galaxies as no lenses': (wild, 0.), 'and galaxies as it grades them': (wild, None)}
        if a.core:
            logit = everything[-1] @ model.head.weight.detach().numpy()[0].astype(float)
            write('as released, and redness as its equal', Path(w).name, figures(t, unit(logit)+unit(seen[:, 0])), True)
            write('last layer and core fitted, out of fold', Path(w).name, figures(t, out_of_fold(np.concatenate([everything[-1], seen], 1), y, group, free=2)[0]), True)
            continue
        score, chosen = out_of_fold(everything[-1], y, group)
        write('last layer fitted, out of fold', Path(w).name, figures(t, score), True)
        for what, beside in others.get(w, {}).items(): write(f'last layer fitted, out of fold, {what}', Path(w).name, figures(t, out_of_fold(everything[-1], y, group, beside)[0]), True)
        print(f'ridge {np.median(chosen):g} [{min(chosen):g}, {max(chosen):g}]', flush=True)
    if a.core and len(everything) > 1: write('last layer and core fitted, out of fold', '+'.join(Path(w).name for w in a.weights), figures(t, out_of_fold(np.concatenate([*everything, seen], 1), y, group, free=2)[0]), True)
    elif len(everything) > 1: write('last layer fitted, out of fold', '+'.join(Path(w).name for w in a.weights), figures(t, out_of_fold(np.concatenate(everything, 1), y, group)[0]), True)
    if not a.release: return
    model, card = load_weights(a.weights[0])
    fit = fitted(everything[0], y, best_alpha(everything[0], y, group, 1000))
    model = with_head(model.eval(), fit, y)
    data = {**card.data, 'fine_tuned': f'last layer on the expert grades of {len(t)} real CFHTLS candidates (Space Warps; More et al. 2016), benchmarks/fine_tune.py'}
    save_weights(ROOT/'weights'/a.release, model, replace(card, name=a.release, data=data, threshold=.5, threshold_from='halfway between the grades .3 and 2', calibration=dict(method='none', parameters={}, mix=None)))
    print(f'weights/{a.release} written: score with --tta, as it was fitted')


if __name__ == '__main__': main()
