"Real and published images, where LENSNB_REAL_DATA names the folder that holds them: every set is read right, and scored end to end"
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from conftest import run
from PIL import Image

from lensnb.cutouts import open_cutouts
from lensnb.explore import leak_check

DATA = Path(os.environ.get('LENSNB_REAL_DATA', ''))
pytestmark = pytest.mark.skipif('LENSNB_REAL_DATA' not in os.environ, reason='LENSNB_REAL_DATA is not set: it names a folder of real images')

# folder: (objects, bands, size, kind of pixels, pixel scale, lenses and non-lenses where labelled, options)
SETS = {
    'bologna_ground':         (8, 'u g r i', 101, 'flux', .2, (4, 4), {}),
    'bologna_space':          (10, 'VIS', 101, 'flux', .1, (5, 5), {}),
    'deeplense_lens_finding': (20, 'g r i', 64, 'minmax', None, (10, 10), dict(bands=['g', 'r', 'i'])),
    'deeplense_substructure': (15, 'band1', 150, 'minmax', None, None, {}),
    'spacewarps/images':      (210, 'g r i', 128, 'composite8', None, None, {}),
    'spacewarps/known_lenses': (49, 'g r i', 128, 'composite8', None, None, {}),
    'spacewarps/tiles':       (11, 'g r i', 440, 'composite8', None, None, {}),
    'decals_rings/images':    (233, 'g r i', 128, 'composite8', None, None, {}),
    'des_galaxies':           (46, 'g r i z Y', 91, 'flux', None, None, {}),
    'kids_lenses':            (116, 'r', 151, 'flux', None, None, {}),
    'deeplense_model1_published': (2000, 'band1', 150, 'composite8', None, None, {}),
}


@pytest.mark.parametrize('name', SETS)
def test_every_set_is_read(name):
    n, bands, size, pixels, scale, labels, options = SETS[name]
    c = open_cutouts(DATA/name, **options)
    assert (len(c), ' '.join(c.survey.bands), c.survey.pixels) == (n, bands, pixels)
    assert c.survey.pixel_scale_arcsec == (None if scale is None else pytest.approx(scale, rel=1e-3))
    good, x, bad = c.load(range(min(n, 250)))
    assert len(bad) == 0 and x.shape == (min(n, 250), len(bands.split()), size, size) and x.dtype == np.float32 and np.isfinite(x).all()
    if labels: assert (int((good['label'] == 1).sum()), int((good['label'] == 0).sum())) == labels


def test_bologna_bands_by_name_and_rows_from_the_bottom():
    c = open_cutouts(DATA/'bologna_ground', bands=['g', 'r', 'i'])
    for k, letter in enumerate('GRI'):
        raw = fits.getdata(DATA/'bologna_ground'/f"imageSDSS_{letter}-{c.catalog['id'][2]}.fits")
        np.testing.assert_array_equal(c.read(2)[k], raw.astype('f4'))
    truth = pd.read_csv(DATA/'bologna_ground'/'classifications.csv').set_index('ID')['is_lens']
    assert (c.catalog.set_index('id')['label'] == truth.rename(index=str)).all()


def test_a_masked_pixel_is_filled_and_counted(tmp_path):
    for f in (DATA/'bologna_space').glob('imageEUC_VIS-10000[234].fits'):
        x, head = fits.getdata(f, header=True)
        x[:5, :4] = 100
        fits.PrimaryHDU(x, head).writeto(tmp_path/f.name)
    good, x, _ = open_cutouts(tmp_path).load()
    assert set(good['n_masked']) == {20} and abs(x).max() < 1e-6


@pytest.mark.parametrize('name', ['spacewarps/images', 'decals_rings/images'])
def test_pictures_are_turned_round(name):
    c = open_cutouts(DATA/name)
    raw = np.asarray(Image.open(DATA/name/c.catalog['path'][7]).convert('RGB'))
    np.testing.assert_array_equal(c.read(7), raw[::-1].transpose(2, 0, 1)[::-1].astype('f4'))


def test_tables_beside_pictures_are_found():
    c = open_cutouts(DATA/'spacewarps'/'images').catalog.set_index('id')
    t = pd.read_csv(DATA/'spacewarps'/'candidates.csv')
    t.index = [Path(f).stem for f in t['file']]
    c = c.loc[t.index]
    assert len(c) == 210 and (c['expert_grade'] == t['expert_grade']).all() and np.allclose(c['ra_deg'], t['ra_deg'])
    k = open_cutouts(DATA/'kids_lenses').catalog
    assert (k['id'] == pd.read_csv(DATA/'kids_lenses'/'catalog.csv')['kids_id']).all()


def test_npz_bands_by_name():
    z = np.load(DATA/'des_galaxies'/'des_grizY46.npz')
    np.testing.assert_array_equal(open_cutouts(DATA/'des_galaxies', bands=['r', 'z']).read(3), z['images'][3, [1, 3]])


def rows(out): return pd.read_csv(out/'predictions.csv', dtype={'id': str})


@pytest.mark.parametrize('name,n,options', [
    ('bologna_ground', 8, []), ('deeplense_lens_finding', 20, []),
    ('des_galaxies', 46, ['--pixel-scale', '0.263', '--resample'])])
def test_flux_network_end_to_end(name, n, options, flux, tmp_path):
    r = run('lensnb-test', '--weights', flux[1], '--data', DATA/name, '--out', tmp_path/'o', *options)
    s = rows(tmp_path/'o')
    assert len(s) == n and np.isfinite(s['logit']).all() and s['logit'].nunique() == n and not (tmp_path/'o'/'bad_files.csv').exists()
    assert ('scale_unknown' in str(s.get('flags', pd.Series([''])).iloc[0])) == (name == 'deeplense_lens_finding'), r.stderr


@pytest.mark.parametrize('name,n', [('spacewarps/images', 210), ('decals_rings/images', 233), ('spacewarps/known_lenses', 49)])
def test_composite_network_end_to_end(name, n, composite, tmp_path):
    run('lensnb-test', '--weights', composite[1], '--data', DATA/name, '--out', tmp_path/'o', '--pixel-scale', .187)
    s = rows(tmp_path/'o')
    assert len(s) == n and np.isfinite(s['logit']).all() and s['id'].is_unique


@pytest.mark.parametrize('name,bands,size,scale', [('bologna_space', ['VIS'], 101, .1), ('kids_lenses', ['r'], 151, .214), ('deeplense_substructure', ['r'], 150, .05)])
def test_one_band_network_end_to_end(name, bands, size, scale, tmp_path):
    from lensnb.models import create_model
    from lensnb.pixels import Normalisation
    from lensnb.weights import WeightCard, save_weights
    model = create_model('lens_cnn', bands=1, size_pix=64).eval()
    card = WeightCard(name='untrained', architecture='lens_cnn', bands=tuple(bands), pixels='flux', size_pix=64, threshold=.5,
                      pixel_scale_arcsec=scale, scale_range_arcsec=(scale*.8, scale*1.25), normalisation=Normalisation().to_dict())
    save_weights(tmp_path/'net', model, card)
    run('lensnb-test', '--weights', tmp_path/'net', '--data', DATA/name, '--out', tmp_path/'o', '--pixel-scale', scale)
    assert len(rows(tmp_path/'o')) == SETS[name][0]


def test_flux_weights_refuse_pictures(flux, tmp_path):
    said = run('lensnb-test', '--weights', flux[1], '--data', DATA/'spacewarps'/'images', '--out', tmp_path/'o', code=1).stderr
    assert 'composite8' in said and 'flux' in said


@pytest.mark.parametrize('name', ['bologna_ground', 'bologna_space'])
def test_leaks_of_the_published_catalogues(name):
    t = leak_check(pd.read_csv(DATA/name/'classifications_all20000.csv.gz')).set_index('column')
    assert set(t.index[t['leak']]) == {'numb_pix_lensed_image', 'flux_lensed_image_in_sigma'}
    assert set(t.loc[['Einstein_area', 'numb_pix_lensed_image', 'flux_lensed_image_in_sigma'], 'role']) == {'truth'}
