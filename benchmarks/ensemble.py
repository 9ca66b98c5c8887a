"""Is an ensemble better than its best member? Chosen and fitted on one half of `survey-val`, judged on the other, both ways round

    python benchmarks/ensemble.py                        # some minutes and the simulation of survey-val, from the logits in benchmarks/results/survey-val
    python benchmarks/ensemble.py --release lsst-pair --published lsst-lens-cnn lsst-cmu-resnet   # of these or, where none are named, all released weights; chosen and fitted on all of survey-val
    python benchmarks/ensemble.py --release lsst-three   # the same of all runs, which are released with it; needs runs/
    python benchmarks/ensemble.py --ece lsst-pair        # its calibration error on `calib-test`; some minutes
    python benchmarks/ensemble.py --test lsst-pair       # opens survey-test for a released ensemble; half an hour, most of it simulation

The halves never divide a group. On the first, members are admitted one by one (`ensemble.admit`, at a false-positive rate of 1e-3) and every
way to combine them is fitted; on the second each is compared with the member that was best on the first, on the same objects. Where nobody is
admitted, the best two are combined all the same, so that the table shows why. Rows `both` pool the two ways (each object scored by what the
other half chose, as calibrated log-odds): twice the lenses, narrower intervals. The admission on all of `survey-val`, which decides what a release holds, is in the table too. Beside them: all members, and the seeds of one network.
Tables: ensemble.csv, ensemble_admission.csv, ensemble_correlation.csv and ensemble_abstention.csv in benchmarks/results. `--test` writes ensemble_test.csv (every member and the whole on survey-test, gains over the member that was best on survey-val),
ensemble_purity.csv (promised against found purity among the objects above some probabilities, survey-test), `--ece` ensemble_ece.csv (debiased calibration error on
`calib-test`, 20,000 objects that nothing was fitted on, half of them lenses).
"""
import argparse
from dataclasses import replace

import numpy as np
import pandas as pd
from networks import RESULTS, ROOT, flat, keep, kept, store
from release import release

from lensnb.calibrate import apply_calibration, calibrated_logit, ece, fit_calibration
from lensnb.committee import member_sha256
from lensnb.compare import judge
from lensnb.config import load_config
from lensnb.core import Scores, write_table
from lensnb.cutouts import open_cutouts
from lensnb.ensemble import HOW, abstention, admit, apply_ensemble, correlation, fit_ensemble, read_ensemble, save_ensemble
from lensnb.intervals import group_codes, proportion
from lensnb.metrics import tpr_at_fpr, tpr_before
from lensnb.predict import predict
from lensnb.weights import read_card

FPR = 1e-3


def names():
    "The members: every run on all 20,000 images"
    return sorted(p.stem for p in (RESULTS/'survey-val').glob('*.npz') if p.stem.startswith(('lens_cnn-', 'regnety_002-', 'cmu_resnet-')) and not any(o in p.stem for o in ('-first', '-second')))


def halves(scores, seed=0):
    "Rows of two halves; objects of a group are in the same"
    group = group_codes(scores)
    side = np.random.default_rng(seed).permutation(group.max()+1)[group] % 2
    return [np.flatnonzero(side == k) for k in (0, 1)]


def part(members, rows): return {k: Scores.from_frame(o.to_frame().iloc[rows]) for k, o in members.items()}


def figures(scores, against):
    "Completeness at FPR 1e-3 and TPR10 with intervals, and the paired gains over another finder"
    observed, drawn = judge(dict(a=scores, b=against))
    out = {}
    for key, name, own in ((f'tpr_at_fpr {FPR:g}', 'tpr_1e-3', tpr_at_fpr(scores, FPR)), ('tpr10', 'tpr10', tpr_before(scores, 10))):
        lo, hi = np.quantile(np.subtract(*drawn[key]), [.025, .975])
        out |= {name: own['value'], f'{name}_lo': own['lo'], f'{name}_hi': own['hi'], f'{name}_gain': np.subtract(*observed[key]), f'{name}_gain_lo': lo, f'{name}_gain_hi': hi}
    return out


def log_odds(scores, calibration): return replace(scores, logit=calibrated_logit(calibration, scores.logit))


def row(way, which, how, members, scores, alone):
    error = ece(scores)
    out = dict(way=way, which=which, how=how, members=' '.join(members), **figures(scores, alone), ece=error['value'], ece_lo=error['lo'], ece_hi=error['hi'],
               fpr_at_threshold=scores.pred[scores.label == 0].mean())
    print(f"{way}, {which}, {how}: {out['tpr_1e-3']:.3f}, gain {out['tpr_1e-3_gain']:+.3f} [{out['tpr_1e-3_gain_lo']:+.3f}, {out['tpr_1e-3_gain_hi']:+.3f}]", flush=True)
    return out


def pooled(one, two):
    "Rows of both ways together"
    def both(key): return Scores.from_frame(pd.concat([o[key].to_frame() for o in (one, two)], ignore_index=True))
    alone = both(('best member', ''))
    return [row('both', *key, [], both(key), alone) for key in one if key[1]]


def one_way(members, fit_rows, judge_rows, way):
    "Chosen on some rows, judged on others"
    fitted, judged, rows = part(members, fit_rows), part(members, judge_rows), []
    chosen, steps = admit(fitted, fpr=FPR)
    best = chosen[0]
    two = tuple(steps.member[:2])
    sets = {'by admission': chosen if len(chosen) > 1 else two, **{f'seeds of {net}': tuple(o for o in members if o.startswith(f'{net}-seed')) for net in ('lens_cnn', 'regnety_002', 'cmu_resnet')}, 'all': tuple(members)}
    alone = log_odds(judged[best], fit_calibration(fitted[best]))
    out, curves = {('best member', ''): alone}, []
    rows.append(dict(way=way, which='best member', members=best, **figures(alone, alone)))
    for which, pick in sets.items():
        for how in HOW:
            card = fit_ensemble({k: fitted[k] for k in pick}, how, fpr=FPR)
            scores = out[which, how] = log_odds(apply_ensemble(card, judged), card.calibration)
            rows.append(row(way, which, how, pick, scores, alone))
            if how == 'logit_mean':
                order = {'disagreement': scores.extra['disagreement'], 'score': -scores.logit}
                curves += [abstention(scores, u).assign(way=way, which=which, by=by) for by, u in order.items()]
    return rows, steps.assign(way=way), pd.concat(curves), out


def tables():
    members = {k: kept(k) for k in names()}
    a, b = halves(next(iter(members.values())))
    done = [one_way(members, *o) for o in ((a, b, 'first half chooses'), (b, a, 'second half chooses'))]
    whole = admit(members, fpr=FPR)[1].assign(way='all of survey-val')   # what a release would hold
    both = [correlation(members, o).round(4).assign(among=['non-lenses', 'lenses'][o]).rename_axis('member').reset_index() for o in (0, 1)]
    rows = sum((o[0] for o in done), [])+pooled(*(o[3] for o in done))
    for name, table in (('ensemble', pd.DataFrame(rows)), ('ensemble_admission', pd.concat([*(o[1] for o in done), whole])),
                        ('ensemble_abstention', pd.concat([o[2] for o in done])), ('ensemble_correlation', pd.concat(both))):
        write_table(table.round(4), RESULTS/f'{name}.csv')
        print(table.round(4).to_string(index=False))


def published():
    "Released weights whose scores on survey-val are kept, and the run each is of: of benchmarks/networks.py, or the second training of benchmarks/zoo.py"
    out = {}
    for p in sorted((ROOT/'weights').glob('*/config.yaml')):
        cfg, card = load_config(p), read_card(p.parent)
        if 'survey-val' not in card.metrics: continue
        stems = cfg.name, f'{cfg.name}-second{cfg.seed}'
        kept_as = [o for o in stems if (RESULTS/'survey-val'/f'{o}.npz').is_file()]
        if kept_as: out[p.parent.name] = kept_as[0]
    return out


def release_ensemble(name, only=None):
    "Chosen and fitted on all of survey-val; every member is released as well, or only released ones may be members"
    of = {k: v for k, v in published().items() if not only or k in only}
    if wrong := set(only or ())-set(of): raise SystemExit(f"Of {', '.join(sorted(wrong))} no scores on survey-val are kept; of {', '.join(published())} they are.")
    members = {v: kept(v) for v in of.values()} if only is not None else {k: kept(k) for k in names() if (ROOT/'runs'/k/'card.json').is_file()}
    chosen, steps = admit(members, fpr=FPR)
    print(steps.to_string(index=False))
    if len(chosen) < 2: raise SystemExit('Nobody was admitted beside the best member, so there is no ensemble to release.')
    released = {next((f for f, v in of.items() if v == k), f"lsst-{k.replace('_', '-')}"): k for k in chosen}
    for new, run in released.items():
        if not (ROOT/'weights'/new).is_dir(): release(ROOT/'runs'/run, new, store('calib'), members[run], ROOT/'stores')
    card = fit_ensemble({new: members[run] for new, run in released.items()}, fpr=FPR, name=name, sha256=member_sha256([ROOT/'weights'/o for o in released]))
    print(save_ensemble(ROOT/'weights'/name, card))


def scored(name, where):
    "The scores of released weights on a store, from their kept logits where there are any"
    held = store(where)
    if kept(name, where, held) is None: keep(predict(ROOT/'weights'/name, open_cutouts(held.path), engine='auto', progress=False)[0], name, where)
    return kept(name, where, held)


def beside(new, name, table, digits):
    "Rows of an ensemble in a table of several"
    path = RESULTS/f'{table}.csv'
    t = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=['of'])
    write_table(pd.concat([t[t['of'] != name], pd.DataFrame(new).assign(of=name).round(digits)], ignore_index=True), path)


def test(name):
    "A released ensemble and its members on survey-test, which had no hand in it"
    card = read_ensemble(ROOT/'weights'/name)
    members = {k: scored(k, 'survey-test') for k in card.names}
    best = max(card.names, key=lambda k: read_card(ROOT/'weights'/k).metrics['survey-val']['tpr_1e-3'])
    whole, alone, rows = apply_ensemble(card, members), members[best], []
    for k, s in {**members, name: whole}.items():
        false = proportion((s.pred == 1)[s.label == 0], group_codes(s)[s.label == 0]) if k == name else {}
        rows.append(dict(finder=k, against=best, **figures(s, alone), **{o: v for o, v in flat(s).items() if not o.startswith('tpr_1e-3') and not o.startswith('tpr10')}, fpr_at_threshold=false.get('value'), fpr_at_threshold_lo=false.get('lo'), fpr_at_threshold_hi=false.get('hi'), n_lens=int((s.label == 1).sum()), n_nonlens=int((s.label == 0).sum())))
    beside(rows, name, 'ensemble_test', 5)
    purity = []
    for least in (.05, .1, .2, .38, .5, .7, .9):
        pick = whole.p_lens >= least
        found = proportion(whole.label[pick] == 1, group_codes(whole)[pick])
        purity.append(dict(p_lens_from=least, n=int(pick.sum()), promised=whole.p_lens[pick].mean(), found=found['value'], lo=found['lo'], hi=found['hi']))
    beside(purity, name, 'ensemble_purity', 4)
    for t in (pd.DataFrame(rows), pd.DataFrame(purity)): print(t.round(4).T.to_string())


def calibrated(name):
    "The calibration error of a released ensemble and its members on objects that nothing was fitted on"
    card = read_ensemble(ROOT/'weights'/name)
    balanced = {k: scored(k, 'calib-test') for k in card.names}
    both = apply_ensemble(card, balanced, prior=.5)
    own = {k: replace(s, p_lens=apply_calibration(m['calibration'], s.logit, .5)) for (k, s), m in zip(balanced.items(), card.members, strict=True)}
    errors = pd.DataFrame([dict(finder=k, n=len(s), n_lens=int(s.label.sum()), **ece(s)) for k, s in {**own, name: both}.items()])
    write_table(errors.round(5), RESULTS/'ensemble_ece.csv')
    print(errors.round(4).to_string(index=False))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--release', metavar='NAME')
    p.add_argument('--published', nargs='*', metavar='NAME', help='admit weights that are released already, of these names or of all, and no others')
    p.add_argument('--ece', metavar='NAME', help='of a released ensemble')
    p.add_argument('--test', metavar='NAME', help='of a released ensemble')
    a = p.parse_args()
    if a.ece: return calibrated(a.ece)
    if a.test: return test(a.test)
    release_ensemble(a.release, a.published) if a.release else tables()


if __name__ == '__main__': main()
