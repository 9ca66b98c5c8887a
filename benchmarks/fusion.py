"""Do catalogue columns help beside the image? Image, columns, both in two ways, each column alone, the truth, and the truth as a target

    python benchmarks/fusion.py                    # all: about 80 minutes on a quiet core; stores and runs go to stores/ and runs/
    python benchmarks/fusion.py --which image film --seeds 0    # a part; what is finished is not done again, an interrupted run goes on
    python benchmarks/fusion.py --table            # what there is, with intervals over objects and seeds
    python benchmarks/fusion.py --release          # weights/fusion-concat, -film and -auxiliary, of the seeds that did best on `fusion-val`
    python benchmarks/fusion.py --bologna          # the columns of the Bologna challenge by themselves; needs LENSNB_REAL_DATA

`lens_cnn` learns 5,000 images ten times (configs/fusion.yaml); the best epoch is chosen on `fusion-val`, the judge is `fusion-test`: 1,500 lenses
and 10,500 natural look-alikes (configs/fusion_stores.yaml). The columns are measured on the same noisy images, but for the photometric redshift,
which is drawn about the true one with scatter and outliers. Main rows have three seeds, the oracle two, single columns one.
One row a run goes to benchmarks/results/fusion.csv, its logits to benchmarks/results/fusion-test/. `--table` makes from them: fusion_gains.csv (against
the image alone, paired on the same objects), fusion_columns.csv (how well a column tells by itself), fusion_found.csv (completeness by Einstein
radius), and of the fused runs in runs/ fusion_effects.csv and fusion_curves.csv (importance and accumulated effects). `survey-test` is not opened.
"""
import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from networks import RESULTS, ROOT, add, flat, keep, kept, rows, store
from release import release, threshold_at

from lensnb.columns import column_auc
from lensnb.compare import compare
from lensnb.config import load_config
from lensnb.core import Scores, write_table
from lensnb.cutouts import open_cutouts
from lensnb.effects import accumulated_effect, effects_table
from lensnb.fusion import catalogue_scores, columns_function
from lensnb.learner import train_run
from lensnb.predict import predict
from lensnb.selection import selection_function
from lensnb.weights import load_weights

COLUMNS = ('mag_i', 'g_r', 'r_i', 'snr', 'r_half_arcsec', 'ellipticity', 'position_angle_rad', 'z_phot')
TRUTH = ('Einstein_area', 'numb_pix_lensed_image', 'flux_lensed_image_in_sigma')   # what the Bologna challenge gave away
SEEDS = (0, 1, 2)
JUDGE, WHERE = 'fusion-test', RESULTS/'fusion.csv'


def columns(names): return f"data.meta_columns=[{','.join(names)}]"


ALONE = [columns(()), 'model.fusion=null']
NETWORKS = {'image': ALONE, 'concat': ['model.fusion=concat'], 'film': ['model.fusion=film'],
            'auxiliary': [*ALONE, 'train.auxiliary=[theta_e_arcsec,flux_lensed_image_in_sigma]'],
            'oracle': [columns(TRUTH), 'data.oracle=true'], **{f'image + {c}': [columns([c])] for c in COLUMNS}}
CATALOGUES = {'catalogue': COLUMNS, 'catalogue oracle': TRUTH, **{f'only {c}': (c,) for c in COLUMNS}}
FEWER = {'oracle': (0, 1), **{f'image + {c}': (0,) for c in COLUMNS}}   # seeds of the rows that have not three


def here(name): return store(name, 'fusion_stores.yaml')


def done(which, seed):
    table = rows(WHERE)
    return len(table) and ((table['inputs'] == which) & (table['seed'] == seed)).any()


def name_of(which, seed): return f"fusion-{which.replace(' + ', '-').replace(' ', '-')}-seed{seed}"


def record(which, seed, scores, **facts):
    keep(scores, name_of(which, seed), JUDGE)
    known = scores.labelled()
    add(WHERE, dict(inputs=which, seed=seed, **flat(known), n_lens=int((known.label == 1).sum()), n_nonlens=int((known.label == 0).sum()), **facts))


def network(which, seed, a):
    out = ROOT/'runs'/name_of(which, seed)
    if not (out/'card.json').is_file():
        changes = NETWORKS[which]+([] if any(o.startswith('data.meta_columns') for o in NETWORKS[which]) else [columns(COLUMNS)])
        cfg = load_config(ROOT/'configs'/'fusion.yaml', [f'name={out.name}', f'seed={seed}', f'train.epochs={a.epochs}', f'data.max_images={a.n}', *changes])
        train_run(cfg, here('fusion-train'), out, resume=out.exists(), progress=False, validation=here('fusion-val'))
    scores, _ = predict(out, open_cutouts(here(JUDGE).path), progress=False)
    record(which, seed, scores, epochs=a.epochs, n=a.n)


def catalogue(which, seed):
    train, test = here('fusion-train').catalog, here(JUDGE).catalog
    record(which, seed, catalogue_scores(train, test, CATALOGUES[which], oracle='oracle' in which, seed=seed), n=len(train))


def scores_of(which):
    "Score tables of the finished seeds"
    table = rows(WHERE)
    seeds = sorted(table.loc[table['inputs'] == which, 'seed']) if len(table) else []
    return [o for s in seeds if (o := kept(name_of(which, s), JUDGE, here(JUDGE))) is not None]


def gains():
    "Every row against the image alone, on the same objects"
    image, out = scores_of('image'), []
    for which in (*NETWORKS, 'catalogue'):
        mine = scores_of(which)
        if not image or not mine or which == 'image': continue
        out.append(compare(mine, image).assign(inputs=which, seeds=len(mine), image_seeds=len(image)))
    return pd.concat(out) if out else pd.DataFrame()


def found(fpr=.01):
    "Completeness by Einstein radius, all seeds together, each at its own threshold"
    out = []
    for which in ('image', 'concat', 'film', 'auxiliary'):
        parts = [s.to_frame().assign(id=[f'{o}/{k}' for o in s.id], pred=(s.logit >= threshold_at(s, fpr)).astype(int)) for k, s in enumerate(scores_of(which))]
        if not parts: continue
        pooled = Scores.from_frame(pd.concat(parts, ignore_index=True))
        out.append(selection_function(pooled, 'theta_e_arcsec', bins=[.4, .8, 1, 1.2, 1.4, 1.6, 2, 4]).assign(inputs=which, seeds=len(parts)))
    return pd.concat(out) if out else pd.DataFrame()


def single():
    "How well a column tells by itself, in the training store and where it is judged"
    train, test = here('fusion-train').catalog, here(JUDGE).catalog
    info = [('catalogue', c) for c in COLUMNS]+[('truth', c) for c in TRUTH]
    return pd.DataFrame([dict(column=c, role=r, auc_train=column_auc(train, c), auc_test=column_auc(test, c), missing=test[c].isna().mean()) for r, c in info])


def effects(which, seed=0):
    "What the columns do to the verdict of a fused run, on the objects it is judged by"
    run = ROOT/'runs'/name_of(which, seed)
    if not (run/'card.json').is_file(): return
    cuts = open_cutouts(ROOT/'stores'/JUDGE)
    logit, table, at = columns_function(*load_weights(run), cuts)
    label, group = cuts.catalog['label'].to_numpy()[at], cuts.catalog['group'].to_numpy()[at]
    add_rows('fusion_effects', effects_table(logit, table, label, group).assign(inputs=which, seed=seed))
    add_rows('fusion_curves', pd.concat([accumulated_effect(logit, table, c, object_of=group).assign(column=c) for c in table]).assign(inputs=which, seed=seed))


def add_rows(name, table):
    "Put a table of one run in the place of an older one"
    path, old = RESULTS/f'{name}.csv', rows(RESULTS/f'{name}.csv')
    key = ['inputs', 'seed']
    if len(old): old = old[~old.set_index(key).index.isin(table.set_index(key).index)]
    write_table(pd.concat([old, table.round(5)]), path)


def tables():
    for name, make in (('fusion_gains', gains), ('fusion_found', found), ('fusion_columns', single)):
        table = make()
        if len(table): write_table(table.round(4), RESULTS/f'{name}.csv')
    for which in ('concat', 'film'): effects(which)
    if len(done := rows(WHERE)): print(done[['inputs', 'seed', 'auc', 'tpr_1e-2', 'tpr_1e-3']].to_string(index=False))


def let_go(fpr=.01):
    "Release the best seed of each way, calibrated and with a threshold from `fusion-calib`"
    calib = here('fusion-calib')
    for which in ('concat', 'film', 'auxiliary'):
        runs = {s: pd.read_csv(p)['pauc'].max() for s in SEEDS if (p := ROOT/'runs'/name_of(which, s)/'history.csv').is_file() and done(which, s)}
        if not runs: raise SystemExit(f'There is no finished run of {which}: python benchmarks/fusion.py --which {which}')
        run = ROOT/'runs'/name_of(which, max(runs, key=runs.get))
        release(run, f'fusion-{which}', calib, predict(run, open_cutouts(calib.path), progress=False)[0].labelled(), ROOT/'stores', fpr, where='fusion-calib')


def bologna():
    "A tree on the columns that the challenge gave away: half of the catalogue to learn from, the other half to be judged"
    folder = os.environ.get('LENSNB_REAL_DATA')
    if not folder: raise SystemExit('Set LENSNB_REAL_DATA to the folder that holds bologna_space and bologna_ground.')
    out = []
    for camera in ('space', 'ground'):
        df = pd.read_csv(Path(folder)/f'bologna_{camera}'/'classifications_all20000.csv.gz').rename(columns=dict(ID='id', is_lens='label'))
        df = df.assign(id=df['id'].astype(str), label=df['label'].astype(float))
        half = np.random.default_rng(0).permutation(len(df)) % 2 == 0
        for names in (TRUTH, *((c,) for c in TRUTH)):
            scores = catalogue_scores(df[half], df[~half], names, oracle=True)
            out.append(dict(camera=camera, columns=' '.join(names), **{k: v for k, v in flat(scores).items() if k.startswith(('auc', 'tpr_1e-2')) and not k.startswith('auprc')}, n_lens=int(scores.label.sum()), n_nonlens=int((scores.label == 0).sum())))
        zero = (df.loc[df['label'] == 0, list(TRUTH[1:])] == 0).all(axis=None)
        print(f'{camera}: pixels and flux of the lensed image are zero for every non-lens: {zero}')
    write_table(pd.DataFrame(out).round(4), RESULTS/'fusion_bologna.csv')
    print(pd.DataFrame(out).to_string(index=False))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--which', nargs='*', default=[*CATALOGUES, *NETWORKS], choices=[*CATALOGUES, *NETWORKS])
    p.add_argument('--seeds', nargs='*', type=int, default=list(SEEDS))
    p.add_argument('--n', type=int, default=5000, help='training images')
    p.add_argument('--epochs', type=int, default=10)
    p.add_argument('--table', action='store_true')
    p.add_argument('--release', action='store_true')
    p.add_argument('--bologna', action='store_true')
    a = p.parse_args()
    if a.bologna: return bologna()
    if a.release: return let_go()
    jobs = [] if a.table else [(w, s) for s in a.seeds for w in a.which if s in FEWER.get(w, SEEDS)]
    main_rows = {w for w in a.which if w not in FEWER}
    for which, seed in sorted(jobs, key=lambda o: o[0] not in main_rows):   # the rows that matter first
        if done(which, seed): continue
        catalogue(which, seed) if which in CATALOGUES else network(which, seed, a)
        print(f'{which}, seed {seed}: done', flush=True)
    tables()


if __name__ == '__main__': main()
