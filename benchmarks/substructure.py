"""Networks that tell kinds of dark matter apart: trained, calibrated, tested, and shown the images of others

    python benchmarks/substructure.py train preset [--nets lens_cnn]   # hours on two cores; stores and runs go to stores/ and runs/
    python benchmarks/substructure.py train evaluation                 # the settings of DeepLense's evaluation images, for `published`
    python benchmarks/substructure.py train heavy honest               # first ten times as much substructure as there is, from the weights of the preset; then the honest lenses
    python benchmarks/substructure.py anomaly preset honest            # three autoencoders that learn smooth lenses only
    python benchmarks/substructure.py test                             # macro AUC of every finished run on its test store
    python benchmarks/substructure.py curve                            # honest: what can be seen, by the mass of the largest subhalo
    python benchmarks/substructure.py published                        # LENSNB_REAL_DATA: images that others made
    python benchmarks/substructure.py release                          # weights/hst-substructure and weights/deeplense-model1
    python benchmarks/substructure.py refusals                         # lenses that should be refused, and some that should not
    python benchmarks/substructure.py road                             # three commands: a simulated survey, its score table, the table and page of what its lenses are
    python benchmarks/substructure.py speed --n 3000                   # how fast the preset is simulated

Configs are configs/substructure/*.yaml; BUDGET says how many images of the training store a network sees how often, which is all
that two cores allow. The best epoch is that with the highest macro AUC on 3,000 images of the validation store; the learning rate
is the one that did best for this network as a lens finder (benchmarks/networks.py), and was not searched here. Test stores are
opened by `test` and `curve` only. `published` trains one more network, on half of 2,000 published images, and tests it on the other half.
Each part writes benchmarks/results/substructure_<part>.csv.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter
from scipy.special import softmax

from lensnb.anomaly import KINDS, load_anomaly, train_anomaly
from lensnb.config import load_config
from lensnb.core import InputError, Survey, pick_bands, scene_rng, write_table
from lensnb.cutouts import open_cutouts
from lensnb.data import Feed
from lensnb.handoff import prepare
from lensnb.intervals import auc_interval, proportion
from lensnb.learner import train_run
from lensnb.pixels import border_sky
from lensnb.predict import predict
from lensnb.simulate import simulate_one
from lensnb.store import open_store, write_store
from lensnb.subhalos import CLASSES, HONEST, Honest, preset_survey, simulate_classes, simulate_substructure
from lensnb.substructure import class_aucs, class_logits, class_metrics, class_numbers, load_classifier, release_classes, train_classes
from lensnb.surveys import get_survey
from lensnb.weights import load_weights

ROOT = Path(__file__).parent.parent
RESULTS = ROOT/'benchmarks'/'results'
STORES = ROOT/'stores'/'substructure'
PRESETS = {'preset': 'deeplense_model1', 'evaluation': 'deeplense_evaluation', 'heavy': 'honest', 'honest': 'honest'}
HOW = {'heavy': Honest(share=(.02, .15), mass_msun=(1e8, 1e10), snr=(150., 600.))}   # a school, not a sky: substructure that can be seen
JUDGED = ('preset', 'honest')
SIZES = {'preset': {'train': 30_000, 'val': 3_000, 'calib': 3_000, 'test': 4_500}, 'evaluation': {'train': 12_000, 'val': 1_500, 'test': 3_000}, 'heavy': {'train': 15_000, 'val': 3_000, 'test': 3_000}, 'honest': {'train': 24_000, 'val': 3_000, 'calib': 1_500, 'test': 4_500}}
BUDGET = {'lens_cnn': dict(epochs=4, max_images=24_000), 'resnet10t': dict(epochs=4, max_images=24_000, lr=.001), 'dense_attention': dict(epochs=4, max_images=4_000)}
SHORTER = {('lens_cnn', 'honest'): dict(epochs=3), ('lens_cnn', 'heavy'): dict(epochs=5, max_images=None), ('lens_cnn', 'evaluation'): dict(max_images=None)}   # after the preset
DRAWN = dict(epochs=3, max_images=4_000)  # of the autoencoders, in small batches: 750 steps reach the noise
LEARNED_FIRST = {'evaluation': 'preset', 'heavy': 'preset', 'honest': 'heavy'}   # from nothing, or from the preset at once, a network saw nothing in two passes over the honest lenses (macro AUC .49, .50)
BENT = [.0005, .002, .005, .01, .02, .04, .08, .3]   # arcsec; a pixel has .05
RELEASED = {'honest': 'hst-substructure', 'preset': 'deeplense-model1'}


def store(name):
    path, (preset, part) = STORES/name, name.split('-')
    return open_store(path) if path.is_dir() else simulate_classes(path, n=SIZES[preset][part], preset=PRESETS[preset], store_name=name, workers=os.cpu_count(), **(dict(how=HOW[preset]) if preset in HOW else {}))


def keep(part, rows, by=('run',)):
    "Rows of a part; those of other runs stay"
    path, new = RESULTS/f'substructure_{part}.csv', pd.DataFrame(rows)
    old = pd.read_csv(path) if path.is_file() else new[:0]
    if by: old = old[~old.set_index(list(by)).index.isin(new.set_index(list(by)).index)]
    write_table(pd.concat([old, new], ignore_index=True).round(5), path)
    print(new.round(4).to_string(index=False), flush=True)


def run_name(preset, net, seed): return f'substructure-{preset}-{net}-seed{seed}'


def finished(): return [p.parent for p in sorted((ROOT/'runs').glob('substructure-*/card.json'))]


def train(a):
    for preset in a.presets:
        for net in a.nets:
            name, b = run_name(preset+'_from_nothing'*a.from_nothing, net, a.seed), BUDGET[net] | SHORTER.get((net, preset), {})
            out = ROOT/'runs'/name
            if (out/'card.json').is_file(): continue
            first = [f"model.weights={ROOT/'runs'/run_name(LEARNED_FIRST[preset], net, a.seed)}"] if preset in LEARNED_FIRST and not a.from_nothing else []
            cfg = load_config(ROOT/'configs'/'substructure'/f"{'preset' if preset == 'preset' else 'honest'}.yaml", [*first, f'name={name}', f'seed={a.seed}', f'model.name={net}', f"train.epochs={b['epochs']}", f"train.lr={b.get('lr', .002)}",
                                                                           f"data.max_images={b.get('max_images') or 'null'}", f"data.validation={STORES/preset}-val"])
            train_classes(cfg, store(f'{preset}-train'), out, store(f'{preset}-val'), resume=out.exists())


def inputs(s, size_pix=96):
    "Batches of a store as a network takes them"
    feed = Feed(s, load_config(overrides=[f'data.size_pix={size_pix}']), np.zeros((len(s.catalog), 0), np.float32))
    for i in range(0, len(s.catalog), 256): yield (feed.norm.stretch(feed.batch(np.arange(i, min(i+256, len(s.catalog))))[0]),)


def scored(run, s):
    "Logits of a run on a store, and the classes"
    path = run/f'{s.path.name}.npz'
    if not path.is_file(): np.savez_compressed(path, logit=class_logits(load_weights(run)[0], inputs(s)).astype(np.float32))
    return np.load(path, allow_pickle=False)['logit'].astype(float), class_numbers(s.catalog)


def test(a):
    rows = []
    for run in finished():
        _, preset, net, seed = run.name.split('-')
        z, y = scored(run, store(f"{preset.removesuffix('_from_nothing')}-test"))
        m, h = class_metrics(softmax(z, axis=1), y), pd.read_csv(run/'history.csv')
        flat = {f'auc_{k}{e}': v[n] for k, v in m['auc'].items() for e, n in (('', 'value'), ('_lo', 'lo'), ('_hi', 'hi'))}
        cfg = load_config(run/'config.yaml')
        rows.append(dict(run=run.name, preset=preset, network=net, seed=int(seed[4:]), n_test=len(y), n_train=cfg.data.max_images or SIZES[preset.removesuffix('_from_nothing')]['train'], epochs=len(h), minutes=h['train_seconds'].sum()/60, accuracy=m['accuracy'], **flat))
    keep('test', rows)


def curve(a):
    "Each class against none, by what is in the lens"
    rows = []
    for run in finished():
        _, preset, net, seed = run.name.split('-')
        s = store(f"{preset.removesuffix('_from_nothing')}-test")
        z, y = scored(run, s)
        for k, column, bins in ((1, 'largest_subhalo_mass_msun', [1e7, 3e8, 1e9, 3e9, 1.01e10]), (2, 'rod_mass_msun', [1e8, 1e9, 3e9, 1e10, 1e11]), (1, 'snr_lensed_image', [10, 100, 200, 400, 1e4]), (2, 'snr_lensed_image', [10, 100, 200, 400, 1e4]),
                                (1, 'deflection_rms_arcsec', BENT), (2, 'deflection_rms_arcsec', BENT)):
            for lo, hi in pairwise(bins):
                none, some = y == 0, (y == k) & s.catalog[column].between(lo, hi, inclusive='left').to_numpy()
                if column.startswith('snr'): none = none & s.catalog[column].between(lo, hi, inclusive='left').to_numpy()
                if min(some.sum(), none.sum()) < 50: continue
                use, score = none | some, z[:, k]-z[:, 0]
                auc = class_aucs(np.c_[-score, score][use], (y[use] == k).astype(int), ('none', CLASSES[k]))[CLASSES[k]]
                rows.append(dict(run=run.name, what=CLASSES[k], column=column, lo_edge=lo, hi_edge=hi, n=int(some.sum()), n_none=int(none.sum()), auc=auc['value'], lo=auc['lo'], hi=auc['hi']))
    keep('curve', rows)


def published_images():
    "The fifteen images of three classes, and the 2,000 with and without substructure, as (n, 1, 150, 150) with classes"
    folder = Path(os.environ['LENSNB_REAL_DATA'])
    d = np.load(folder/'deeplense_model1_published'/'sub_nosub2000.npz', allow_pickle=False)
    few = [(np.load(f, allow_pickle=False).astype(np.float32).reshape(1, 150, 150), k) for k, name in enumerate(('no', 'sphere', 'vort')) for f in sorted((folder/'deeplense_substructure'/name).glob('*.npy'))]
    return (np.stack([x for x, _ in few]), np.array([k for _, k in few])), (d['images'].astype(np.float32), d['label_sub'].astype(int))


def published(a):
    (few, few_y), (many, many_y) = published_images()
    survey, rows = Survey('published', ('F814W',), pixel_scale_arcsec=.05, size_pix=150, psf_fwhm_arcsec=(.087,), approximate=True), []
    few_x, many_x = (np.stack([prepare(x, survey, method='none').x for x in images])[:, None] for images in (few, many))
    clean, known = [], []   # the 2,000 have the light of the lens; a frame without any noise, as 8 bits leave it in some, cannot be fitted
    for i in np.random.default_rng(0).permutation(len(many))[:600]:
        try: clean.append(prepare(many[i], survey).x)
        except InputError: continue
        known.append(many_y[i])
    clean, known = np.stack(clean)[:, None], np.array(known)
    for run in finished():
        model, _ = load_weights(run)
        for what, x, y in (('fifteen, three classes', few_x, few_y), ('2,000, with or without', many_x, many_y), (f'{len(known)} of them, lens light subtracted', clean, known)):
            p = softmax(class_logits(model, [(torch.from_numpy(x[i:i+256]),) for i in range(0, len(x), 256)]), axis=1)
            if y.max() == 1: p = np.c_[p[:, 0], 1-p[:, 0]]
            auc = class_aucs(p, y, CLASSES if y.max() == 2 else ('none', 'some'))['macro']
            rows.append(dict(run=run.name, images=what, n=len(y), accuracy=float((p.argmax(1) == y).mean()), macro_auc=auc['value'], lo=auc['lo'], hi=auc['hi']))
    rows.append(on_theirs(many, many_y, survey))
    keep('published', rows)


def on_theirs(images, y, survey):
    "A network that learns half of the 2,000 (with substructure or without) and is tested on a quarter"
    part = np.random.default_rng(0).permutation(len(y)) % 4   # two quarters to learn, one to choose the epoch, one to test
    parts = {}
    for name, rows in (('learn', np.flatnonzero(part < 2)), ('choose', np.flatnonzero(part == 2)), ('test', np.flatnonzero(part == 3))):
        path = STORES/f'published-{name}'
        if not path.is_dir():
            write_store(path, images[rows], pd.DataFrame(dict(id=[f'published-{i}' for i in rows], path='', label=y[rows].astype(float))), survey)
        parts[name] = open_store(path)
    out = ROOT/'runs'/'published-lens_cnn'
    if not (out/'card.json').is_file():
        cfg = load_config(None, ['name=published', 'data.size_pix=96', 'model.name=lens_cnn', 'train.epochs=16', 'train.lr=0.002', 'train.precision=bf16', 'train.channels_last=true'])
        train_run(cfg, parts['learn'], out, resume=out.exists(), validation=parts['choose'])
    s = predict(out, open_cutouts(parts['test'].path), progress=False)[0].labelled()
    auc = auc_interval(s)
    return dict(run='lens_cnn trained on half of them', images='500 of the 2,000 that it has not seen', n=len(s), accuracy=float((s.pred == s.label).mean()), macro_auc=auc['value'], lo=auc['lo'], hi=auc['hi'])


def lenses(n, seed, name, preset='honest', snr=HONEST.snr, theta_e=HONEST.theta_e_arcsec):
    "Lenses of the three classes in turn, as found: with their light"
    how = Honest(lens_light='kept', snr=snr, theta_e_arcsec=theta_e)
    for i in range(n): yield simulate_substructure(scene_rng(seed, f'found/{name}', i), CLASSES[i % 3], preset, **(dict(how=how) if preset == 'honest' else {}))


def prepared(n, preset, seed, name):
    if preset == 'honest': return [prepare(x, preset_survey('honest')) for x, _, _ in lenses(n, seed, name)]
    return [prepare(x, preset_survey(PRESETS[preset]), method='none') for x, _, _ in lenses(n, seed, name, preset=PRESETS[preset])]


def release(a):
    for preset in a.presets:
        runs = [r for r in finished() if r.name.split('-')[1] == preset]
        best = max(runs, key=lambda r: pd.read_csv(r/'history.csv')['auc'].max())
        t, strange = pd.read_csv(RESULTS/'substructure_test.csv').set_index('run').loc[best.name], f'{RELEASED[preset]}-aae'
        card = release_classes(best, ROOT/'weights'/RELEASED[preset], store(f'{preset}-calib'), prepared(a.n, preset, 1, 'ranges'), anomaly=strange if (ROOT/'weights'/strange).is_dir() else None, test={k: float(t[k]) for k in t.index if k.startswith('auc_')})
        for f in ('config.yaml', 'history.csv'): (ROOT/'weights'/RELEASED[preset]/f).write_text((best/f).read_text().replace(f'{ROOT}/', ''))
        print(card.name, best.name, card.calibration, card.data['seen'], flush=True)


def refused(a):
    "How often a lens is refused, by what is wrong with it; kinds that are in the table already are left as they are"
    c, hst, rng = load_classifier(RELEASED['honest']), preset_survey('honest'), np.random.default_rng(7)
    soft, r = replace(hst, psf_fwhm_arcsec=(2*hst.psf_fwhm_arcsec[0],)), get_survey('lsst')
    ground = pick_bands(r, ('r',))

    def noisier(x):
        "Half the S/N: three more parts of the same noise"
        return x+3**.5*border_sky(x[None])[1][0][:, None, None]*rng.standard_normal(x.shape).astype(np.float32)

    def others(survey, kinds, band):
        for i in range(a.n): yield simulate_one(get_survey(survey), scene_rng(11, f'others/{survey}', i), kinds[i % len(kinds)])[0][band:band+1]

    def ours(seed, **options): return (x for x, _, _ in lenses(a.n, seed, 'refused', **options))
    kinds = {'inside the range': ((x, hst, 'sersic') for x in ours(2)),
             'S/N halved': ((noisier(x), hst, 'sersic') for x in ours(3)),
             'S/N of 5 to 30': ((x, hst, 'sersic') for x in ours(4, snr=(5., 30.))),
             'twice the PSF': ((gaussian_filter(x, (0, *2*[.75**.5*2*hst.psf_fwhm_arcsec[0]/2.3548/hst.pixel_scale_arcsec])), soft, 'sersic') for x in ours(5)),
             'lens light left in': ((x, hst, 'none') for x in ours(6)),
             'Einstein radius of 0.55 to 0.7 arcsec': ((x, hst, 'sersic') for x in ours(7, theta_e=(.55, .7))),
             'no lens, HST-like': ((x, hst, 'sersic') for x in others('hst', ('etg', 'spiral', 'etg_sat', 'merger', 'ring'), 0)),
             'a lens, LSST-like': ((x, ground, 'sersic') for x in others('lsst', ('lens',), 1))}
    path = RESULTS/'substructure_refusals.csv'
    done = pd.read_csv(path)['what'].tolist() if path.is_file() else []
    for what, images in kinds.items():
        if what in done: continue
        said = []
        for x, survey, method in images:
            try: said.append(c.why_not(prepare(x, survey, method=method)))
            except InputError as e: said.append([str(e)])
        rate, first = proportion([len(o) > 0 for o in said]), pd.Series([re.sub(r'-?\d+(?:[.,]\d+)*', 'N', o[0]) for o in said if o]).value_counts()
        keep('refusals', [dict(what=what, n=len(said), refused=rate['value'], lo=rate['lo'], hi=rate['hi'], most_often=first.index[0] if len(first) else '')], ('what',))


def speed(a):
    "Images a second of the preset, on all cores, and how long 30,000 take"
    with tempfile.TemporaryDirectory() as tmp:
        start = time.perf_counter()
        simulate_classes(Path(tmp)/'speed', n=a.n, preset='deeplense_model1', workers=os.cpu_count(), store_name='speed', progress=False)
        s = time.perf_counter()-start
    keep('speed', [dict(n=a.n, workers=os.cpu_count(), seconds=s, images_per_s=a.n/s, minutes_for_30000=30_000/a.n*s/60)], ())


@torch.no_grad()
def plain(net, x):
    "The mean squared difference between image and drawing, noise and all"
    return np.concatenate([(net.model(o)[0]-o).square().mean((1, 2, 3)).numpy() for o in x.split(64)])


def anomaly(a):
    "Three autoencoders on smooth lenses, and how far their scores set the others apart; released ones are judged, others are trained first"
    rows = []
    for preset in a.presets:
        for kind in KINDS:
            name = f'anomaly-{preset}-{kind}-seed{a.seed}'
            out, to = ROOT/'runs'/name, ROOT/'weights'/f'{RELEASED[preset]}-{kind}'
            again = not out.exists() and (to/'card.json').is_file()   # released already: judged anew, not trained
            if again: out = to
            if not (out/'card.json').is_file():
                cfg = load_config(ROOT/'configs'/'substructure'/f'{preset}.yaml', [f"name={RELEASED[preset]}-{kind}", f'seed={a.seed}', f'model.name={kind}', f"train.epochs={DRAWN['epochs']}", 'train.lr=.002', 'train.precision=bf16', 'data.batch_size=16', 'train.label_smoothing=0', f"data.max_images={DRAWN['max_images']}", 'data.max_validation=1000', 'data.validation=null'])
                train_anomaly(cfg, store(f'{preset}-train'), out, store(f'{preset}-val'), resume=out.exists())
            s = store(f'{preset}-test')
            net, y = load_anomaly(out), class_numbers(s.catalog)
            got = [net(b.numpy()[:, 0]) | {'plain difference': plain(net, b)} for b, in inputs(s)]
            for score in ('error', 'likelihood', 'plain difference'):
                v = np.concatenate([o[score] for o in got])
                row = dict(run=name, preset=preset, network=kind, score=score, n_train=DRAWN['max_images'], epochs=DRAWN['epochs'], n_test=len(y))
                for what, these in (('', y >= 0), ('_cdm', y != 2), ('_vortex', y != 1)):
                    auc = class_aucs(np.c_[-v, v][these], (y[these] > 0).astype(int), ('smooth', 'strange'))['strange']
                    row |= {f'auc{what}': auc['value']} | ({'lo': auc['lo'], 'hi': auc['hi']} if not what else {})
                rows.append(row)
            keep('anomaly', [r for r in rows if r['run'] == name], ('run', 'score'))
            if again: continue
            net.save(to, {k: v for k, v in net.card.data.items() if k not in ('n_code', 'ordinary')}, auc={r['score']: r['auc'] for r in rows if r['run'] == name})
            for f in ('config.yaml', 'history.csv'): (to/f).write_text((out/f).read_text().replace(f'{ROOT}/', ''))


def road(a):
    "An HST-like survey with one lens in four, its score table, and what its best candidates are"
    rows, bin_ = [], Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as tmp:
        for args in (['lensnb-simulate', 'survey', '--survey', 'hst', '--n', '400', '--lens-frac', '0.25', '--store-name', 'road'],
                     ['lensnb-test', '--weights', 'small-hst', '--data', 'survey', '--out', 'scores'],
                     ['lensnb-substructure', 'scores/predictions.csv', '--data', 'survey', '--out', 'dark', '--top', '100', '--anomaly']):
            start = time.perf_counter()
            done = subprocess.run([bin_/args[0], *args[1:]], cwd=tmp, capture_output=True, text=True)
            if done.returncode: raise SystemExit(f"{' '.join(args)}: {done.stderr.strip()}")
            rows.append(dict(command=' '.join(args), seconds=time.perf_counter()-start, says=done.stdout.strip().splitlines()[-1]))
        t = pd.read_csv(Path(tmp)/'dark'/'substructure.csv').merge(pd.read_csv(Path(tmp)/'scores'/'predictions.csv')[['id', 'label']], on='id', suffixes=('', '_known'))
        label = t['label_known'] if 'label_known' in t else t['label']
        for what, y in (('lenses', 1), ('other galaxies', 0)): rows.append(dict(command=f'of the 100 best, {what}', seconds=None, says=f"{int((label == y).sum())}, {int((t['refused'][label == y].fillna('') != '').sum())} refused"))
        pages = [p.name for p in (Path(tmp)/'dark').iterdir()]
    assert 'index.html' in pages
    keep('road', rows, ())


PARTS = dict(train=train, anomaly=anomaly, test=test, curve=curve, published=published, release=release, refusals=refused, road=road, speed=speed)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('part', choices=list(PARTS))
    p.add_argument('presets', nargs='*', default=list(JUDGED), help='of preset, evaluation, heavy and honest')
    p.add_argument('--nets', nargs='*', default=['lens_cnn'], choices=list(BUDGET))
    p.add_argument('--from-nothing', action='store_true', help='train honest without the weights of the preset')
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--n', type=int, default=200, help='lenses of each kind for refusals; for release, those that set the ranges')
    a = p.parse_args()
    PARTS[a.part](a)


if __name__ == '__main__': main()
