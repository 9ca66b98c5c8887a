"""Two networks for colour composites as one finder: chosen on one simulated store, judged on another, and on real candidates

    python benchmarks/release_small.py --nets small-composite-regnety       # the second member, if weights/ lacks it
    LENSNB_REAL_DATA=FOLDER python benchmarks/composites.py               # some minutes; without the folder the real images are left out

`composite-choose` (1,200 lenses, 10,800 natural look-alikes) admits members one by one at a false-positive rate of 1e-3, calibrates and sets the
threshold; `composite-judge`, as large, judges. weights/composite-pair is written if the second member was admitted. Tables: composites_admission.csv,
composites.csv (a row for each finder and store, gains over the member that was best on `composite-choose`, paired on the same objects); the real
candidates are those of benchmarks/real.py: expert grade 2 and better against 0.3 and worse, development figures.
"""
import os
from pathlib import Path

import pandas as pd
from ensemble import figures
from networks import RESULTS, ROOT, flat, store
from real import candidates, hard

from lensnb.committee import member_sha256
from lensnb.compare import compare
from lensnb.core import write_table
from lensnb.cutouts import open_cutouts
from lensnb.ensemble import admit, apply_ensemble, correlation, fit_ensemble, save_ensemble
from lensnb.predict import predict

MEMBERS = ('small-composite', 'small-composite-regnety')
PAIR, FPR = 'composite-pair', 1e-3


def scored(name, cutouts, **options):
    s, bad = predict(ROOT/'weights'/name, cutouts, progress=False, **options)
    if len(bad): raise SystemExit(f'{len(bad)} of {len(cutouts)} images cannot be scored, the first: {bad.reason[0]}')
    return s


def on(name): return {m: scored(m, open_cutouts(store(name, 'composite_stores.yaml').path)).labelled() for m in MEMBERS}


def main():
    chosen, steps = admit(members := on('composite-choose'), fpr=FPR)
    write_table(steps.round(4), RESULTS/'composites_admission.csv')
    print(steps.to_string(index=False))
    alike = {k: correlation(members, v).iloc[0, 1] for k, v in (('non-lenses', 0), ('lenses', 1))}
    card = fit_ensemble(members, fpr=FPR, name=PAIR, sha256=member_sha256([ROOT/'weights'/o for o in MEMBERS]))
    if len(chosen) > 1: print(save_ensemble(ROOT/'weights'/PAIR, card))
    best, rows = chosen[0], []
    judged = on('composite-judge')
    for k, s in {**judged, PAIR: apply_ensemble(card, judged)}.items():
        rows.append(dict(images='composite-judge', finder=k, against=best, **figures(s, judged[best]), **{o: v for o, v in flat(s).items() if o.startswith('auc')}, n_lens=int((s.label == 1).sum()), n_nonlens=int((s.label == 0).sum())))
    if os.environ.get('LENSNB_REAL_DATA'):
        c, t = candidates(Path(os.environ['LENSNB_REAL_DATA']))
        for tta in (False, True):
            real = {m: scored(m, c, resample=True, tta=tta) for m in MEMBERS}
            real = {k: hard(t, s.logit) for k, s in {**real, PAIR: apply_ensemble(card, real)}.items()}
            for k, s in real.items():
                o = compare(s, real[best]).set_index('metric').loc['auc']
                rows.append(dict(images=f"real candidates{', eight-fold' if tta else ''}", finder=k, against=best, auc=o.a, auc_lo=o.a_lo, auc_hi=o.a_hi, auc_gain=o.difference, auc_gain_lo=o.lo, auc_gain_hi=o.hi, n_lens=int((s.label == 1).sum()), n_nonlens=int((s.label == 0).sum())))
    table = pd.DataFrame(rows).assign(correlation_nonlenses=alike['non-lenses'], correlation_lenses=alike['lenses'], admitted=len(chosen) > 1)
    write_table(table.round(4), RESULTS/'composites.csv')
    print(table.round(3).T.to_string())


if __name__ == '__main__': main()
