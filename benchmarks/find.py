"""What lensnb-find finds, how fast, how much memory it takes, and whether anything is lost when it is killed

    python benchmarks/find.py field                     # Show 1: a 2,000-pixel field, and one of 4,000 with more lenses, against their truth
    python benchmarks/find.py speed                     # Show 2: files, mosaics and reprojected mosaics against plain loops, 20,000 objects
    python benchmarks/find.py memory                    # peak memory at 5,000 and 50,000 objects
    python benchmarks/find.py rates                     # what each stage costs on one core: read, cut, normalise, infer, write
    python benchmarks/find.py kill                      # Show 3: a worker and a job killed, local and dask
    python benchmarks/find.py truncated                 # Show 4: two of twenty tiles cut short
    python benchmarks/find.py rehearsal                 # Show 5: a million positions without images
    python benchmarks/find.py all --n 2000 --size 800   # everything, small, to see that it runs

Every job is a process of its own and its time is the whole of it: start, imports, plan, choice of the engine, reading,
scoring, tables. The plain loops run in this process after one warm-up batch, without their imports, which is to their advantage:
`files`: astropy's `getdata` of every band, the package's normalisation, PyTorch in batches of 64; `mosaics`: `Cutout2D` of every band
from mosaics in memory, the same. `bare` is the engine on stamps and sky levels that are in memory already, on as many threads as the job has.
All ratios are of runs that follow each other in one session, the best of `--repeat`. Memory is the sum over the processes of a
job of what the system counts as their proportional share (PSS), sampled ten times a second.
Rows go to benchmarks/results/find.csv; rows of other parts stay.
"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from lensnb.core import read_table, write_json, write_table
from lensnb.intervals import proportion
from lensnb.simulate import simulate_field

ROOT = Path(__file__).parent.parent
RESULTS = ROOT/'benchmarks'/'results'/'find.csv'
FIND = [str(Path(sys.executable).parent/'lensnb-find')]
CORES = len(os.sched_getaffinity(0))
BANDS = 'gri'


def field(a, name='field', **options):
    "A field, simulated once"
    out = a.folder/f'{name}-{a.size}'
    if not out.is_dir(): simulate_field(out, size_pix=a.size, seed=a.seed, workers=CORES, **options)
    return out


def positions(a, f, n):
    "n positions spread over a field, away from its edges"
    from astropy.io import fits
    from astropy.wcs import WCS
    out = a.folder/f'positions-{f.name}-{n}.parquet'
    if not out.is_file():
        x, y = np.random.default_rng([a.seed, n]).uniform(40, a.size-40, (2, n))
        ra, dec = WCS(fits.getheader(f/'g.fits')).pixel_to_world_values(x, y)
        write_table(pd.DataFrame(dict(id=[f'P{k:07d}' for k in range(n)], ra_deg=ra, dec_deg=dec)), out)
    return out


def mosaics(f): return ['--bands', *(f'{b}={f}/{b}.fits' for b in BANDS)]


def find(a, out, *args, watch=False):
    "One job; seconds of wall clock, and the largest memory if it is watched"
    shutil.rmtree(out, ignore_errors=True)
    start, peak = time.perf_counter(), 0
    with open(a.folder/'said.txt', 'w+') as said:
        p = subprocess.Popen([*FIND, *map(str, args), '--out', str(out), '--weights', a.weights, '--workers', str(a.workers)], stderr=said, stdout=subprocess.DEVNULL)
        while watch and p.poll() is None:
            peak = max(peak, pss(p.pid))
            time.sleep(.1)
        if p.wait(): raise SystemExit(Path(said.name).read_text())
    return time.perf_counter()-start, peak/2**20


def pss(pid):
    "Memory of a process and its children, bytes; pages that several share are counted once"
    try:
        q = psutil.Process(pid)
        return sum(c.memory_full_info().pss for c in [q, *q.children(recursive=True)])
    except psutil.Error: return 0


def keep(part, rows):
    "Add the rows of one part to the table"
    old = read_table(RESULTS) if RESULTS.is_file() else pd.DataFrame(columns=['part'])
    new = pd.DataFrame(rows).assign(part=part)
    write_table(pd.concat([old[old['part'] != part], new], ignore_index=True)[['part', *[c for c in dict.fromkeys([*old, *new]) if c != 'part']]], RESULTS)
    print(new.drop(columns='part').round(4).to_string(index=False), flush=True)


def show_field(a):
    "Lenses recovered against the truth, by Einstein radius and signal to noise, and false positives at the budget"
    rows = []
    for name, size, lens_frac in (('field', a.size, .04), ('field with more lenses', 2*a.size, .12)):
        f = a.folder/f'{name.replace(" ", "-")}-{size}'
        if not f.is_dir(): simulate_field(f, size_pix=size, seed=a.seed, workers=CORES, lens_frac=lens_frac, faint_frac=.02, progress=False)
        truth = pd.read_csv(f/'truth.csv')
        budget, out = int((truth['label'] == 1).sum()), a.folder/f'found-{f.name}'
        find(a, out, *mosaics(f), '--catalog', f/'catalog.csv', '--budget', budget, '--prior', lens_frac, *(['--cam'] if size == a.size else []))
        rows += [dict(field=f'{name}, {size} pixels', n_objects=len(truth), budget=budget, **r) for r in recovered(truth, out)]
        print('Look at', out/'index.html')
    keep('field', rows)


def recovered(truth, out):
    "Lenses in the list of a job, by what they are like, and what else is in it"
    scores, got = pd.read_parquet(out/'scores').set_index('id'), pd.read_csv(out/'candidates.csv')
    t = truth.assign(scored=truth['id'].isin(scores.index), listed=truth['id'].isin(got['id']))
    lens, other = t[t['label'] == 1], t[t['label'] == 0]

    def row(cut, part):
        r = proportion(part.loc[part['scored'], 'listed'].to_numpy())
        return dict(cut=cut, n=len(part), scored=int(part['scored'].sum()), listed=int(part['listed'].sum()), share=r['value'], lo=r['lo'], hi=r['hi'])
    yield row('all lenses', lens)
    for c in ('theta_e_arcsec', 'snr_lensed_image'):
        for q, part in lens.groupby(pd.qcut(lens[c], 3 if len(lens) < 100 else 6), observed=True): yield row(f'{c} {q.left:.3g} to {q.right:.3g}', part) | dict(column=c, least=q.left, most=q.right, middle=part[c].median())
    yield row('lenses too faint to see', t[t['label'].isna()])
    yield row('no lenses', other)
    for kind, part in other.groupby('kind'): yield row(f'no lens: {kind}', part)


def network(a):
    from lensnb.weights import load_weights
    return load_weights(a.weights)


def torch_loop(model, card, read, n):
    "Images a second of a plain loop: one object after another, batches of 64"
    import torch

    from lensnb.weights import as_input
    start, z = time.perf_counter(), []
    with torch.no_grad():
        for i in range(0, n, 64): z.append(model(as_input(card, np.stack([read(k) for k in range(i, min(i+64, n))]))).numpy())
    return n/(time.perf_counter()-start), np.concatenate(z)


def bare(a, stamps):
    "Images a second of the job's engine alone, on as many threads"
    import torch

    from lensnb.engine import make_engine
    from lensnb.pixels import border_sky
    torch.set_num_threads(CORES)
    model, card = network(a)
    engine, (sky, sigma) = make_engine(model, card, a.engine, 'cpu'), border_sky(stamps)
    engine(stamps[:64], sky[:64], sigma[:64])
    from concurrent.futures import ThreadPoolExecutor
    parts = [slice(i, i+256) for i in range(0, len(stamps), 256)]*max(1, 8192//len(stamps))
    start = time.perf_counter()
    with ThreadPoolExecutor(engine.workers) as pool: list(pool.map(lambda s: engine(stamps[s], sky[s], sigma[s]), parts))
    return sum(len(stamps[s]) for s in parts)/(time.perf_counter()-start)


def turned(f):
    "The same field with r and i on grids of another scale and orientation"
    from astropy.io import fits
    from astropy.wcs import WCS
    from reproject import reproject_interp
    out = f.with_name(f.name+'-turned')
    if out.is_dir(): return out
    out.mkdir()
    os.link(f/'g.fits', out/'g.fits')
    for b, angle, scale in (('r', 20., .17), ('i', -35., .25)):
        h = fits.getheader(f/f'{b}.fits')
        x, n, c, s = fits.getdata(f/f'{b}.fits'), int(1.5*h['NAXIS1']*.2/scale), np.cos(np.radians(angle)), np.sin(np.radians(angle))
        new = h.copy()
        for k in ('CDELT1', 'CDELT2'): del new[k]
        new.update(NAXIS1=n, NAXIS2=n, CRPIX1=(n+1)/2, CRPIX2=(n+1)/2, CD1_1=-scale*c/3600, CD1_2=scale*s/3600, CD2_1=scale*s/3600, CD2_2=scale*c/3600)
        y = reproject_interp((np.nan_to_num(x, nan=float(np.nanmedian(x))), WCS(h)), WCS(new), (n, n), order='bilinear', return_footprint=False)
        fits.PrimaryHDU(y.astype('f4'), new).writeto(out/f'{b}.fits')
    return out


def show_speed(a):
    "Disk to parquet, images a second, and what plain loops reach in the same session"
    from astropy.io import fits
    from astropy.nddata import Cutout2D
    from astropy.wcs import WCS

    from lensnb.cutouts import write_cutouts
    from lensnb.mosaic import mosaic_cutouts, open_mosaic
    f = field(a, lens_frac=.04)
    cat = positions(a, f, a.n)
    df = pd.read_parquet(cat)
    files = a.folder/f'files-{a.n}'
    if not files.is_dir():
        cuts = mosaic_cutouts(open_mosaic({b: f/f'{b}.fits' for b in BANDS}), df, 64)
        good, images, _ = cuts.load()
        write_cutouts(files, images, good.drop(columns=['path', 'n_masked']), cuts.survey, 'fits-per-band')
    ids = [p.name[:-7] for p in sorted(files.glob('*_g.fits'))]
    planes = [fits.getdata(f/f'{b}.fits').astype(np.float32) for b in BANDS]
    wcs = WCS(fits.getheader(f/'g.fits'))
    from astropy.coordinates import SkyCoord
    model, card = network(a)

    def from_files(k): return np.stack([fits.getdata(files/f'{ids[k]}_{b}.fits') for b in BANDS])

    def from_mosaic(k):
        at = SkyCoord(df['ra_deg'][k], df['dec_deg'][k], unit='deg')
        return np.nan_to_num(np.stack([Cutout2D(p, at, 64, wcs=wcs, mode='partial', fill_value=0.).data for p in planes]))

    def loop(read, n):
        torch_loop(model, card, read, 64)
        return max(torch_loop(model, card, read, min(n, a.loop_n))[0] for _ in range(a.repeat))

    def job(n, repeat, *args): return max(n/find(a, a.folder/'speed', *args)[0] for _ in range(repeat))
    stamps = np.stack([from_files(k) for k in range(min(len(ids), 2048))]).astype(np.float32)
    engine, rows, few = bare(a, stamps), [], a.n//8
    for name, n, rate, base in (('files', len(ids), lambda: job(len(ids), a.repeat, files), lambda: loop(from_files, len(ids))), ('mosaics on one grid', a.n, lambda: job(a.n, a.repeat, *mosaics(f), '--catalog', cat), lambda: loop(from_mosaic, a.n)),
                                ('mosaics, two of three bands reprojected', few, lambda: job(few, 1, *mosaics(turned(f)), '--catalog', positions(a, f, few)), None)):
        b, r = base() if base else None, rate()
        rows.append(dict(what=name, n=n, images_per_s=r, loop_per_s=b, times_the_loop=r/b if b else None, bare_per_s=engine, share_of_bare=r/engine, workers=a.workers))
        keep('speed', rows)


def show_rates(a):
    "Objects a second of one core in each stage of a search, by the functions that a job calls, and bytes"
    import torch

    from lensnb.engine import make_engine
    from lensnb.mosaic import open_mosaic, place, read_section, stamps
    from lensnb.pixels import border_sky
    from lensnb.weights import load_weights
    torch.set_num_threads(1)
    f = field(a, lens_frac=.04)
    n, rows = 4096, []
    df = pd.read_parquet(positions(a, f, n))

    def best(work):
        times = []
        for _ in range(a.repeat):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter()-start)
        return min(times)

    def add(stage, what, seconds, n, unit='object', size=None): rows.append(dict(stage=stage, what=what, per_s=n/seconds, unit=unit, bytes_each=size))
    m = open_mosaic({b: f/f'{b}.fits' for b in BANDS})
    mega = sum(t.height*t.width for t in m.tiles)/1e6
    add('read', 'plain FITS, three bands, file in memory', best(lambda: [read_section(t, 0, t.height, 0, t.width) for t in m.tiles]), mega, 'million pixels', 4e6)
    add('place', 'tile and pixel of each position', best(lambda: place(m, df)), n)
    df = df.join(place(m, df))
    add('cut', 'read and cut, three bands on one grid', best(lambda: [0 for _ in stamps(m, df, 64)]), n)
    turn = open_mosaic({b: turned(f)/f'{b}.fits' for b in BANDS})
    few = df[['id', 'ra_deg', 'dec_deg']].head(1024)
    few = few.join(place(turn, few))
    few = few[few['reason'] == '']
    add('cut', 'two of three bands reprojected', best(lambda: [0 for _ in stamps(turn, few, 64)]), len(few))
    x = np.concatenate([o[1] for o in stamps(m, df, 64)])
    add('normalise', 'sky and sigma of the border', best(lambda: border_sky(x)), n)
    sky, sigma = border_sky(x)
    for w in ('small-flux', 'lsst-lens-cnn', 'lsst-cmu-resnet'):
        model, card = load_weights(w)
        for kind in ('torch', 'openvino'):
            engine = make_engine(model, card, kind, 'cpu')
            engine(x[:64], sky[:64], sigma[:64])
            add('infer', f'{w}, {kind}', best(lambda e=engine: e(x[:1024], sky[:1024], sigma[:1024])), 1024)
    rows += shard_rates(a, f, n, best)
    keep('rates', rows)


def shard_rates(a, f, n, best):
    "A job's own shards, one after another in this process, after one that loads the network; and the table of one"
    from lensnb.plan import job_settings, plan_job
    from lensnb.survey import choose_engines, run_shard
    shutil.rmtree(a.folder/'rates', ignore_errors=True)
    job = a.folder/'rates'
    plan = plan_job(job, job_settings('lsst-lens-cnn', bands={b: f/f'{b}.fits' for b in BANDS}, catalog=positions(a, f, n)))
    choose_engines(job)
    run_shard(job, 0)
    start = time.perf_counter()
    for k in range(1, plan['n_shards']): run_shard(job, k)
    seconds = time.perf_counter()-start
    tables = [pd.read_parquet(job/'scores'/f'{k:06d}.parquet') for k in range(1, plan['n_shards'])]
    t, again = pd.concat(tables, ignore_index=True), job/'again.parquet'
    write = best(lambda: write_table(t, again))
    return [dict(stage='shard', what='lsst-lens-cnn, mosaics on one grid: read, cut, normalise, infer and write as a job does', per_s=len(t)/seconds, unit='object', bytes_each=None),
            dict(stage='write', what='score table, parquet', per_s=len(t)/write, unit='object', bytes_each=again.stat().st_size/len(t))]


def show_memory(a):
    "Peak memory at two sizes"
    f, rows = field(a, lens_frac=.04), []
    for n in (a.n//4, a.n*5//2):
        s, mb = find(a, a.folder/'memory', *mosaics(f), '--catalog', positions(a, f, n), watch=True)
        rows.append(dict(what='mosaics on one grid', n=n, seconds=s, peak_mb=mb, workers=a.workers))
    keep('memory', rows)


def begun(a, out, args, n):
    p = subprocess.Popen([*FIND, *map(str, args), '--out', str(out), '--weights', a.weights, '--workers', str(max(a.workers, 2))], start_new_session=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while p.poll() is None and len(list((out/'scores').glob('0*'))) < n: time.sleep(.01)
    if p.poll() is not None: raise SystemExit('the job ended before it could be killed: give a larger --n')
    return p


def show_kill(a):
    "A worker killed, the job killed and resumed, against an undisturbed run"
    f = field(a, lens_frac=.04)
    base = [*mosaics(f), '--catalog', positions(a, f, a.n), '--shard', max(a.n//20, 1), '--budget', 500]
    find(a, a.folder/'undisturbed', *base)
    one, rows = pd.read_parquet(a.folder/'undisturbed'/'scores').set_index('id'), []
    for engine in ('local', 'dask'):
        out = a.folder/f'killed-{engine}'
        shutil.rmtree(out, ignore_errors=True)
        p = begun(a, out, [*base, '--engine', engine], 3)
        os.killpg(p.pid, signal.SIGKILL)
        p.wait()
        before = {o.name: o.stat().st_mtime_ns for o in (out/'scores').glob('0*')}
        p = begun(a, out, [*base, '--engine', engine, '--resume'], len(before)+1)
        victims = [c for c in psutil.Process(p.pid).children(recursive=True) if 'resource_tracker' not in ' '.join(c.cmdline())]
        max(victims, key=lambda c: c.create_time()).kill()
        code = p.wait()
        two = pd.read_parquet(out/'scores').set_index('id')
        ranks = [pd.read_csv(o/'candidates.csv')['id'].tolist() for o in (a.folder/'undisturbed', out)]
        rows.append(dict(what=engine, n=a.n, exit_status=code, shards_kept=sum((out/'scores'/k).stat().st_mtime_ns == v for k, v in before.items()), shards_before=len(before), twice=int(two.index.duplicated().sum()),
                         lost=int((~one.index.isin(two.index)).sum()), same_ranks=ranks[0] == ranks[1], logit_difference=float((one['logit']-two['logit']).abs().max())))
    keep('kill', rows)


def show_truncated(a):
    "Two of twenty tiles of one band cut short: everything else is scored, everything lost is listed"
    from astropy.io import fits
    from astropy.wcs import WCS
    f, tiles = field(a, lens_frac=.04), a.folder/'tiles'
    shutil.rmtree(tiles, ignore_errors=True)
    tiles.mkdir()
    truth, (high, wide), margin = pd.read_csv(f/'truth.csv'), (a.size//4, a.size//5), 40
    x, y = WCS(fits.getheader(f/'g.fits')).world_to_pixel_values(truth['ra_deg'], truth['dec_deg'])
    for b in BANDS:
        image, h = fits.getdata(f/f'{b}.fits'), fits.getheader(f/f'{b}.fits')
        for k in range(20):
            y0, x0 = max(k//5*high-margin, 0), max(k % 5*wide-margin, 0)
            t = h.copy()
            t['CRPIX1'] -= x0
            t['CRPIX2'] -= y0
            fits.PrimaryHDU(image[y0:(k//5+1)*high+margin, x0:(k % 5+1)*wide+margin], t).writeto(tiles/f'{b}-{k:02d}.fits')
    broken = {f'r-{k:02d}.fits' for k in (6, 13)}
    for name in broken: (tiles/name).write_bytes((tiles/name).read_bytes()[:200_000])
    find(a, a.folder/'found-truncated', '--bands', *(f'{b}={tiles}/{b}-*.fits' for b in BANDS), '--catalog', f/'catalog.csv')
    scores, lost = pd.read_parquet(a.folder/'found-truncated'/'scores'), pd.read_csv(a.folder/'found-truncated'/'lost.csv')
    inside = np.isin((y//high).astype(int)*5+(x//wide).astype(int), (6, 13))   # the tile that is theirs; near its edge a neighbour holds them, too
    rest = truth.loc[~inside, 'id']
    unreadable = lost['reason'].str.contains('cut short')
    keep('truncated', [dict(what='two of twenty r tiles cut short', n=len(truth), scored=len(scores), lost=len(lost), lost_with_reason=int((lost['reason'].str.len() > 0).sum()), named_cut_short=int(unreadable.sum()), in_other_tiles=len(rest),
                            in_other_tiles_scored=int(rest.isin(scores['id']).sum()), in_other_tiles_lost=int(rest.isin(lost['id']).sum()), twice=int(scores['id'].duplicated().sum()), nowhere=int((~truth['id'].isin(pd.concat([scores['id'], lost['id']]))).sum()))])


def show_rehearsal(a):
    "Sharding, manifest and merge of many positions"
    rng, path = np.random.default_rng(a.seed), a.folder/f'sky-{a.rehearse}.csv'
    if not path.is_file(): pd.DataFrame(dict(id=np.arange(a.rehearse), ra=rng.uniform(0, 360, a.rehearse), dec=np.degrees(np.arcsin(rng.uniform(-.9, .1, a.rehearse))))).to_csv(path, index=False)
    s, mb = find(a, a.folder/'rehearsal', '--catalog', path, '--dry-run', watch=True)
    keep('rehearsal', [dict(what='dry run', n=a.rehearse, seconds=s, peak_mb=mb)])


SHOWS = dict(field=show_field, speed=show_speed, memory=show_memory, rates=show_rates, kill=show_kill, truncated=show_truncated, rehearsal=show_rehearsal)


def main():
    p = argparse.ArgumentParser(description='Time and test lensnb-find')
    p.add_argument('part', choices=[*SHOWS, 'all'])
    p.add_argument('--folder', type=Path, default=ROOT/'stores'/'find', help='where fields and jobs are kept')
    p.add_argument('--n', type=int, default=20_000, help='objects')
    p.add_argument('--loop-n', type=int, default=4000, help='objects of the plain loops, at most')
    p.add_argument('--size', type=int, default=2000, help='side of the field, pixels')
    p.add_argument('--rehearse', type=int, default=1_000_000, help='positions of the rehearsal')
    p.add_argument('--weights', default='lsst-lens-cnn')
    p.add_argument('--engine', default='openvino', help='engine of the bare rate')
    p.add_argument('--workers', type=int, default=CORES)
    p.add_argument('--repeat', type=int, default=3)
    p.add_argument('--seed', type=int, default=0)
    a = p.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    for name in SHOWS if a.part == 'all' else [a.part]: SHOWS[name](a)
    write_json(a.folder/'machine.json', dict(cores=CORES, python=sys.version, args=json.loads(json.dumps(vars(a), default=str))))


if __name__ == '__main__': main()
