"""Pages under an accessibility check: the site and the pages that the commands leave, in a light and a dark scheme

    make docs                                                        # the site, in _docs/
    .venv/bin/python benchmarks/accessibility.py make                # small pages of test, report, find and substructure, in runs/accessibility/
    apt-get install chromium                                         # or any Chromium; --browser says where it is
    python3 -m venv ~/axe && ~/axe/bin/pip install axe-playwright-python
    ~/axe/bin/python benchmarks/accessibility.py check               # axe-core on all of them; --pictures FOLDER leaves screenshots
    ~/axe/bin/python benchmarks/accessibility.py check --all         # every page of the site

axe-core and Chromium are no dependencies of lensnb, so that the check has a virtual environment of its own. What it finds goes to
benchmarks/results/accessibility.csv: page, scheme, rule, impact, nodes, an example. A page without findings has one row without a rule.
The exit status is 1 where anything serious or critical is left. What can be known without a browser is checked by tests/test_docs.py.
"""
import argparse
import csv
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
MADE = ROOT/'runs'/'accessibility'
SITE = ('index', 'tutorials-look', 'tutorials-commands', 'cutouts', 'tutorials-zoo')
PAGES = {'test': 'scores/report.html', 'run': 'run/report.html', 'compare': 'compared/report.html', 'find': 'found/index.html', 'substructure': 'dark/index.html'}
WIDTHS = {'wide': 1400, 'narrow': 400}
AXE = dict(resultTypes=['violations'], runOnly=dict(type='tag', values=['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']))


def make():
    "One page of each command, on a small simulated sky"
    shutil.rmtree(MADE, ignore_errors=True)
    MADE.mkdir(parents=True)
    def run(name, *args): subprocess.run([Path(sys.executable).parent/f'lensnb-{name}', *map(str, args)], cwd=MADE, check=True)
    run('simulate', 'sky', '--n', 80, '--seed', 5)
    run('simulate', 'clumps', '--kind', 'substructure', '--preset', 'deeplense_model1', '--n', 6, '--seed', 5)
    run('train', '--data', 'sky', '--out', 'run', 'train.epochs=1')
    run('test', '--weights', 'small-flux', '--data', 'sky', '--out', 'scores', '--cam', '--cam-top', 6)
    run('test', '--weights', 'run', '--data', 'sky', '--out', 'others')
    run('report', 'scores', 'others', '--out', 'compared')
    run('find', 'sky', '--weights', 'small-flux', '--out', 'found', '--budget', 12)
    run('substructure', 'clumps', '--weights', 'deeplense-model1', '--out', 'dark')


def targets(every=False):
    "Name of a page -> its file"
    site = [p.stem for p in sorted((ROOT/'_docs').glob('*.html'))] if every else SITE
    return {**{f'site: {n}': ROOT/'_docs'/f'{n}.html' for n in site}, **{f'page: {n}': MADE/f for n, f in PAGES.items()}}


def check(browser=None, every=False, pictures=None):
    "Rows of findings, page by page, in both schemes; and the pages that are wider than a narrow window"
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright
    rows, wide = [], []
    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=browser or shutil.which('chromium') or shutil.which('google-chrome'), args=['--no-sandbox'])
        for name, path in targets(every).items():
            if not path.is_file(): raise SystemExit(f'{path} is not there: run make docs, and this with make.')
            for scheme in ('light', 'dark'):
                page = chromium.new_page(color_scheme=scheme, viewport=dict(width=WIDTHS['wide'], height=900))
                page.goto(path.resolve().as_uri())
                found = Axe().run(page, options=AXE).response['violations']
                rows += [dict(page=name, scheme=scheme, rule=v['id'], impact=v['impact'], nodes=len(v['nodes']), example=v['nodes'][0]['html'][:160].replace('\n', ' ')) for v in found]
                if not found: rows.append(dict(page=name, scheme=scheme, rule='', impact='', nodes=0, example=''))
                page.close()
            for kind, width in WIDTHS.items():
                page = chromium.new_page(viewport=dict(width=width, height=900), device_scale_factor=1)
                page.goto(path.resolve().as_uri())
                if (inner := page.evaluate('document.documentElement.scrollWidth')) > width: wide.append(f'{name}: {inner} pixels wide in a window of {width}')
                if pictures:
                    Path(pictures).mkdir(parents=True, exist_ok=True)
                    page.screenshot(path=f'{pictures}/{name.split(": ")[1]}-{kind}.png', clip=dict(x=0, y=0, width=width, height=2400), full_page=True)
                page.close()
        chromium.close()
    return rows, wide


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('what', choices=['make', 'check'])
    p.add_argument('--browser', help='Chromium or Chrome; default: the one on the path')
    p.add_argument('--all', action='store_true', help='every page of the site; nothing is written to results/')
    p.add_argument('--pictures', help='folder for screenshots')
    a = p.parse_args()
    if a.what == 'make': return make()
    rows, wide = check(a.browser, a.all, a.pictures)
    for r in rows:
        if r['rule']: print(f"{r['impact'] or '-':9} {r['page']:24} {r['scheme']:6} {r['rule']:32} {r['nodes']:4}  {r['example'][:90]}")
    print(*wide, sep='\n')
    bad = [r for r in rows if r['impact'] in ('serious', 'critical')]
    print(f"{len({r['page'] for r in rows})} pages in two schemes: {len([r for r in rows if r['rule']])} findings, {len(bad)} of them serious or critical; {len(wide)} windows too narrow for their page")
    if not a.all:
        with (ROOT/'benchmarks'/'results'/'accessibility.csv').open('w', newline='', encoding='utf-8') as f:
            w = csv.DictWriter(f, rows[0].keys(), lineterminator='\n')
            w.writeheader()
            w.writerows(rows)
    return bool(bad)


if __name__ == '__main__':
    sys.exit(main())
