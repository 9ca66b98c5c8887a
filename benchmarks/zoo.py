"""The zoo: the entries of configs/zoo/ trained, taught what fooled it, calibrated, released and judged

    python benchmarks/zoo.py train                          # all entries, seed 0: many hours on two cores; goes on where it stopped
    python benchmarks/zoo.py train lens_cnn --seeds 0 1 2   # one entry from its config
    python benchmarks/zoo.py release lens_cnn               # weights/lens-cnn of the seed that did best on `val`, its report beside it (`report` makes that alone)
    python benchmarks/zoo.py release d4_cnn --seeds 1 2      # weights/d4-cnn-seed1, -seed2: other seeds, as members of an ensemble
    python benchmarks/zoo.py test                           # opens survey-test, once, for what has been released
    python benchmarks/zoo.py seeds                          # three trainings of d4_cnn, and of lens_cnn, against three of cmu_resnet; on survey-test against the one released
    python benchmarks/zoo.py table

An entry learns twice. First its config, at the learning rate of three that does best on the validation store (seed 100, fewer images;
benchmarks/networks.py has chosen it for its own three). Then one epoch more, at three tenths of the rate, with the galaxies of a pool
that fooled it most and with other surveys, or other stretches of the colours. Both are judged on the survey-val of its kind: linear flux,
`composite...`, `composite_far...`, `vis...` or `kids...`; of slow networks only the second. Rows go to benchmarks/results/zoo.csv, logits to
benchmarks/results/survey-val/. All networks of linear flux see the same number of images: 20,000 five times, then these, 12,000 of other
surveys and 2,000 hard ones once. Weights are calibrated on `calib` and take their threshold from survey-val at a false-positive rate of 1e-3.
"""
import argparse
import os
import time

import numpy as np
import pandas as pd
import yaml
from networks import LRS, NETS, RESULTS, ROOT, add, flat, keep, kept, rows
from release import release

from lensnb.compare import compare, leaderboard
from lensnb.config import load_config
from lensnb.core import Scores, write_table
from lensnb.cutouts import open_cutouts
from lensnb.learner import train_run
from lensnb.mine import mine_run
from lensnb.predict import predict
from lensnb.report import report_run
from lensnb.selection import fpr_by_kind
from lensnb.simulate import load_recipe, simulate_store
from lensnb.store import open_store
from lensnb.weights import load_weights, read_card

ALSO = {'': ('train-des', 'train-hsc'), 'composite-': ('composite-train-rejected', 'composite-train-lupton'), 'composite-far-': ('composite-far-rejected', 'composite-far-lupton'), 'vis-': (), 'kids-': ()}
SKIES = ('val-des', 'val-hsc')
LR_IMAGES = 6000   # seen once at each learning rate
POOL = {'': 'flux-pool', 'composite-far-': 'composite-pool'}
CHOOSE = {'': 5000}   # images of `val` that choose a rate and the best epoch; of the other kinds, all of their smaller stores
LONGER = ('lsst-lens-cnn', 'lsst-cmu-resnet')   # released by benchmarks/networks.py: 300,000 images of Rubin alone, no second training
SLOW = ('cmu_resnet', 'd4_cnn', 'dense_attention')   # judged after the second training only


def entries(): return sorted(p.stem for p in (ROOT/'configs'/'zoo').glob('*.yaml'))
def kind(entry): return next((f"{k.replace('_', '-')}-" for k in ('composite_far', 'composite', 'vis', 'kids') if entry.startswith(k)), '')


def store(name):
    "A store of the recipes, simulated where it is not there yet or was not finished"
    path = ROOT/'stores'/name
    try: return open_store(path)
    except Exception:
        recipes = next(f for f in ('stores.yaml', 'zoo_stores.yaml') if name in yaml.safe_load((ROOT/'configs'/f).read_text()))
        return simulate_store(path, workers=os.cpu_count(), **{**load_recipe(ROOT/'configs'/recipes, name), 'measured': False})


def config(entry, *changes):
    few = [f'data.max_validation={CHOOSE[kind(entry)]}'] if kind(entry) in CHOOSE else []
    return load_config(ROOT/'configs'/'zoo'/f'{entry}.yaml', [f"data.validation={ROOT/'stores'/f'{kind(entry)}val'}", *few, *changes])


def weights_name(entry): return entry.replace('_', '-')


def named(entry, seed, stage): return f'{entry}-{stage}{seed}'


def done(path): return (path/'card.json').is_file()


def learning_rate(entry):
    "Of three, the one with the best partial AUC on the validation store; the best AUC where the part is that of chance for all"
    if kind(entry) == 'composite-far-': return learning_rate(entry.replace('_far', ''))   # of the same network
    name, path = entry, RESULTS/('networks_lr.csv' if entry in NETS else 'zoo_lr.csv')
    for lr in LRS:
        t = rows(path)
        if len(t) and ((t['network'] == name) & (t['lr'] == lr)).any(): continue
        out = ROOT/'runs'/f'{entry}-lr{lr:g}'
        if not done(out): train_run(config(entry, f'name={entry}-lr', f'train.lr={lr}', 'train.epochs=1', 'seed=100', f'data.max_images={LR_IMAGES}'), store(f'{kind(entry)}train'), out, resume=out.exists(), validation=store(f'{kind(entry)}val'))
        h = pd.read_csv(out/'history.csv')
        add(path, dict(network=name, lr=lr, epochs=1, pauc=round(h['pauc'].max(), 4), auc=round(h['auc'].max(), 4)))
    t = rows(path)
    mine = t[t['network'] == name]
    return float(mine.sort_values('pauc' if mine['pauc'].max() > .52 else 'auc')['lr'].iloc[-1])


def train(entry, seed):
    "First and second training of an entry; both judged"
    lr, k = learning_rate(entry), kind(entry)
    first, second = ROOT/'runs'/named(entry, seed, 'first'), ROOT/'runs'/named(entry, seed, 'second')
    if not done(first): train_run(config(entry, f'name={entry}', f'train.lr={lr}', f'seed={seed}'), store(f'{k}train'), first, resume=first.exists(), validation=store(f'{k}val'))
    if entry not in SLOW: judge(entry, seed, 'first', first)
    if not done(second):
        for o in ALSO[k]: store(o)
        also = ','.join(str(ROOT/'stores'/o) for o in ALSO[k])
        pool = store(POOL.get(k, f'{k}pool'))
        cfg = config(entry, f'name={entry}', f'train.lr={lr}', f'seed={seed}', f'model.weights={first}', 'model.pretrained=none', f'data.also=[{also}]', f'mine.store={pool.path}')
        mine_run(cfg, store(f'{k}train'), second, resume=second.exists(), validation=store(f'{k}val'), pool=pool)
    judge(entry, seed, 'second', second)


def scored(run, name):
    "Scores of a store; pixels that the card does not take are brought to its scale"
    held = store(name)
    low, high = read_card(run).scale_range_arcsec
    s, bad = predict(run, open_cutouts(held.path), resample=not low <= held.survey.pixel_scale_arcsec <= high, progress=False)
    if len(bad): raise SystemExit(f'{len(bad)} of {len(s)+len(bad)} images of {name} cannot be scored, the first: {bad.reason[0]}')
    return s


def known(entry, seed, stage, where='survey-val'):
    "The labelled score table of a run, from its logits, or None"
    return kept(named(entry, seed, stage), where, store(f'{kind(entry)}{where}'))


def judge(entry, seed, stage, run):
    "A row of figures on survey-val, and on the other surveys"
    path, t = RESULTS/'zoo.csv', rows(RESULTS/'zoo.csv')
    if len(t) and ((t['entry'] == entry) & (t['seed'] == seed) & (t['stage'] == stage)).any(): return
    if known(entry, seed, stage) is None: keep(scored(run, f'{kind(entry)}survey-val'), named(entry, seed, stage))
    s, h = known(entry, seed, stage), pd.read_csv(run/'history.csv')
    model, _ = load_weights(run)
    skies = {f"{sky.removeprefix('val-')}_{o}": v for sky in (SKIES if not kind(entry) else ()) for o, v in flat(scored(run, sky).labelled()).items() if o.startswith(('auc', 'tpr_1e-2'))}
    add(path, dict(entry=entry, seed=seed, stage=stage, **flat(s), **skies, parameters_M=round(sum(p.numel() for p in model.parameters())/1e6, 2), train_minutes=round(h['train_seconds'].sum()/60, 1),
                   n_lens=int((s.label == 1).sum()), n_nonlens=int((s.label == 0).sum())))
    print(rows(path).iloc[-1].to_string(), flush=True)


def best_seed(entry):
    runs = {p: pd.read_csv(p/'history.csv')['pauc'].max() for p in (ROOT/'runs').glob(f'{entry}-second*') if done(p)}
    if not runs: raise SystemExit(f'{entry} has not been trained yet: python benchmarks/zoo.py train {entry}')
    return max(runs, key=runs.get)


def released(entry, seed):
    "The run that is released, and its name: of the best seed that of the entry, of a seed that is asked for its own as well"
    run = best_seed(entry) if seed is None else ROOT/'runs'/named(entry, seed, 'second')
    if not done(run): raise SystemExit(f'{run.name} has not been trained yet: python benchmarks/zoo.py train {entry} --seeds {seed}')
    return run, int(run.name.rpartition('second')[2]), weights_name(entry)+('' if seed is None else f'-seed{seed}')


def let_go(entry, seed=None):
    run, seed_, name = released(entry, seed)
    s = known(entry, seed_, 'second')
    where = f'{kind(entry)}survey-val'
    release(run, name, store(f'{kind(entry)}calib'), s, ROOT/'stores', figures={k: v for k, v in flat(s).items() if v is not None}, where=where)
    tell(entry, seed)


def tell(entry, seed=None):
    "The report of the second training beside the weights, and how long both took"
    t, (run, seed, name) = rows(RESULTS/'zoo.csv'), released(entry, seed)
    spent = sum(pd.read_csv(ROOT/'runs'/named(entry, seed, o)/'history.csv')['train_seconds'].sum() for o in ('first', 'second'))/60
    t.loc[(t['entry'] == entry) & (t['seed'] == seed) & (t['stage'] == 'second'), 'minutes_both'] = round(spent, 1)
    write_table(t, RESULTS/'zoo.csv')
    page = report_run(run, ROOT/'weights'/name/'report.html', f'Training of {name}')
    page.write_text(page.read_text(encoding='utf-8').replace(f'{ROOT}/', ''), encoding='utf-8')


def reweighted(s, times, hardest):
    "The same scores where the hardest families are so many times as frequent"
    df, rng = s.to_frame(), np.random.default_rng(0)
    hard = df['kind'].isin(hardest).to_numpy()
    if times < 1: return Scores.from_frame(df[~hard | (rng.random(len(df)) < times)])
    return Scores.from_frame(pd.concat([df, *(df[hard].assign(id=lambda d, k=k: d['id']+f'/{k}') for k in range(1, round(times)))]))


def test(names):
    "survey-test, once: figures, differences between entries, and skies with more or fewer hard look-alikes"
    path, runs = RESULTS/'zoo_test.csv', {}
    for entry in (*names, *(LONGER if any(not kind(o) for o in names) else ())):
        if not (ROOT/'weights'/weights_name(entry)/'card.json').is_file(): continue
        held = store(f'{kind(entry)}survey-test')
        if kept(weights_name(entry), f'{kind(entry)}survey-test', held) is None: keep(scored(ROOT/'weights'/weights_name(entry), f'{kind(entry)}survey-test'), weights_name(entry), f'{kind(entry)}survey-test')
        s = kept(weights_name(entry), f'{kind(entry)}survey-test', held)
        hardest = fpr_by_kind(s).sort_values('fpr')['kind'].tail(3).tolist()
        for times in (1/3, 1, 3):
            t = rows(path)
            if not (len(t) and ((t['entry'] == entry) & (t['hard_times'].round(2) == round(times, 2))).any()): add(path, dict(entry=entry, hard_times=round(times, 3), hardest=' '.join(hardest), **flat(s if times == 1 else reweighted(s, times, hardest))))
        runs[entry] = s
    flux = {k: [v] for k, v in runs.items() if not kind(k)}
    if len(flux) > 1:
        leaderboard(flux).to_csv(RESULTS/'zoo_board.csv')
        best = max(flux, key=lambda k: read_card(ROOT/'weights'/weights_name(k)).metrics['survey-val']['tpr_1e-3'])   # chosen there, judged here
        write_table(pd.concat([compare(flux[best], flux[o]).assign(best=best, against=o) for o in flux if o != best]).round(4), RESULTS/'zoo_gain.csv')
    print(rows(path).to_string(index=False))


def seeds():
    """Trainings of a network against those of another; the intervals resample objects and seeds. On survey-val three against three, those of
    benchmarks/networks.py saw 300,000 images of Rubin; on survey-test what has been released"""
    val, closed = store('survey-val'), store('survey-test')
    runs = {net: [kept(f'{net}-seed{o}', held=val) for o in range(3)] for net in ('lens_cnn', 'cmu_resnet')} | {'d4_cnn': [known('d4_cnn', o, 'second') for o in range(3)]}
    seen, tables = dict(lens_cnn=300_000, cmu_resnet=300_000, d4_cnn=134_000), []
    for a, b in (('d4_cnn', 'cmu_resnet'), ('lens_cnn', 'cmu_resnet')):
        tables.append(compare(runs[a], runs[b]).assign(best=a, against=b, seeds=3, seeds_against=3, images=seen[a], images_against=seen[b], store='survey-val'))
    d4 = [o for k in ('d4-cnn', 'd4-cnn-seed1', 'd4-cnn-seed2') if (o := kept(k, 'survey-test', closed))]
    if len(d4) == 3: tables.append(compare(d4, [kept('lsst-cmu-resnet', 'survey-test', closed)]).assign(best='d4_cnn', against='cmu_resnet', seeds=3, seeds_against=1, images=seen['d4_cnn'], images_against=seen['cmu_resnet'], store='survey-test'))
    t = pd.concat(tables, ignore_index=True).round(4)
    write_table(t, RESULTS/'zoo_seeds.csv')
    print(t.to_string(index=False))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('job', choices=['train', 'release', 'report', 'test', 'seeds', 'table'])
    p.add_argument('entries', nargs='*', help='default: all of configs/zoo/')
    p.add_argument('--seeds', nargs='*', type=int, help='default: to train 0, to release the one that did best on `val`')
    a = p.parse_args()
    if wrong := set(a.entries)-set(entries()): p.error(f"There is no entry {', '.join(sorted(wrong))}; configs/zoo/ has {', '.join(entries())}.")
    start = time.time()
    for entry in a.entries or entries():
        if a.job == 'train':
            for seed in a.seeds or [0]: train(entry, seed)
            print(f'{entry}: {(time.time()-start)/60:.0f} minutes so far', flush=True)
        if a.job in ('release', 'report'):
            for seed in a.seeds or [None]: (let_go if a.job == 'release' else tell)(entry, seed)
    if a.job == 'test': test(a.entries or entries())
    if a.job == 'seeds': seeds()
    if a.job == 'table': print(rows(RESULTS/'zoo.csv').to_string(index=False))


if __name__ == '__main__': main()
