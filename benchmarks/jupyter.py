"""How long do the starter notebooks take in JupyterLab? Each is opened in a browser, run from its menu, and read back

    pip install playwright jupyterlab                      # not needed by anything else here
    playwright install chromium                            # or apt-get install chromium, and --chromium chromium
    python benchmarks/jupyter.py                           # all starters, one after the other
    python benchmarks/jupyter.py start_find look           # some

JupyterLab serves a copy of the repository, so that saving changes nothing here. A headless browser opens a notebook by its address,
waits for a bare kernel, clicks "Run All Cells" in the menu, waits until the kernel is idle and every code cell has been executed,
and saves. The seconds are those between the click and the last idle kernel. A row each goes to benchmarks/results/jupyter.csv;
a notebook in which a cell failed, or was not reached, ends the script with status 1.
"""
import argparse
import csv
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parent.parent
TABLE = ROOT/'benchmarks'/'results'/'jupyter.csv'
FIELDS = ('notebook', 'seconds', 'cells', 'errors', 'quick', 'load')
STARTERS = ('start_find', 'start_explore', 'start_train', 'start_test', 'columns', 'ensembles', 'look', 'dark')
IDLE, BUSY = ('.jp-Notebook-ExecutionIndicator[data-status="idle"]', '.jp-Notebook-ExecutionIndicator[data-status="busy"]')


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def copy_of_repository(to):
    "What the notebooks read: themselves, the package, the tables, the weights"
    skip = shutil.ignore_patterns('.ipynb_checkpoints', '__pycache__', '_proc')
    for name in ('nbs', 'lensnb', 'weights', 'configs', 'benchmarks'): shutil.copytree(ROOT/name, to/name, ignore=skip, symlinks=True)
    for name in ('settings.ini', 'pyproject.toml', 'CONTRIBUTING.md'): shutil.copy(ROOT/name, to)


def code_cells(path): return [c for c in json.loads(path.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == 'code' and ''.join(c['source']).strip()]


def run_in_browser(page, url, path, longest, too_late):
    "Seconds that all cells took, by the clock of somebody who watches"
    page.goto(url, wait_until='domcontentloaded')
    page.wait_for_selector(IDLE, timeout=120_000, state='attached')
    for attempt in range(5):   # a page that is still arranging itself swallows clicks
        time.sleep(3)
        page.locator('.lm-MenuBar-itemLabel', has_text='Run').first.click()
        entry = page.locator('.lm-Menu-itemLabel').get_by_text('Run All Cells', exact=True)
        entry.wait_for()
        start = time.time()
        entry.click()
        try:
            page.wait_for_selector(BUSY, timeout=20_000, state='attached')
            break
        except too_late:
            if attempt == 4: raise
    while True:
        page.wait_for_selector(IDLE, timeout=max(1, longest-(time.time()-start))*1000, state='attached')
        end = time.time()
        time.sleep(2)
        if page.locator(IDLE).count() == 0: continue   # between two cells
        page.keyboard.press('Control+s')
        time.sleep(2)
        cells = code_cells(path)
        failed = any(o['output_type'] == 'error' for c in cells for o in c['outputs'])
        if failed or all(c['execution_count'] for c in cells) or time.time()-start > longest: return end-start


def main():
    p = argparse.ArgumentParser(description='Run the starter notebooks in JupyterLab and time them')
    p.add_argument('notebooks', nargs='*', help=f'of nbs/tutorials; default: {" ".join(STARTERS)}')
    p.add_argument('--jupyter', default=shutil.which('jupyter-lab', path=f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'), help='the command jupyter-lab')
    p.add_argument('--chromium', help="a Chromium to use instead of playwright's own")
    p.add_argument('--keep', type=Path, help='folder for the notebooks as JupyterLab has saved them')
    p.add_argument('--longest', type=float, default=1500, help='seconds a notebook may take')
    a = p.parse_args()
    names = a.notebooks or STARTERS
    if not a.jupyter: raise SystemExit('There is no jupyter-lab here. pip install jupyterlab, or name one with --jupyter.')
    if missing := [n for n in names if not (ROOT/'nbs'/'tutorials'/f'{n}.ipynb').is_file()]: raise SystemExit(f'There is no nbs/tutorials/{missing[0]}.ipynb.')
    try:
        from playwright.sync_api import TimeoutError as PlaywrightTimeout
        from playwright.sync_api import sync_playwright
    except ImportError: raise SystemExit('This needs a browser: pip install playwright, then playwright install chromium.') from None
    port, token, failed = free_port(), secrets.token_hex(16), []
    with tempfile.TemporaryDirectory() as tmp:
        copy_of_repository(Path(tmp))
        env = {**os.environ, 'PYTHONPATH': tmp, 'JUPYTER_CONFIG_DIR': f'{tmp}/.config', 'JUPYTER_DATA_DIR': f'{tmp}/.data'}
        env.pop('LENSNB_QUICK', None)
        server = subprocess.Popen([a.jupyter, '--no-browser', '--allow-root', f'--port={port}', f'--ServerApp.root_dir={tmp}', f'--IdentityProvider.token={token}', '--LabApp.news_url=none', '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate'], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            call = lambda path, method='GET': urllib.request.urlopen(urllib.request.Request(f'http://127.0.0.1:{port}{path}', method=method, headers={'Authorization': f'token {token}'}), timeout=30)
            for _ in range(120):
                try: call('/api/status'); break
                except OSError: time.sleep(1)
            with sync_playwright() as play:
                browser = play.chromium.launch(executable_path=a.chromium and shutil.which(a.chromium), args=['--no-sandbox'])
                for name in names:
                    path, page = Path(tmp)/'nbs'/'tutorials'/f'{name}.ipynb', browser.new_page()
                    seconds = run_in_browser(page, f'http://127.0.0.1:{port}/lab/tree/nbs/tutorials/{name}.ipynb?reset&token={token}', path, a.longest, PlaywrightTimeout)
                    cells = code_cells(path)
                    errors = sum(o['output_type'] == 'error' for c in cells for o in c['outputs'])
                    done = sum(c['execution_count'] is not None for c in cells)
                    row = dict(notebook=name, seconds=round(seconds), cells=done, errors=errors, quick='no', load=round(os.getloadavg()[1], 1))
                    if errors or done < len(cells): failed.append(f'{name}: {errors} cells failed, {len(cells)-done} of {len(cells)} were not run')
                    save(row)
                    if a.keep:
                        a.keep.mkdir(parents=True, exist_ok=True)
                        shutil.copy(path, a.keep)
                    print(row, flush=True)
                    page.close()
                    for s in json.load(call('/api/sessions')): call(f"/api/sessions/{s['id']}", 'DELETE')
                browser.close()
        finally:
            server.terminate()
            server.wait()
    if failed: raise SystemExit('\n'.join(failed))


def save(row):
    "Replace the row of a notebook, or add it"
    old = list(csv.DictReader(TABLE.open(encoding='utf-8'))) if TABLE.is_file() else []
    rows = {r['notebook']: r for r in old} | {row['notebook']: row}
    with TABLE.open('w', encoding='utf-8', newline='') as f:
        w = csv.DictWriter(f, FIELDS, lineterminator='\n')
        w.writeheader()
        w.writerows(rows[n] for n in (*STARTERS, *sorted(set(rows)-set(STARTERS))) if n in rows)


if __name__ == '__main__':
    main()
