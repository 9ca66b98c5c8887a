"Run every notebook with nbdev's own runner, one pytest case each, so that the summary counts them"
import os
from pathlib import Path

import pytest
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.test import test_nb as run_nb  # not under its own name, or pytest collects it

cfg = get_config(Path(__file__).parent.parent)
flags = cfg.tst_flags.split() if isinstance(cfg.tst_flags, str) else cfg.tst_flags
files = sorted(nbglob(cfg.nbs_path, as_path=True))


@pytest.mark.parametrize('fn', files, ids=lambda p: str(Path(p).relative_to(cfg.nbs_path)))
def test_notebook(fn, capsys, monkeypatch):
    monkeypatch.chdir(Path(fn).parent)
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.setenv('LENSNB_QUICK', '1')   # less work in the slow cells of the starter notebooks
    before = dict(os.environ)   # notebooks run in this process: what one sets must not reach the next
    try: ok, _ = run_nb(Path(fn).absolute(), skip_flags=flags, basepath=cfg.config_path)
    finally: os.environ.clear(); os.environ.update(before)
    assert ok, capsys.readouterr().err
