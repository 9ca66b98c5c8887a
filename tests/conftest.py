import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import command  # noqa: E402

os.environ.setdefault('MPLBACKEND', 'agg')
os.environ.setdefault('WANDB_MODE', 'offline')
BIN = Path(sys.executable).parent


FORKS = multiprocessing.get_context('forkserver')   # importing PyTorch and its companions takes longer than most commands
FORKS.set_forkserver_preload(['lensnb.cli', 'lensnb.learner', 'lensnb.predict', 'lensnb.report', 'lensnb.simulate', 'lensnb.calibrate', 'lensnb.track', 'command'])


def run(*args, code=0):
    "Run an installed command; the exit status must be as said, and never a traceback"
    with tempfile.TemporaryDirectory() as tmp:
        out, err = Path(tmp)/'out', Path(tmp)/'err'
        p = FORKS.Process(target=command.call, args=([str(BIN/args[0]), *map(str, args[1:])], os.getcwd(), dict(os.environ), str(out), str(err)))
        p.start()
        p.join()
        r = subprocess.CompletedProcess(args, p.exitcode, out.read_text(), err.read_text())
    assert 'Traceback' not in r.stderr, r.stderr
    assert r.returncode == code, r.stderr + r.stdout
    return r


@pytest.fixture(scope='session')
def work(tmp_path_factory): return tmp_path_factory.mktemp('lensnb')


def _trained(work, pixels):
    "A store and a network that has hardly learned anything: what it is worth does not matter here"
    store, out = work/f'{pixels}-store', work/f'{pixels}-run'
    run('lensnb-simulate', store, '--n', 80, '--seed', 1, '--workers', 1, '--pixels', pixels)
    run('lensnb-train', 'train.epochs=1', 'train.precision=fp32', '--data', store, '--out', out)
    return store, out


@pytest.fixture(scope='session')
def flux(work): return _trained(work, 'flux')


@pytest.fixture(scope='session')
def composite(work): return _trained(work, 'composite8')


@pytest.fixture(scope='session')
def ten(work):
    "Ten flux cutouts with labels, bands g r i at 0.2 arcsec, as arrays ready to be written in any format"
    from lensnb.simulate import get_survey, simulate_one
    survey, rng = get_survey('lsst'), np.random.default_rng(5)
    images = np.stack([simulate_one(survey, rng, 'lens' if i < 5 else 'etg')[0] for i in range(10)])
    return images, pd.DataFrame(dict(id=[f'obj{i}' for i in range(10)], label=[1]*5+[0]*5)), survey
