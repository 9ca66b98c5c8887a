"A found lens made ready for a classifier: both ways to take the galaxy away, other cameras, and every refusal"
from dataclasses import replace

import numpy as np
import pytest

from lensnb.core import InputError, scene_rng
from lensnb.handoff import Prepared, Seen, isophote_light, prepare, refusals, resample
from lensnb.simulate import simulate_one
from lensnb.subhalos import Honest, simulate_substructure
from lensnb.surveys import get_survey

GOOD = Prepared(np.zeros((96, 96)), .05, .087, 200., 25., .5, .02)
SEEN = Seen((.045, .055), (.08, .095), (100., 500.), (18., 40.), (0., 3.), (0., .2))


def test_a_lens_like_those_of_the_training_is_not_refused(): assert refusals(GOOD, SEEN) == []


@pytest.mark.parametrize('change, said', [
    (dict(pixel_scale_arcsec=.2), '0.200 arcsec wide'), (dict(psf_fwhm_arcsec=.7), 'PSF is 0.700'), (dict(snr=40.), 'S/N of 40'), (dict(theta_e_pix=60.), '60.0 pixels'),
    (dict(middle=9.), 'Has the lens galaxy been subtracted'), (dict(outside=.6), '60.0%'), (dict(snr=0.), 'No arc stands out')])
def test_every_refusal_has_its_number(change, said):
    said_of_it = refusals(replace(GOOD, **change), SEEN)
    assert len(said_of_it) == 1 and said in said_of_it[0]


def test_isophotes_follow_a_galaxy():
    image, _, _ = simulate_substructure(scene_rng(8, 'found', 3), 'none', how=Honest(lens_light='kept'))
    light = isophote_light(image[0])
    r = np.hypot(*np.meshgrid(*(np.arange(128)-63.5,)*2))
    near = (r > 4) & (r < 15)
    assert abs((image[0]-light)[near].sum()) < .1*image[0][near].sum()


def test_isophotes_of_nothing():
    with pytest.raises(InputError, match='too faint'): isophote_light(np.random.default_rng(0).normal(size=(96, 96)))


@pytest.mark.parametrize('survey, wide', [('hst', 128), ('euclid', 128)])
def test_found_lenses_of_other_cameras(survey, wide):
    s = get_survey(survey, size_pix=wide)
    image, _ = simulate_one(s, scene_rng(1, survey, 0), 'lens')
    p = prepare(image, s)
    assert p.x.shape == (96, 96) and np.isfinite(p.x).all() and p.pixel_scale_arcsec == s.pixel_scale_arcsec
    assert any('arcsec wide' in o for o in refusals(p, SEEN)) == (survey == 'euclid') == any('PSF is' in o for o in refusals(p, SEEN))


@pytest.mark.parametrize('scale', [.03, .05, .1])
def test_no_photon_is_lost(scale):
    y, x = np.mgrid[:100, :100]-49.5
    blob = np.exp(-.5*((x-5)**2+(y+2)**2)/7**2)
    assert abs(resample(blob, .05, scale).sum()/blob.sum()-1) < 2e-3


def test_one_band_of_a_survey_with_several():
    lsst = get_survey('lsst')
    x = simulate_one(lsst, scene_rng(3, 'ground', 0), 'lens')[0]
    p = prepare(x, lsst, band=1)
    assert (p.pixel_scale_arcsec, p.psf_fwhm_arcsec) == (lsst.pixel_scale_arcsec, lsst.psf_fwhm_arcsec[1])
