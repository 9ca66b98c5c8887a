"""Networks for colour composites as one finder: chosen on one simulated store, judged on another, and on real candidates

    python benchmarks/zoo.py train composite_cnn composite_regnety composite_lite0          # and release: the members; with --far composite_far_cnn composite_far_lite0
    LENSNB_REAL_DATA=FOLDER python benchmarks/composites.py               # some minutes; without the folder the real images are left out
    LENSNB_REAL_DATA=FOLDER python benchmarks/composites.py --far         # the networks and stores whose lens galaxies are farther away; tables composites_far..., with what they gain over the nearer ones

`composite-survey-val` (480 lenses, 11,520 natural look-alikes) admits members one by one at a false-positive rate of 1e-3, calibrates and sets the
threshold; `composite-survey-test`, as large, judges. weights/composite-ensemble (or composite-far-ensemble) is written if a second member was admitted. Tables: composites_admission.csv,
composites.csv (a row for each finder and store, gains over the member that was best on `composite-survey-val`, paired on the same objects); the real
candidates are those of benchmarks/real.py: expert grade 2 and better against 0.3 and worse, development figures.
"""
import argparse
import os
from pathlib import Path

import pandas as pd
from ensemble import figures
from networks import RESULTS, ROOT, flat, keep, kept
from real import candidates, hard
from zoo import entries, kind, store, weights_name

from lensnb.committee import member_sha256
from lensnb.compare import compare
from lensnb.core import write_table
from lensnb.cutouts import open_cutouts
from lensnb.ensemble import HOW, admit, apply_ensemble, correlation, fit_ensemble, save_ensemble
from lensnb.predict import predict

FPR = 1e-3


def members(of): return [m for e in entries() if kind(e) == of and (ROOT/'weights'/(m := weights_name(e))/'card.json').is_file()]


def scored(name, cutouts, **options):
    s, bad = predict(ROOT/'weights'/name, cutouts, progress=False, **options)
    if len(bad): raise SystemExit(f'{len(bad)} of {len(cutouts)} images cannot be scored, the first: {bad.reason[0]}')
    return s


def on(of, where):
    "Scores of all members on a store, from their kept logits where there are any"
    held = store(where := of+where)
    for m in members(of):
        if kept(m, where, held) is None: keep(scored(m, open_cutouts(held.path), engine='auto'), m, where)
    return {m: kept(m, where, held) for m in members(of)}


def nearer(judged):
    "Networks that learned farther lens galaxies against the same ones that learned nearer ones, on the store of the former"
    where, rows = 'composite-far-survey-test', []
    for m, s in judged.items():
        if not (ROOT/'weights'/(old := m.replace('-far', ''))/'card.json').is_file(): continue
        if kept(old, where, store(where)) is None: keep(scored(old, open_cutouts(store(where).path), engine='auto'), old, where)
        rows.append(compare(s, kept(old, where, store(where))).assign(best=m, against=old))
    if rows: write_table(pd.concat(rows).round(4), RESULTS/'composites_far_gain.csv')


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--far', action='store_true', help='the networks and stores whose lens galaxies are farther away')
    of, tables = ('composite-far-', 'composites_far') if p.parse_args().far else ('composite-', 'composites')
    together = f'{of}ensemble'
    chosen, steps = admit(first := on(of, 'survey-val'), fpr=FPR)
    write_table(steps.round(4), RESULTS/f'{tables}_admission.csv')
    print(steps.to_string(index=False))
    alike = [correlation(first, o).round(4).assign(among=['non-lenses', 'lenses'][o]).rename_axis('member').reset_index() for o in (0, 1)]
    write_table(pd.concat(alike), RESULTS/f'{tables}_correlation.csv')
    best, rows, judged = chosen[0], [], on(of, 'survey-test')
    pick = chosen if len(chosen) > 1 else tuple(first)   # where nobody is admitted all are combined, so that the table shows why
    if of == 'composite-far-': nearer(judged)
    cards = {how: fit_ensemble({m: first[m] for m in pick}, how, fpr=FPR, name=together, sha256=member_sha256([ROOT/'weights'/m for m in pick])) for how in HOW}
    if len(chosen) > 1: print(save_ensemble(ROOT/'weights'/together, cards['logit_mean']))
    for k, s in {**judged, **{f'together, {how}': apply_ensemble(c, {m: judged[m] for m in pick}) for how, c in cards.items()}}.items():
        rows.append(dict(images=f'{of}survey-test', finder=k, members=' '.join(pick) if k not in judged else k, against=best, **figures(s, judged[best]), **{o: v for o, v in flat(s).items() if o.startswith('auc')}, n_lens=int((s.label == 1).sum()), n_nonlens=int((s.label == 0).sum())))
    if os.environ.get('LENSNB_REAL_DATA'):
        c, t = candidates(Path(os.environ['LENSNB_REAL_DATA']))
        for tta in (False, True):
            real = {m: scored(m, c, resample=True, tta=tta) for m in first}
            real = {k: hard(t, s.logit) for k, s in {**real, **{f'together, {how}': apply_ensemble(card, {m: real[m] for m in pick}) for how, card in cards.items()}}.items()}
            for k, s in real.items():
                o = compare(s, real[best]).set_index('metric').loc['auc']
                rows.append(dict(images=f"real candidates{', eight-fold' if tta else ''}", finder=k, members=' '.join(pick) if k not in first else k, against=best, auc=o.a, auc_lo=o.a_lo, auc_hi=o.a_hi, auc_gain=o.difference, auc_gain_lo=o.lo, auc_gain_hi=o.hi, n_lens=int((s.label == 1).sum()), n_nonlens=int((s.label == 0).sum())))
    table = pd.DataFrame(rows).assign(admitted=len(chosen) > 1)
    write_table(table.round(4), RESULTS/f'{tables}.csv')
    print(table.round(3).T.to_string())


if __name__ == '__main__': main()
