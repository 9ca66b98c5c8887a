"""The main job in the open, from nothing to ranked galaxies: run it as `make demo`, then open demo/index.html

Every step is a terminal command, printed as it runs. In between, a real picture, the Hubble eXtreme Deep Field that
scikit-image carries, gets ten simulated lenses painted onto its galaxies, and the released `small-composite` ranks all
of them. At the end `lsst-lens-cnn` searches a simulated field, mosaics with a sky on them, as it would a survey.
"""
import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.patches import Circle
from scipy.ndimage import gaussian_filter
from skimage.data import hubble_deep_field
from skimage.transform import rescale

from lensnb.core import Survey, atomic_file, read_json
from lensnb.cutouts import write_cutouts
from lensnb.measure import cut_stamps, detect
from lensnb.page import figure_block, grid_block, numbers_block, page, table_block, text_block
from lensnb.paint import paint_lens
from lensnb.plot import png_bytes, show_grid, to_rgb
from lensnb.simulate import get_survey

ROOT = Path(__file__).parent.parent
XDF_ARCSEC, XDF_FWHM_ARCSEC = .143, .15   # 2.38' across 1000 columns; FWHM of the picture as printed
N_PAINTED, N_TOP = 10, 20
N_FIELD = 25                               # candidates wanted of the simulated field
COMPOSITE, FLUX = 'small-composite', 'lsst-lens-cnn'
LEAST_CORE = 60                            # of 255: mean of the three colours in the central square arcsecond
SAME_ARCSEC = 4.                           # two galaxies closer than this are one candidate
PAINTED, OTHER = '#009E73', '#8c8c8c'


def sh(*args):
    "Run a command of lensnb, and show it"
    args = [str(a) for a in args]
    print('\n$ ' + ' '.join(a.replace(str(ROOT)+'/', '') for a in args), flush=True)
    subprocess.run([str(Path(sys.executable).parent/args[0]), *args[1:]], check=True)


def hubble_as_seen_from_the_ground(survey):
    "The picture binned and blurred to the network's pixel scale and PSF: (3, height, width) of 0..255, bands g r i"
    x = hubble_deep_field()[::-1].astype(np.float32).transpose(2, 0, 1)[::-1]
    fwhm = np.mean(survey.psf_fwhm_arcsec)
    sigma_pix = np.sqrt(fwhm**2-XDF_FWHM_ARCSEC**2)/2.3548/XDF_ARCSEC
    return np.stack([rescale(gaussian_filter(p, sigma_pix), XDF_ARCSEC/survey.pixel_scale_arcsec, order=1, anti_aliasing=False) for p in x])


def galaxies(sky, size_pix):
    "Detected galaxies, bright enough in the core to be worth a look, whose stamp lies inside the picture"
    t = detect(sky.mean(0), threshold_sigma=3)
    h, w = sky.shape[1:]
    edge = size_pix/2+1
    t = t[t['x_pix'].between(edge, w-edge) & t['y_pix'].between(edge, h-edge)].reset_index(drop=True)
    core = np.stack([sky[:, round(y)-2:round(y)+3, round(x)-2:round(x)+3].mean((1, 2)) for x, y in zip(t['x_pix'], t['y_pix'], strict=True)])
    t = t.assign(redness=core[:, 2]/core[:, 0], core=core.mean(1)).query('core > @LEAST_CORE').reset_index(drop=True)
    return t.assign(id=[f'G{k:03d}' for k in range(len(t))])


def rank_candidates(t, radius_pix):
    "Best first; a galaxy within the radius of a better one is the same candidate and gets no rank of its own"
    t, taken = t.sort_values('logit', ascending=False).copy(), []
    t['rank'] = 0
    for r in t.itertuples():
        if any(np.hypot(r.x_pix-x, r.y_pix-y) < radius_pix for x, y in taken): continue
        taken.append((r.x_pix, r.y_pix))
        t.loc[r.Index, 'rank'] = len(taken)
    return t


def choose_hosts(t, rng):
    "Ten reddish, roundish galaxies, no two in one stamp: places where a lens could be"
    ok = t[(t['redness'] > 1.05) & (t['b_pix']/t['a_pix'] > .6) & (t['core'] > 90)]
    hosts = []
    for k in rng.permutation(ok.index):
        if all(np.hypot(*(t.loc[k, ['x_pix', 'y_pix']]-t.loc[j, ['x_pix', 'y_pix']])) > 50 for j in hosts): hosts.append(k)
    return sorted(hosts[:N_PAINTED])


def map_figure(sky, t):
    "The picture with its ten lenses and its top twenty"
    h, w = sky.shape[1:]
    fig, ax = plt.subplots(figsize=(10, 10*h/w), layout='constrained')
    ax.imshow(to_rgb(sky, 'composite8'), origin='lower')
    lens_ranks = set(t['found_rank'].dropna())
    for r in t[t['painted'] | (t['rank'].between(1, N_TOP) & ~t['rank'].isin(lens_ranks))].itertuples():
        colour, rank = ('#3df0b0', int(r.found_rank)) if r.painted else ('#ffd24a', r.rank)
        ax.add_patch(Circle((r.x_pix, r.y_pix), 15, fill=False, ec=colour, lw=1.6, ls='-' if rank <= N_TOP else ':'))
        ax.text(r.x_pix+12, r.y_pix+12, str(rank), color=colour, fontsize=10, weight='bold')
    ax.set_axis_off()
    return fig


def centre(x, size=48): return x[..., (x.shape[-2]-size)//2:(x.shape[-2]+size)//2, (x.shape[-1]-size)//2:(x.shape[-1]+size)//2]


def main():
    p = argparse.ArgumentParser(description='Simulate, train, test, and find painted lenses in a Hubble picture')
    p.add_argument('--out', type=Path, default=ROOT/'demo', help='folder to make; an old one is replaced')
    p.add_argument('--n', type=int, default=5000, help='simulated images to train on')
    p.add_argument('--seed', type=int, default=0)
    a = p.parse_args()
    start, out = time.time(), a.out
    if out.exists():
        if not (out/'.lensnb-demo').exists(): raise SystemExit(f'{out} is there and was not made by the demo; move it away or choose another --out.')
        shutil.rmtree(out)
    out.mkdir(parents=True)
    (out/'.lensnb-demo').touch()

    sh('lensnb-simulate', out/'sky', '--n', a.n, '--seed', a.seed, '--pixels', 'composite8', '--store-name', 'demo-train')
    sh('lensnb-simulate', out/'heldout', '--n', 1000, '--seed', a.seed, '--pixels', 'composite8', '--store-name', 'demo-heldout')
    sh('lensnb-train', '--config', ROOT/'configs'/'demo.yaml', '--data', out/'sky', '--out', out/'run', f'seed={a.seed}')
    sh('lensnb-test', '--weights', out/'run', '--data', out/'heldout', '--out', out/'heldout-scores', '--cam', '--cam-top', 8)

    survey, rng = get_survey('lsst', pixels='composite8'), np.random.default_rng([a.seed, 99])
    before = hubble_as_seen_from_the_ground(survey)
    t = galaxies(before, survey.size_pix)
    hosts, sky = choose_hosts(t, rng), before
    for k in hosts:
        sky, truth = paint_lens(sky, t.loc[k, 'x_pix'], t.loc[k, 'y_pix'], rng, survey)
        t.loc[k, 'theta_e_arcsec'] = truth['theta_e_arcsec']
    t['painted'] = t.index.isin(hosts)
    stamps, kept = cut_stamps(sky, t['x_pix'], t['y_pix'], survey.size_pix)
    t = t.loc[kept].reset_index(drop=True)
    cat = t[['id', 'x_pix', 'y_pix']].assign(label=t['painted'].astype(int))
    write_cutouts(out/'hubble', stamps, cat, Survey('xdf', survey.bands, 'composite8', survey.pixel_scale_arcsec), 'picture')
    sh('lensnb-find', out/'hubble', '--weights', COMPOSITE, '--out', out/'hubble-found', '--budget', 2*N_TOP, '--cam', '--workers', 1)
    sh('lensnb-simulate', out/'field', '--kind', 'field', '--survey', 'lsst', '--seed', a.seed)
    sh('lensnb-find', '--bands', *(f'{b}={out/"field"/b}.fits' for b in 'gri'), '--catalog', out/'field'/'catalog.csv', '--out', out/'field-found', '--weights', FLUX, '--budget', N_FIELD, '--prior', .04, '--workers', 1)

    s = pd.read_parquet(out/'hubble-found'/'scores').set_index('id')
    t = rank_candidates(t.join(s[['p_lens', 'logit']], on='id'), SAME_ARCSEC/survey.pixel_scale_arcsec)
    painted = t[t['painted']]
    best = t[t['rank'] > 0]
    near = [best[np.hypot(best['x_pix']-r.x_pix, best['y_pix']-r.y_pix) < SAME_ARCSEC/survey.pixel_scale_arcsec]['rank'].min() for r in painted.itertuples()]
    t.loc[painted.index, 'found_rank'] = near   # the rank of the candidate at the place of the lens
    found = int((t['found_rank'] <= N_TOP).sum())
    write_page(out, sky, before, t, stamps, found, time.time()-start)
    print(f"\n{found} of the {N_PAINTED} painted lenses are among the top {N_TOP} of {len(best)} candidates; {time.time()-start:.0f} s in all. Open {out/'index.html'}")


def write_page(out, sky, before, t, stamps, found, seconds):
    run, held = read_json(out/'run'/'metrics.json'), read_json(out/'heldout-scores'/'metrics.json')
    order, painted = t[t['rank'] > 0], t[t['painted']].sort_values('found_rank')
    top, lens_ranks = order.head(N_TOP), set(painted['found_rank'])
    grid = show_grid([centre(stamps[i]) for i in top.index], [f"{r.rank}: {r.id}  p={r.p_lens:.2f}" for r in top.itertuples()], 'composite8', ncol=5,
                     frames=[PAINTED if k in lens_ranks else OTHER for k in top['rank']], size_inch=1.9, dpi=110)
    old, _ = cut_stamps(before, painted['x_pix'], painted['y_pix'], stamps.shape[-1])
    pairs = show_grid([centre(x) for x in old]+[centre(stamps[i]) for i in painted.index], ['before']*len(painted)+[f"rank {r.found_rank:.0f}, {r.theta_e_arcsec:.1f}″" for r in painted.itertuples()],
                      'composite8', ncol=len(painted), size_inch=1.1, dpi=150)
    cams = sorted((out/'heldout-scores'/'cam').glob('*.png'))[:4]
    listed = pd.read_csv(out/'hubble-found'/'candidates.csv')
    hubble_cams = [out/'hubble-found'/'cam'/f'{k:05d}.png' for k in listed.set_index('id')['rank'].reindex(top['id']).dropna().astype(int)[:4]]
    field = found_in_field(out)
    blocks = [
        numbers_block({f'of {N_PAINTED} painted lenses in the top {N_TOP} of {len(order)} candidates': str(found), 'AUC on 1,000 held-out simulated images': held['auc'],
                       'AUC on the validation part': run['auc'], 'minutes in all': f'{seconds/60:.1f}'}),
        figure_block(png_bytes(map_figure(sky, t)), 'The Hubble eXtreme Deep Field (NASA, ESA), binned and blurred to 0.2″ pixels and a PSF of 0.73″. '
                     'Green: the ten painted lenses. Yellow: other galaxies in the top twenty. Dotted: painted, but ranked lower. The number is the rank. Galaxies within 4″ of each other are one candidate.', 'A real picture, ranked'),
        figure_block(png_bytes(grid, 110), 'Green frame: a painted lens. Grey frame: a galaxy as Hubble saw it; none is known to us as a lens.', f'The top {N_TOP}'),
        figure_block(png_bytes(pairs, 150), 'Light of a simulated background galaxy, bent by a simulated mass, is added to a real galaxy. Above: as it was. Below: with the arc, its rank and Einstein radius. Only arcs that a person could see are painted (60 to 190 of 255 at the peak).', 'The ten painted lenses'),
        text_block(sentence(found, t), 'What these scores are worth', note=True),
        grid_block([out/'heldout-scores'/'roc.png', out/'heldout-scores'/'confusion.png'], ['ROC curve with its 95 % interval', 'Confusion matrix at the threshold chosen on the validation part'], 'On held-out simulated images'),
        grid_block(hubble_cams, [f'rank {k+1}' for k in range(len(hubble_cams))], 'Where the network looked: the best of the Hubble picture', ncol=2),
        grid_block(cams, ['']*len(cams), 'Where the network looked: held-out simulated lenses', ncol=2),
        text_block(field['said'], 'A field of a simulated survey, searched by lensnb-find', note=True),
        grid_block(field['pictures'], field['captions'], 'The first ten candidates of the field', ncol=5),
        table_block(order[['rank', 'id', 'painted', 'p_lens', 'theta_e_arcsec', 'core', 'x_pix', 'y_pix', 'redness']].head(40), 'Einstein radius in arcsec, positions in pixels, core is its brightness (of 255), redness its i over g.', 'The first forty'),
        table_block(pd.read_csv(out/'run'/'history.csv'), '', 'Training, epoch by epoch'),
        text_block('All of it was made by these commands and files: demo/sky and demo/heldout (lensnb-simulate), demo/run (lensnb-train; its own report is demo/run/report.html), '
                   'demo/heldout-scores (lensnb-test; predictions.csv, metrics.json, ROC, confusion matrix, CAMs, report.html), demo/hubble-found and demo/field-found (lensnb-find; candidates.csv, all scores, index.html).', 'Where everything is'),
    ]
    html = page('Ten lenses hidden in the Hubble eXtreme Deep Field', blocks, 'A released network, trained on simulated images only, ranks the galaxies of a real picture.')
    with atomic_file(out/'index.html') as tmp: tmp.write_text(html, encoding='utf-8')


def found_in_field(out):
    "What the search of the field found, against its truth"
    truth = pd.read_csv(out/'field'/'truth.csv')
    got = pd.read_csv(out/'field-found'/'candidates.csv').merge(truth[['id', 'label', 'kind']], on='id', how='left').sort_values('rank')
    n_lens, n_found, n_faint = int((truth['label'] == 1).sum()), int((got['label'] == 1).sum()), int(got['label'].isna().sum())
    said = (f'Mosaics of 2,000 × 2,000 pixels in g, r and i hold {len(truth)} galaxies, {n_lens} of them lenses. lensnb-find cut them out by their catalogue and ranked them with weights/{FLUX}: {n_found} of its first {len(got)} are lenses'
            f'{f", {n_faint} more are lenses too faint to count" if n_faint else ""}. Its own page, with the sky positions and links to a viewer, is demo/field-found/index.html. One galaxy in {len(truth)/n_lens:.0f} is a lens here; on the sky it is one in a thousand or fewer, and the same list would hold fewer of them.')
    top = got.head(10)
    return dict(said=said, pictures=[out/'field-found'/'pictures'/f'{k:05d}.png' for k in top['rank']], captions=[f'{r.rank}: {r.kind.replace("_", " ")}  p={r.p_lens:.2f}' for r in top.itertuples()])


def sentence(found, t):
    above = t[(t['p_lens'] >= .5) & ~t['painted'] & (t['rank'] > 0)]
    return (f'{len(above)} of {(~t["painted"] & (t["rank"] > 0)).sum()} candidates without a painted lens got a probability of one half or more. In a survey, where one galaxy in a thousand or fewer is a lens, such a network would bury each lens under many '
            f'false alarms: {COMPOSITE} learned from 12,000 simulated images, its probabilities assume as many lenses as non-lenses, and the painted lenses come from the same simulator that taught it. '
            f'By chance {N_PAINTED*N_TOP/(t["rank"] > 0).sum():.1f} of the ten would be among the top {N_TOP}; here {found} are. The page shows that the whole path works on real pixels. It does not show how well lensnb finds real lenses; that is measured on real lenses, with networks trained for longer.')


if __name__ == '__main__': main()
