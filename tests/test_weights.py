"Everything in weights/ is complete, is what its card says, and can be loaded"
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from lensnb.anomaly import KINDS, load_anomaly
from lensnb.committee import find_members
from lensnb.config import load_config
from lensnb.report import report_run
from lensnb.weights import load_weights, read_card, short_names

ROOT = Path(__file__).parent.parent
FOLDERS = sorted(p.parent for p in (ROOT/'weights').glob('*/card.json'))
ENSEMBLES = [p for p in FOLDERS if json.loads((p/'card.json').read_text()).get('kind') == 'ensemble']
NETWORKS = [p for p in FOLDERS if p not in ENSEMBLES]


@pytest.mark.parametrize('folder', NETWORKS, ids=lambda p: p.name)
def test_network_is_what_its_card_says(folder):
    card = read_card(folder)
    (load_anomaly if card.architecture in KINDS else load_weights)(folder)   # refuses a wrong checksum or other tensors
    cfg, history = load_config(folder/'config.yaml'), pd.read_csv(folder/'history.csv') if (folder/'history.csv').is_file() else None
    assert card.name == folder.name and card.architecture == cfg.model.name
    assert card.metrics and card.data and card.threshold_from and card.licence
    if card.n_out == 1 and card.architecture not in KINDS: assert card.calibration['method'] != 'none' or folder.name.startswith('small-')
    if history is not None: assert len(history) == cfg.train.epochs or cfg.train.patience
    assert all(str(ROOT) not in p.read_text() and '/tmp' not in p.read_text() for p in folder.iterdir() if p.suffix in ('.json', '.yaml', '.csv'))


@pytest.mark.parametrize('folder', ENSEMBLES, ids=lambda p: p.name)
def test_ensemble_has_its_members(folder):
    card, members = find_members(folder)
    assert card.name == folder.name and {read_card(p).sha256 for p in members.values()} == {m['sha256'] for m in card.members}


def test_all_together_are_light(): assert sum(p.stat().st_size for p in (ROOT/'weights').rglob('*') if p.is_file()) < 100e6


def test_short_names_stand_for_weights():
    assert {'default', 'composite', 'vis'} <= set(short_names())
    assert read_card(ROOT/'weights'/short_names()['vis']).bands == ('VIS',)
    assert read_card(ROOT/'weights'/short_names()['default']).pixels == 'flux' and read_card(ROOT/'weights'/short_names()['composite']).pixels == 'composite8'


@pytest.mark.parametrize('table, column', [('zoo_test.csv', 'entry'), ('composites.csv', 'finder'), ('composites_far.csv', 'finder'), ('ensemble_test.csv', 'finder')])
def test_every_row_of_a_result_table_has_its_weights(table, column):
    path = ROOT/'benchmarks'/'results'/table
    if not path.is_file(): pytest.skip(f'{table} has not been made yet')
    rows = {o.replace('_', '-') for o in pd.read_csv(path)[column] if not o.startswith('together')}
    assert rows and rows <= {p.name for p in FOLDERS}


ENTRIES = [p.stem.replace('_', '-') for p in (ROOT/'configs'/'zoo').glob('*.yaml')]
ZOO = [p.name for p in NETWORKS if re.sub(r'-seed\d$', '', p.name) in ENTRIES]


@pytest.mark.parametrize('name', ZOO)
def test_reports_of_the_zoo_open(name, tmp_path):
    "The page of the training beside the weights, and the one that lensnb-report makes of the released folder"
    beside = (ROOT/'weights'/name/'report.html').read_text(encoding='utf-8')
    again = report_run(ROOT/'weights'/name, tmp_path/'report.html').read_text(encoding='utf-8')
    for page in (beside, again):
        assert page.rstrip().endswith('</html>') and name in re.search('<title>(.*?)</title>', page)[1]
        assert '<h2>Training' in page and 'Weight card' in page and '<img' in page
    assert '<h2>ROC curve' in beside and str(ROOT) not in beside   # drawn from the scores of the run, which are too large to be released
