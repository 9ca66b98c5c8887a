"""Which arcs does a network find on real galaxies? 46 DES galaxies with and without 20 painted arcs each

Needs the folder of real data named in LENSNB_REAL_DATA; writes benchmarks/results/paint_des.csv.

Units of the files, as measured: the sky is subtracted (border level within a tenth of the noise), the zero point is 30
in every band: with it the median border noise in g is 25.1 mag at 5 sigma within 2", the depth of DES DR1.
Every first draw of an arc is kept, Einstein radius uniform from 0.5" to 3", so the invisible ones count too.
The threshold is the one that a stated number of the 46 hosts pass without an arc; with 46 galaxies a false-positive
rate below 1 in 46 cannot be seen, and one in 46 has a 95 % interval from 0.1 to 12 %.
"""
import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lensnb.cutouts import open_cutouts
from lensnb.intervals import proportion
from lensnb.paint import paint_store
from lensnb.predict import predict

ROOT = Path(__file__).parent.parent
THETA_E, SNR = (.5, 1., 1.5, 2., 3.), (0., 60., 150., 300., 600., np.inf)
FALSE = (1, 5)   # hosts that may pass: 1 in 46 and about a tenth


def labels(edges): return [f'{lo:g}-{hi:g}' for lo, hi in zip(edges, edges[1:], strict=False)]


def paint(data, out, bands, per_host, seed):
    hosts = open_cutouts(data/'des_galaxies'/'des_grizY46.npz', bands=bands, pixel_scale_arcsec=.263)
    store, bad = paint_store(hosts, out, 'des', per_host, visible_only=False, seed=seed, zero_point_mag=(30.,)*len(bands), store_name='paint-des', progress=False)
    if len(bad): print(f'{len(bad)} hosts left out, first {bad.id[0]}: {bad.reason[0]}')
    return store


def scored(weights, store, tta):
    scores, bad = predict(weights, open_cutouts(store.path), resample=True, tta=tta, progress=False)
    if len(bad): raise SystemExit(f'{len(bad)} images cannot be scored; the first: {bad.reason[0]}')
    return store.catalog.merge(scores.to_frame()[['id', 'logit']], on='id', validate='one_to_one')


def rows_of(arcs, called, group, what, by):
    "Completeness with its interval, per bin of one or two columns"
    for key, part in arcs.groupby(by, observed=True) if by else [((), arcs)]:
        p = proportion(called[part.index], group[part.index])
        yield dict(arcs=what, **dict(zip(by, map(str, key), strict=False)), n=len(part), n_host=len(np.unique(group[part.index])), found=int(called[part.index].sum()), completeness=p['value'], lo=p['lo'], hi=p['hi'])


def completeness(t, n_false):
    "Table of completeness at the threshold that n_false hosts pass"
    hosts, arcs = t[t['kind'] == 'host'], t[t['kind'] != 'host'].reset_index(drop=True)
    threshold = np.sort(hosts['logit'])[-n_false]
    fpr = proportion((hosts['logit'] >= threshold).to_numpy())
    arcs['theta_e'] = pd.cut(arcs['theta_e_arcsec'], THETA_E, labels=labels(THETA_E), include_lowest=True)
    arcs['snr'] = pd.cut(arcs['flux_lensed_image_in_sigma'], SNR, labels=labels(SNR), include_lowest=True)
    called, group = (arcs['logit'] >= threshold).to_numpy(), pd.factorize(arcs['group'])[0]
    rows = []
    for what, pick in (('all', arcs['kind'] != ''), ('visible', arcs['kind'] == 'painted'), ('invisible', arcs['kind'] == 'painted_faint')):
        for by in ((), ('theta_e',), ('snr',), ('theta_e', 'snr')): rows += rows_of(arcs[pick], called, group, what, list(by))
    return pd.DataFrame(rows).assign(n_false=n_false, fpr=fpr['value'], fpr_lo=fpr['lo'], fpr_hi=fpr['hi'], threshold_logit=threshold)


def area(t):
    "AUC of visible arcs against hosts, resampling hosts with all their arcs"
    lens, host = t[t['kind'] == 'painted'], t[t['kind'] == 'host'].set_index('group')['logit']
    names, by = host.index.to_numpy(), {g: p.to_numpy() for g, p in lens.groupby('group')['logit']}
    empty = np.zeros(0)

    def one(pick):
        up, down = np.concatenate([by.get(g, empty) for g in pick]), host[pick].to_numpy()
        return (up[:, None] > down).mean()+(up[:, None] == down).mean()/2

    rng = np.random.default_rng(0)
    return one(names), *np.percentile([one(rng.choice(names, len(names))) for _ in range(1000)], [2.5, 97.5])


def main():
    p = argparse.ArgumentParser(description='Selection function of a flux network on real galaxies with painted arcs')
    p.add_argument('--weights', nargs='+', default=['small-flux'], help='names or folders of weights for flux in bands among g r i z')
    p.add_argument('--per-host', type=int, default=20)
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--tta', action='store_true', help='mean over the eight symmetries')
    p.add_argument('--out', type=Path, default=ROOT/'benchmarks'/'results'/'paint_des.csv')
    a = p.parse_args()
    if not os.environ.get('LENSNB_REAL_DATA'): raise SystemExit('The DES galaxies are not here: set LENSNB_REAL_DATA to the folder of real data.')
    torch.set_num_threads(1)
    tables = []
    with tempfile.TemporaryDirectory() as tmp:
        store = paint(Path(os.environ['LENSNB_REAL_DATA']), Path(tmp)/'painted', ('g', 'r', 'i'), a.per_host, a.seed)
        for weights in a.weights:
            t = scored(weights, store, a.tta)
            auc, lo, hi = area(t)
            n = t['kind'].value_counts()
            print(f"\n{weights}: {n['host']} hosts, {n['painted']} visible and {n.get('painted_faint', 0)} invisible arcs; AUC of the visible {auc:.3f} [{lo:.3f}, {hi:.3f}]")
            for n_false in FALSE:
                c = completeness(t, n_false).assign(weights=Path(weights).name, auc_visible=auc, auc_lo=lo, auc_hi=hi, seed=a.seed, tta=a.tta)
                tables.append(c)
                f = c.iloc[0]
                print(f"{n_false} of {n['host']} hosts pass (rate {f.fpr:.3f} [{f.fpr_lo:.3f}, {f.fpr_hi:.3f}]): found {f.completeness:.3f} [{f.lo:.3f}, {f.hi:.3f}] of all arcs")
                two = c[(c['arcs'] == 'all') & c['theta_e'].notna() & c['snr'].notna()]
                two = two.assign(cell=[f'{r.completeness:.2f} [{r.lo:.2f}, {r.hi:.2f}] of {r.n}' for r in two.itertuples()])
                print(two.pivot(index='snr', columns='theta_e', values='cell').reindex(labels(SNR)).dropna(how='all').fillna('').to_string())
    a.out.parent.mkdir(exist_ok=True)
    pd.concat(tables, ignore_index=True).round(4).to_csv(a.out, index=False)
    print(f'\n{a.out} written')


if __name__ == '__main__': main()
