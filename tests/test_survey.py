"A search through a survey from outside: killed, broken, wrong, and what it leaves behind"
import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import psutil
import pytest
from astropy.io import fits
from astropy.table import Table
from conftest import run

from lensnb.core import read_json, write_json
from lensnb.cutouts import write_cutouts
from lensnb.mosaic import mosaic_cutouts, open_mosaic
from lensnb.plan import job_settings, plan_job
from lensnb.simulate import simulate_field
from lensnb.survey import finish, rehearse, search
from lensnb.workers import _sentence

BANDS = 'gri'
SEARCH = 'import sys, json; from lensnb.survey import search; o = json.load(open(sys.argv[1])); search(**o)'


@pytest.fixture(scope='module')
def field(tmp_path_factory):
    "A field of 64 objects as a whole, and as 4 x 4 tiles that overlap by 60 pixels"
    d = tmp_path_factory.mktemp('survey')
    truth = simulate_field(d/'field', size_pix=660, lens_frac=.15, seed=2, progress=False)
    (d/'tiles').mkdir()
    for b in BANDS:
        x, h = fits.getdata(d/'field'/f'{b}.fits'), fits.getheader(d/'field'/f'{b}.fits')
        for k in range(16):
            r, c = (k//4)*150, (k % 4)*150
            t = h.copy()
            t['CRPIX1'] -= c
            t['CRPIX2'] -= r
            fits.PrimaryHDU(x[r:r+210, c:c+210], t).writeto(d/'tiles'/f'{b}-{k:02d}.fits')
    return d, truth


def whole(d): return {b: d/'field'/f'{b}.fits' for b in BANDS}


def settings(d, bands=None, **options): return job_settings('small-flux', bands=bands or whole(d), catalog=options.pop('catalog', d/'field'/'catalog.csv'), **{'shard': 4, **options})


@pytest.fixture(scope='module')
def undisturbed(field):
    d, _ = field
    search(d/'job', settings(d), workers=2, budget=30, progress=False)
    return d/'job'


def test_the_command_finds_lenses_and_leaves_everything(field, tmp_path):
    d, truth = field
    lens = truth[truth['label'] == 1]
    lens[['id', 'ra_deg', 'dec_deg']].assign(id='KNOWN', dec_deg=lens['dec_deg']+2/3600)[:2].assign(id=['K1', 'K2']).to_csv(tmp_path/'known.csv', index=False)
    r = run('lensnb-find', '--bands', *(f'{b}={p}' for b, p in whole(d).items()), '--catalog', d/'field'/'catalog.csv', '--out', tmp_path/'o', '--weights', 'small-flux',
            '--budget', 15, '--workers', 1, '--known', tmp_path/'known.csv', '--cam')
    got, s = pd.read_csv(tmp_path/'o'/'candidates.csv'), read_json(tmp_path/'o'/'summary.json')
    found = got.merge(truth[['id', 'label']], on='id')['label'].sum()
    assert found >= .6*len(lens) and f"{s['n_scored']} objects scored" in r.stdout
    assert s['n_scored']+s['n_lost'] == len(truth) and s['n_known'] == got['known'].notna().sum() >= 1
    assert len(Table.read(tmp_path/'o'/'candidates.vot')) == len(got) == len(list((tmp_path/'o'/'cam').glob('*.png')))
    html = (tmp_path/'o'/'index.html').read_text()
    assert html.count('<img') == 15 and 'known: K' in html and 'legacysurvey.org' in html
    scores = pd.read_parquet(tmp_path/'o'/'scores')
    assert scores['id'].is_unique and {'logit', 'p_lens', 'pred', 'flags', 'disagreement', 'logit_small-flux'} <= set(scores)


def begun(out, n, args, tmp_path):
    "A search in a process group of its own, when n shards are written"
    write_json(tmp_path/'args.json', args)
    p = subprocess.Popen([sys.executable, '-c', SEARCH, str(tmp_path/'args.json')], start_new_session=True, stderr=subprocess.DEVNULL)
    while p.poll() is None and len(list((out/'scores').glob('0*'))) < n: time.sleep(.005)
    assert p.poll() is None, 'the search ended before it could be disturbed'
    return p


def workers_of(p): return [c for c in psutil.Process(p.pid).children(recursive=True) if 'resource_tracker' not in ' '.join(c.cmdline())]


def same(a, b):
    a, b = (pd.read_csv(o/'candidates.csv') for o in (a, b))
    assert a['id'].tolist() == b['id'].tolist() and a['rank'].tolist() == b['rank'].tolist()
    np.testing.assert_allclose(a['logit'], b['logit'], atol=1e-6)


@pytest.mark.parametrize('engine', ['local', 'dask'])
def test_a_killed_worker_and_a_killed_job(engine, field, undisturbed, tmp_path):
    if engine == 'dask': pytest.importorskip('distributed', reason="distributed is not installed: pip install 'lensnb[survey]'")
    d, truth = field
    out = tmp_path/'job'
    args = dict(out=str(out), settings=settings(d), run=engine, workers=2, budget=30, progress=False)
    p = begun(out, 2, args, tmp_path)
    os.killpg(p.pid, signal.SIGKILL)
    p.wait()
    before = {f.name: f.stat().st_mtime_ns for f in (out/'scores').glob('0*')}
    assert 2 <= len(before) < 16
    p = begun(out, len(before)+1, {**args, 'resume': True}, tmp_path)
    victim = max(workers_of(p), key=lambda c: c.create_time())
    victim.kill()
    assert p.wait() == 0
    after = {f.name: f.stat().st_mtime_ns for f in (out/'scores').glob('0*')}
    assert len(after) == 16 and all(after[k] == v for k, v in before.items()), 'a finished shard was scored again'
    scores = pd.read_parquet(out/'scores')
    assert scores['id'].is_unique and len(scores)+len(pd.read_csv(out/'lost.csv')) == len(truth)
    same(out, undisturbed)


def test_two_of_sixteen_tiles_are_cut_short(field, undisturbed, tmp_path):
    d, truth = field
    tiles = tmp_path/'tiles'
    tiles.mkdir()
    for f in (d/'tiles').iterdir(): (tiles/f.name).write_bytes(f.read_bytes()[:60_000] if f.name in ('r-05.fits', 'g-10.fits') else f.read_bytes())
    got, s = search(tmp_path/'o', settings(d, {b: tiles/f'{b}-*.fits' for b in BANDS}), workers=1, budget=64, progress=False)
    scores, lost = pd.read_parquet(tmp_path/'o'/'scores').set_index('id'), pd.read_csv(tmp_path/'o'/'lost.csv')
    all_ = pd.read_parquet(undisturbed/'scores').set_index('id')
    assert len(scores)+len(lost) == len(truth) and 0 < len(lost) < 16 and lost['reason'].str.contains('cut short').any()
    assert lost['id'].isin(all_.index).sum() == len(all_)-len(scores) and s['n_several'] > 0
    clean = scores.index[scores['flags'] == all_.loc[scores.index, 'flags']]   # where no stamp of any band hangs over the edge of its tile
    assert len(clean) > 40
    np.testing.assert_allclose(scores.loc[clean, 'logit'], all_.loc[clean, 'logit'], atol=1e-4)   # from a tile or from the whole: the same pixels


def test_compressed_tiles_of_which_one_is_damaged_inside(field, undisturbed, tmp_path):
    d, truth = field
    for b in BANDS:
        f = tmp_path/f'{b}.fits.fz'
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(fits.getdata(d/'field'/f'{b}.fits'), fits.getheader(d/'field'/f'{b}.fits'), compression_type='GZIP_2', quantize_level=0, tile_shape=(66, 66))]).writeto(f)
        if b == 'r':
            x = bytearray(f.read_bytes())
            x[150_000:150_400] = b'\xff'*400
            f.write_bytes(x)
    search(tmp_path/'o', settings(d, {b: tmp_path/f'{b}.fits.fz' for b in BANDS}), workers=1, budget=64, progress=False)
    scores, lost = pd.read_parquet(tmp_path/'o'/'scores').set_index('id'), pd.read_csv(tmp_path/'o'/'lost.csv')
    all_ = pd.read_parquet(undisturbed/'scores').set_index('id')
    assert len(scores)+len(lost) == len(truth) and 0 < lost['reason'].str.contains('cannot be read').sum() < 12
    np.testing.assert_allclose(scores['logit'], all_.loc[scores.index, 'logit'], atol=1e-4)


@pytest.mark.parametrize('fmt', ['store', 'fits-per-band'])
def test_cutouts_go_the_same_way(fmt, field, undisturbed, tmp_path):
    d, truth = field
    cat, images, _ = mosaic_cutouts(open_mosaic(whole(d)), truth[['id', 'ra_deg', 'dec_deg']], 64).load()
    survey = open_mosaic(whole(d)).survey
    write_cutouts(tmp_path/'x', images, cat.drop(columns=['path', 'n_masked']), survey, fmt)
    search(tmp_path/'o', job_settings('small-flux', [tmp_path/'x'], shard=10), workers=1, budget=30, progress=False)
    scores, all_ = pd.read_parquet(tmp_path/'o'/'scores').set_index('id'), pd.read_parquet(undisturbed/'scores').set_index('id')
    assert set(scores.index) == set(all_.index)
    np.testing.assert_allclose(scores['logit'], all_.loc[scores.index, 'logit'], atol=1e-4)


def test_two_stages_audit_what_they_reject(field, tmp_path):
    d, _ = field
    s = job_settings('small-flux', bands=whole(d), catalog=d/'field'/'catalog.csv', first='lsst-lens-cnn', first_cut=.05) if (os.path.isdir('weights/lsst-lens-cnn')) else None
    if s is None: pytest.skip('the weights lsst-lens-cnn are in the repository only')
    got, said = search(tmp_path/'o', s, workers=1, budget=10, progress=False)
    scores = pd.read_parquet(tmp_path/'o'/'scores')
    assert said['first']['n_rejected'] == (scores['stage'] == 1).sum() > 0
    assert (scores['scored_by_all'] == scores['logit_small-flux'].notna()).all() and scores['logit_lsst-lens-cnn'].notna().all()
    assert scores.loc[scores['stage'] == 2, 'scored_by_all'].all() and got['logit'].is_monotonic_decreasing


BAD = {
    'no input': ([], ['neither came']),
    'no WCS': (['--bands', 'g={nowcs}', 'r={r}', 'i={i}'], ['no sky coordinates']),
    'bands apart': (['--bands', 'g={g}', 'r={apart}', 'i={i}'], ['do not overlap']),
    'hours': (['--catalog', '{hours}'], ['--ra-unit hour']),
    'elsewhere': (['--catalog', '{far}'], ['lies in any tile']),
    'exchanged': (['--catalog', '{exchanged}'], ['exchanged']),
    'no positions': (['--catalog', '{nothing}'], ['ra and dec']),
    'no catalogue': (['--catalog', '{gone}'], ['no such file']),
    'unreachable': (['--bands', 'g=http://127.0.0.1:9/g.fits', 'r={r}', 'i={i}'], ['http://127.0.0.1:9/g.fits', 'cannot be opened']),
    'missing file': (['--bands', 'g={gone}', 'r={r}', 'i={i}'], ['no mosaic at']),
    'cut short': (['--bands', 'g={short}', 'r={r}', 'i={i}'], ['cut short']),
    'wrong bands': (['--bands', 'u={g}', 'r={r}', 'i={i}'], ['g r i', 'without g']),
    'not band=file': (['--bands', '{g}'], ['band=file']),
    'other scale': (['--bands', 'g={coarse}', 'r={coarse}', 'i={coarse}'], ['arcsec/pixel']),
    'purity without calibration': (['--purity', '.5'], ['calibrated']),
    'prior without calibration': (['--prior', '1e-3'], ['calibrat']),
    'no budget': (['--budget', '0'], ['budget']),
    'no such weights': (['--weights', 'nobody'], ['no weights named']),
    'an ensemble': (['--weights', 'ensemble:three'], ['no ensemble named']),
    'another folder': (['--out', '{full}'], ['no survey job']),
    'a file': (['--out', '{hours}'], ['is a file']),
    'nobody schedules': (['--scheduler', 'tcp://127.0.0.1:9'], ['No dask scheduler']),
}


@pytest.fixture(scope='module')
def bad(field):
    d, truth = field
    b = d/'bad'
    b.mkdir()
    h, x = fits.getheader(d/'field'/'g.fits'), fits.getdata(d/'field'/'g.fits')
    at = truth[['id', 'ra_deg', 'dec_deg']].rename(columns=dict(ra_deg='ra', dec_deg='dec'))
    f = dict(hours=b/'hours.csv', far=b/'far.csv', exchanged=b/'exchanged.csv', nothing=b/'nothing.csv', gone=b/'gone.fits', nowcs=b/'nowcs.fits', apart=b/'apart.fits', coarse=b/'coarse.fits', short=b/'short.fits', full=b/'full', **whole(d))
    at.assign(ra=at['ra']/15).to_csv(f['hours'], index=False)
    at.assign(ra=at['ra']+90).to_csv(f['far'], index=False)
    at.rename(columns=dict(ra='dec', dec='ra')).to_csv(f['exchanged'], index=False)
    at[['id']].to_csv(f['nothing'], index=False)
    fits.PrimaryHDU(x).writeto(f['nowcs'])
    apart, coarse = h.copy(), h.copy()
    apart['CRVAL2'] += 1
    coarse['CDELT1'], coarse['CDELT2'] = -.5/3600, .5/3600
    fits.PrimaryHDU(x, apart).writeto(f['apart'])
    fits.PrimaryHDU(x, coarse).writeto(f['coarse'])
    f['short'].write_bytes((d/'field'/'g.fits').read_bytes()[:100_000])
    f['full'].mkdir()
    (f['full']/'thesis.tex').touch()
    return d, f


@pytest.mark.parametrize('name', list(BAD))
def test_bad_input(name, bad, tmp_path):
    d, f = bad
    options, words = BAD[name]
    if name == 'nobody schedules': pytest.importorskip('distributed', reason="distributed is not installed: pip install 'lensnb[survey]'")
    args = {'--catalog': [d/'field'/'catalog.csv'], '--bands': [f'{b}={p}' for b, p in whole(d).items()], '--out': [tmp_path/'o'], '--weights': ['small-flux']}
    for i, o in enumerate(options):
        if o.startswith('--'): args[o] = [v.format(**f) for v in options[i+1:] if not v.startswith('--')][:3 if o == '--bands' else 1]
    if name == 'no input': args.pop('--bands')
    r = run('lensnb-find', *(o for k, v in args.items() for o in (k, *v)), code=1)
    said = r.stderr.strip().split('\n')[-1]
    for w in words: assert w in said, said
    assert not list(tmp_path.glob('o/candidates.csv'))


def test_a_job_is_not_taken_for_another(field, undisturbed, tmp_path):
    d, _ = field
    with pytest.raises(ValueError, match='Add --resume'): search(undisturbed, settings(d), progress=False)
    with pytest.raises(ValueError, match='other settings .shard'): search(undisturbed, settings(d, shard=7), resume=True, progress=False)
    plan_job(tmp_path/'o', settings(d))
    with pytest.raises(ValueError, match='16 of 16 shards .* not scored yet'): finish(tmp_path/'o')
    half = tmp_path/'o'/'plan'/'job.json'
    half.write_text(half.read_text()[:50])
    with pytest.raises(ValueError, match='not valid JSON'): search(tmp_path/'o', settings(d), resume=True, progress=False)


def test_a_full_disk_is_a_sentence():
    assert 'The disk is full' in _sentence(OSError(errno.ENOSPC, 'No space left on device'))


def test_rehearsal_of_many_positions(tmp_path):
    rng = np.random.default_rng(0)
    n = 50_000
    pd.DataFrame(dict(object_id=np.arange(n), ra=rng.uniform(0, 360, n), dec=rng.uniform(-60, 5, n))).to_parquet(tmp_path/'p.parquet')
    s = dict(job_settings('small-flux', ['rehearsal'], catalog=tmp_path/'p.parquet'), shard=1000)
    r = rehearse(tmp_path/'o', s)
    assert (r['n_objects'], r['n_shards'], r['n_candidates']) == (n, 50, 500) and not (tmp_path/'o').exists()
    assert [f.name for f in tmp_path.iterdir()] == ['p.parquet']


def test_known_lenses_of_lenscat_are_marked(tmp_path):
    from lensnb.positions import known_lenses
    known = known_lenses()
    if not len(known): pytest.skip('lenscat is not installed: pip install --no-deps lenscat')
    k = known[known['dec_deg'].abs() < 60].iloc[100]
    truth = simulate_field(tmp_path/'field', size_pix=200, lens_frac=1., seed=1, progress=False)
    first = truth.iloc[0]   # the field is moved until its first lens stands where a known one is
    centre = (k['ra_deg']-(first['ra_deg']-150)*np.cos(np.radians(first['dec_deg']))/np.cos(np.radians(k['dec_deg'])), k['dec_deg']-(first['dec_deg']-2))
    truth = simulate_field(tmp_path/'moved', size_pix=200, lens_frac=1., seed=1, centre_deg=centre, progress=False)
    got, s = search(tmp_path/'o', job_settings('small-flux', bands={b: tmp_path/'moved'/f'{b}.fits' for b in BANDS}, catalog=tmp_path/'moved'/'catalog.csv'), workers=1, progress=False)
    assert got.set_index('id').loc[truth['id'][0], 'known'] and s['n_known'] >= 1


def test_a_shard_of_broken_files_and_one_that_begins_with_an_odd_one(field, tmp_path):
    "Files are read as the first readable one of the folder is, not as the first of their shard"
    d, truth = field
    cuts = mosaic_cutouts(open_mosaic(whole(d)), truth[['id', 'ra_deg', 'dec_deg']][:24].assign(id=[f'o{k:02d}' for k in range(24)]), 64)
    good, images, _ = cuts.load()
    good, images = good[:15].drop(columns=['path', 'n_masked']), images[:15]
    write_cutouts(tmp_path/'x', images, good, cuts.survey, 'fits')
    files = [tmp_path/'x'/f'{i}.fits' for i in good['id']]
    with fits.open(files[5]) as f: odd = fits.HDUList([*(h.copy() for h in f), fits.ImageHDU(images[0][0], name='z')])
    odd.writeto(files[5], overwrite=True)
    for f in files[10:15]: f.write_bytes(f.read_bytes()[:9_000])
    _, s = search(tmp_path/'o', job_settings('small-flux', [tmp_path/'x'], shard=5), workers=1, budget=30, progress=False)
    scores, lost = pd.read_parquet(tmp_path/'o'/'scores'), pd.read_csv(tmp_path/'o'/'lost.csv')
    assert set(scores['id']) == {*good['id'][:5], *good['id'][6:10]} and len(lost) == 6
    assert 'but the others' in lost.set_index('id').loc[good['id'][5], 'reason']
