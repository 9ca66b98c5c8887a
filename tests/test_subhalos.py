"Lenses with dark substructure: the command, interruptions, every preset and camera, and what must be equal between the classes"
import os
import signal
import subprocess
import time
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import BIN, run
from scipy.stats import ks_2samp

from lensnb.core import scene_rng
from lensnb.halos import ring_deflection
from lensnb.lensing import critical_area, sie
from lensnb.store import open_store
from lensnb.subhalos import CLASSES, CLUMPS, HONEST, PRESETS, SUB_TRUTH, Honest, preset_survey, simulate_substructure


@pytest.mark.parametrize('preset', list(PRESETS))
@pytest.mark.parametrize('kind', CLASSES)
def test_every_class_of_every_preset(preset, kind):
    s = preset_survey(preset)
    image, row, sub = simulate_substructure(np.random.default_rng(1), kind, preset)
    assert image.shape == (1, s.size_pix, s.size_pix) and image.dtype == np.float32 and np.isfinite(image).all()
    assert set(row) == set(SUB_TRUTH) and all(np.isfinite(list(row.values())))
    assert (row['n_subhalo'] > 0) == (kind == 'cdm') and (row['rod_mass_msun'] > 0) == (kind == 'vortex') == (row['rod_length_arcsec'] > 0)
    assert (row['deflection_rms_arcsec'] > 0) == (len(sub) > 0) == (kind != 'none')
    again = simulate_substructure(np.random.default_rng(1), kind, preset)[0]
    assert np.array_equal(image, again)


@pytest.mark.parametrize('survey', ['euclid', 'lsst'])
@pytest.mark.parametrize('how', [Honest(profile='pseudo_jaffe', lens_light='kept'), Honest(profile='point', lens_light='none'), HONEST])
def test_honest_before_any_camera(survey, how):
    s = preset_survey('honest', survey)
    image, row, _ = simulate_substructure(np.random.default_rng(2), 'cdm', survey=s, how=how)
    assert image.shape == (s.n_band, s.size_pix, s.size_pix) and np.isfinite(image).all() and row['snr_lensed_image'] >= how.snr[0]


def honest(kind, n):
    s = preset_survey()
    return [PRESETS['honest'].lens(scene_rng(0, kind, i), kind, s) for i in range(n)]


@pytest.mark.parametrize('kind', CLASSES)
def test_the_ring_weighs_the_same_with_substructure_and_without(kind):
    "The mean outward deflection on the ring is that of the whole smooth lens, in every class"
    t = torch.arange(512, dtype=torch.float64)*(2*np.pi/512)
    removed = []
    for lens in honest(kind, 12):
        theta, (mass, _) = lens.truth['theta_e_arcsec'], lens.smooth
        whole, left = (sum(a*f(t) for a, f in zip(m(theta*t.cos(), theta*t.sin()), (torch.cos, torch.sin), strict=True)).mean() for m in (partial(sie, **mass.keywords | {'theta_e_arcsec': theta}), mass))
        assert abs(float(left-whole)+ring_deflection(lens.sub, theta)) < .002*theta
        assert abs(np.sqrt(critical_area([mass], 3, 60)/np.pi)+lens.removed_arcsec-theta) < .02*theta
        removed.append(lens.removed_arcsec/theta)
    assert (max(removed) > .004) == (kind != 'none')


def test_a_vortex_weighs_what_the_subhalos_would():
    mass = [[lens.sub.mass_msun.sum() for lens in honest(k, 250)] for k in ('cdm', 'vortex')]
    assert ks_2samp(*mass).pvalue > .01
    assert ks_2samp(mass[0], np.multiply(mass[1], 1.5)).pvalue < .01


def test_command(tmp_path):
    r = run('lensnb-simulate', tmp_path/'a', '--survey', 'hst', '--kind', 'substructure', '--preset', 'deeplense_model1', '--n', 9, '--workers', 1)
    assert '9 lenses (3 none, 3 cdm, 3 vortex)' in r.stdout
    s = open_store(tmp_path/'a')
    assert s.images.shape == (9, 1, 150, 150) and s.meta['preset'] == 'deeplense_model1' and set(s.catalog['label']) == {1.}
    clumps = pd.read_parquet(tmp_path/'a'/CLUMPS)
    kind = s.catalog['kind'].to_numpy()
    assert sorted(clumps.groupby('row').size()) == [25]*3+[100]*3 and set(clumps['row']) == set(np.flatnonzero(kind != 'none'))
    run('lensnb-simulate', tmp_path/'b', '--kind', 'substructure', '--n', 4, '--workers', 1)
    assert open_store(tmp_path/'b').meta['honest']['profile'] == 'tnfw'


@pytest.mark.parametrize('args, said', [
    (['--kind', 'substructure', '--preset', 'deeplens'], 'There is no preset'),
    (['--kind', 'substructure', '--preset', 'deeplense_model1', '--survey', 'lsst'], 'has a camera of its own'),
    (['--kind', 'substructure', '--lens-frac', .5, '--families', 'hard'], 'no use for families, lens_frac'),
    (['--kind', 'substructure', '--pixels', 'composite8'], 'no use for pixels'),
    (['--kind', 'substructure', '--sources', 'nowhere'], 'no such folder'),
    (['--kind', 'substructure', '--preset', 'deeplense_model2', '--sources', 'nowhere'], 'go with the preset honest'),
    (['--preset', 'honest'], 'goes with --kind substructure')])
def test_bad_input(tmp_path, args, said):
    r = run('lensnb-simulate', tmp_path/'x', *args, '--n', 6, '--workers', 1, code=1)
    assert said in r.stderr and not (tmp_path/'x').exists()


def test_a_killed_job_goes_on(tmp_path):
    args = ['--kind', 'substructure', '--preset', 'deeplense_model2', '--n', 400, '--seed', 5, '--workers', '1']
    run('lensnb-simulate', tmp_path/'whole', *args)
    p = subprocess.Popen([BIN/'lensnb-simulate', tmp_path/'killed', *map(str, args)], stderr=subprocess.DEVNULL, start_new_session=True)
    blocks = tmp_path/'.killed.part'/'blocks'
    while not (blocks.is_dir() and list(blocks.glob('0*.parquet'))):
        assert p.poll() is None
        time.sleep(.02)
    os.killpg(p.pid, signal.SIGKILL)
    p.wait()
    assert 0 < len(list(blocks.glob('0*.parquet'))) < 13
    run('lensnb-simulate', tmp_path/'killed', *args)
    for f in ('images.npy', CLUMPS, 'catalog.parquet'): assert (tmp_path/'killed'/f).read_bytes() == (tmp_path/'whole'/f).read_bytes(), f
