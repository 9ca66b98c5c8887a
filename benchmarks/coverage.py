"""Do 95 % intervals hold the truth in 95 % of sets?  Score models with known truth, 500 sets of each: python benchmarks/coverage.py

Lenses score like one bell curve, non-lenses like another below it, so AUROC, AUPRC, rates and purities are known in closed form.
In the grouped sets four rows show the same object (correlation .6). Prints a table and writes benchmarks/results/coverage.csv."""
import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from lensnb.calibrate import fit_calibration, logit_at
from lensnb.compare import judge
from lensnb.core import Scores
from lensnb.forecast import expect
from lensnb.intervals import area, auc_interval, average_precision, ladder, placements, purity, rates, resample, split_classes
from lensnb.metrics import auprc_interval, completeness_at_purity, purity_at_completeness, tpr_at_fpr, tpr_before

# Lenses, non-lenses (objects), shift and scatter of the lenses in units of the non-lenses' scatter, rows per object
SETS = {'200 + 20,000':(200, 20_000, 2.5, 1, 1), '50 + 2,000':(50, 2_000, 2.5, 1, 1), '12 + 1,000':(12, 1_000, 2.5, 1, 1),
        '50 + 2,000, wide lenses':(50, 2_000, 3.5, 2, 1), '50 + 500, 4 rows each':(50, 500, 2.5, 1, 4)}
TAILS = [.025,.975]


def draw(rng, n_lens, n_non, shift, spread=1, views=1):
    "A score table; numbers are of objects, each seen `views` times"
    label = np.repeat([1,0], [n_lens,n_non]).repeat(views)
    group = np.arange(n_lens+n_non).repeat(views)
    part = .6 if views>1 else 1.
    noise = part**.5*rng.normal(size=n_lens+n_non)[group]+(1-part)**.5*rng.normal(size=len(label))
    logit = np.where(label==1, shift+spread*noise, noise)
    return Scores.from_frame(pd.DataFrame(dict(id=np.arange(len(label)), logit=logit, label=label, group=group)))


def truth(n_lens, n_non, shift, spread):
    "Figures of the model itself"
    t = np.linspace(-15, 15, 60_001)
    tpr,fpr = stats.norm.sf(t, shift, spread),stats.norm.sf(t)
    worth = purity(tpr, fpr, n_lens/(n_lens+n_non))
    return dict(auc=stats.norm.cdf(shift/np.hypot(1, spread)), auprc=np.trapezoid(stats.norm.pdf(t, shift, spread)*worth, t), tpr=stats.norm.sf(stats.norm.isf(.01), shift, spread),
        purity=purity(.5, stats.norm.sf(shift), n_lens/(n_lens+n_non)), completeness=tpr[(worth>=.5).argmax()])


def delong(scores):
    "The usual interval of an AUC: DeLong's variance, Student's factor, on the logit; rows taken as independent"
    lens,score,_ = split_classes(scores)
    below,above = placements(lens, score)
    auc,n = below.mean(),np.array([len(below),len(above)])
    var = np.array([below.var(ddof=1),above.var(ddof=1)])/n
    if not 0<auc<1 or not var.any(): return dict(lo=auc, hi=auc)
    half = stats.t.ppf(TAILS[1], var.sum()**2/(var**2/(n-1)).sum())*np.sqrt(var.sum())/(auc*(1-auc))
    return dict(zip(('lo','hi'), stats.logistic.cdf(stats.logistic.ppf(auc)+np.array([-half,half])), strict=False))


def percentiles(scores, mix, seed, n_boot=300):
    "The plain percentile bootstrap of every figure, for comparison"
    lens,score,group = split_classes(scores)
    def figures(pos, neg):
        tpr,fpr = rates(pos, neg)
        worth = purity(tpr, fpr, mix)
        at_half = np.take_along_axis(worth, (tpr>=.5).argmax(-1)[:,None], -1)[:,0]
        return [area(pos, neg), average_precision(tpr, fpr, mix), np.where(fpr<=.01, tpr, 0).max(-1), at_half]
    drawn = np.concatenate([figures(*pair) for pair, in resample(lens, [ladder(lens, score)], group, n_boot, seed)], axis=1)
    return [dict(zip(('lo','hi'), np.quantile(o, TAILS), strict=False)) for o in drawn]


def judged(name, seed):
    "Rows (figure, method, truth, interval) of one set"
    n_lens,n_non,shift,spread,views = SETS[name]
    scores,true = draw(np.random.default_rng([seed, n_lens, n_non, spread]), n_lens, n_non, shift, spread, views),truth(n_lens, n_non, shift, spread)
    first,tenth = tpr_before(scores, 1),tpr_before(scores, 10)
    boot = percentiles(scores, n_lens/(n_lens+n_non), seed)
    yield 'AUROC', 'DeLong and Newcombe', true['auc'], auc_interval(scores)
    yield 'AUROC', 'DeLong on the logit'+', groups ignored'*(views>1), true['auc'], delong(scores)
    yield 'AUROC', 'bootstrap percentiles', true['auc'], boot[0]
    yield 'AUPRC', 'bootstrap sigma on the logit', true['auprc'], auprc_interval(scores, 300, seed)
    yield 'AUPRC', 'bootstrap percentiles', true['auprc'], boot[1]
    yield 'TPR at FPR 1e-2', 'order statistics', true['tpr'], tpr_at_fpr(scores, .01)
    yield 'TPR at FPR 1e-2', 'bootstrap percentiles', true['tpr'], boot[2]
    for which,o in (('TPR0',first),('TPR10',tenth)):
        yield f'{which}: TPR there', 'Clopper-Pearson', stats.norm.sf(o['threshold'], shift, spread), o
        yield f'{which}: FPR there', 'Beta', stats.norm.sf(o['threshold']), dict(lo=o['fpr_lo'], hi=o['fpr_hi'])
    yield 'purity at completeness .5', 'order statistics', true['purity'], purity_at_completeness(scores, .5)
    yield 'purity at completeness .5', 'bootstrap percentiles', true['purity'], boot[3]
    yield 'completeness at purity .5', 'bootstrap percentiles', true['completeness'], completeness_at_purity(scores, .5, n_boot=300, seed=seed)


def calibrated(seed, prior, n_non, n_lens=200, shift=3., survey=100_000):
    "Purity above a calibrated probability of one half at a survey's prior: the true one, and the one that a survey observes"
    rng = np.random.default_rng([seed, 7])
    calibration = fit_calibration(draw(rng, 1000, 1000, shift))
    threshold = logit_at(calibration, .5, prior)
    scores = draw(rng, n_lens, n_non, shift)
    tpr,fpr = stats.norm.sf(threshold-shift),stats.norm.sf(threshold)
    n = rng.binomial(survey, prior)
    found,false = rng.binomial(n, tpr),rng.binomial(survey-n, fpr)
    yield f'calibrated purity at 1 : {1/prior:,.0f}, {n_non:,} non-lenses', 'lensnb.forecast.expect', purity(tpr, fpr, prior), expect(scores, prior, 1e9, threshold, seed=seed)['purity']
    yield f'purity that {survey:,} objects show at 1 : {1/prior:,.0f}, {n_non:,} non-lenses', 'lensnb.forecast.expect', found/(found+false), expect(scores, prior, survey, threshold, seed=seed)['purity']


def compared(seed, n_lens=200, n_non=5000):
    "The lead of a sharper finder over a blunter one on the same objects"
    rng = np.random.default_rng([seed, 8])
    common = draw(rng, n_lens, n_non, 2.2)
    def blurred(error): return Scores.from_frame(common.to_frame().assign(logit=common.logit+error*rng.normal(size=len(common))).drop(columns='p_lens'))
    def at(error): return 2.2/(1+error**2)**.5
    drawn = judge(dict(A=blurred(.5), B=blurred(.7)), 300, seed)[1]
    for name,figure in (('auc', lambda d: stats.norm.cdf(d/2**.5)), ('tpr_at_fpr 0.01', lambda d: stats.norm.sf(stats.norm.isf(.01)-d))):
        yield f'difference of {name}', 'paired bootstrap', figure(at(.5))-figure(at(.7)), dict(zip(('lo','hi'), np.quantile(np.subtract(*drawn[name]), TAILS), strict=False))


def markdown(table):
    "Coverage in per cent, a column per kind of set, as the notebook on metrics shows it"
    wide = (100*table.pivot(index=['figure','method'], columns='set', values='covered')).round().astype('Int64').reindex(pd.MultiIndex.from_frame(table[['figure','method']].drop_duplicates()))
    wide = wide[[o for o in dict.fromkeys(table['set']) if wide[o].notna().any()]].reset_index().astype('string').fillna('')
    return '\n'.join('| '+' | '.join(o)+' |' for o in [wide.columns, ['---']*len(wide.columns), *wide.to_numpy()])


def main(n_set):
    work = {name:lambda seed, name=name: judged(name, seed) for name in SETS}
    work |= {'calibrated':lambda seed: [o for case in ((1e-2,20_000),(1e-3,100_000)) for o in calibrated(seed, *case)], 'two finders':compared}
    tables = []
    for name,judge_one in work.items():
        start = time.perf_counter()
        rows = [(figure, method, true, o['lo'], o['hi']) for seed in range(n_set) for figure,method,true,o in judge_one(seed)]
        table = pd.DataFrame(rows, columns=['figure','method','truth','lo','hi']).astype({o:float for o in ('truth','lo','hi')})
        table = table.assign(covered=table.truth.between(table.lo-1e-12, table.hi+1e-12), too_high=table.truth<table.lo-1e-12, too_low=table.truth>table.hi+1e-12, width=table.hi-table.lo)
        table = table.groupby(['figure','method'], sort=False, as_index=False).agg(truth=('truth','mean'), covered=('covered','mean'), too_high=('too_high','mean'), too_low=('too_low','mean'), width=('width','mean'))
        tables.append(table.assign(set=name, n_set=n_set))
        print(f'\n{name}, {n_set} sets, {time.perf_counter()-start:.0f} s\n{table.round(3).to_string(index=False)}', flush=True)
    out = pd.concat(tables)[['set','n_set','figure','method','truth','covered','too_high','too_low','width']]
    path = Path(__file__).parent/'results'/'coverage.csv'
    path.parent.mkdir(exist_ok=True)
    out.to_csv(path, index=False, float_format='%.4g')
    return out


if __name__=='__main__':
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--n-set', type=int, default=500, help='synthetic sets of each kind')
    print('\n'+markdown(main(parser.parse_args().n_set)))
