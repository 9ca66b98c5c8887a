"""What the documentation needs beside nbdev's own processing: a sidebar by floors, the opening words of a page, and an alternative text for every figure

`python tests/site_parts.py` writes nbs/sidebar.yml; the publishing workflow runs it before `nbdev-docs`,
with tests/ on PYTHONPATH, so that nbdev finds the processors (doc_procs in pyproject.toml). `make docs` does the same.
"""
import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
STARTERS = 'start start_find start_explore start_train start_test columns ensembles look dark'.split()   # first in the sidebar, in this order


def title(path):
    "The first heading of a notebook"
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    return next((m[1].strip() for c in cells if c['cell_type'] == 'markdown' and (m := re.match(r'#\s+(.+)', ''.join(c['source'])))), path.stem)


def floors():
    "Digit of a floor -> its name and the rooms on it, from the table in CONTRIBUTING.md"
    rows = re.findall(r'^\| (\d) ([^|]+?) \|([^|]+)\|', (ROOT/'CONTRIBUTING.md').read_text(encoding='utf-8'), re.M)
    return {digit: (name, re.findall(r'`(\w+)`', rooms)) for digit, name, rooms in rows}


def floor_of(path, known=None):
    "The floor that a room is on; one that the table does not name yet is on that of its number"
    return next((d for d, (_, rooms) in (known or floors()).items() if path.stem[3:] in rooms), path.name[0])


def sections(nbs=ROOT/'nbs'):
    "What the sidebar shows: (name of a section, its notebooks, relative to nbs/)"
    guides = sorted((nbs/'tutorials').glob('*.ipynb'), key=lambda p: title(p).lower())
    yield 'Start here', [f'tutorials/{n}.ipynb' for n in STARTERS if nbs/'tutorials'/f'{n}.ipynb' in guides]
    yield 'Guides', [p.relative_to(nbs).as_posix() for p in guides if p.stem not in STARTERS]
    known, rooms = floors(), sorted(nbs.glob('[0-9][0-9]_*.ipynb'))
    for digit, (name, _) in known.items():
        yield f'{digit} {name}', [p.name for p in rooms if floor_of(p, known) == digit]


def sidebar(nbs=ROOT/'nbs'):
    "The sidebar as Quarto takes it"
    contents = ['index.ipynb', *({'section': name, 'contents': pages} for name, pages in sections(nbs))]
    return {'website': {'sidebar': {'contents': contents}}}


def write_sidebar(nbs=ROOT/'nbs'):
    (nbs/'sidebar.yml').write_text(yaml.dump(sidebar(nbs), sort_keys=False, allow_unicode=True), encoding='utf-8')


def plain(text):
    "Markdown without its marks"
    text = re.sub(r'!?\[([^\]]*)\]\([^)]*\)', r'\1', text)
    return re.sub(r'\s+', ' ', re.sub(r'[*`$\\"]|(?<!\w)_|_(?!\w)', '', text)).strip()


def what_it_says(prose, most=200):
    "The sentence of a passage that says what the next figure shows: the first of its last paragraph, or the heading"
    parts = [p.strip() for p in re.split(r'\n\s*\n', prose) if p.strip()]
    said = [plain(p) for p in parts if not re.match(r'#|\||!\[|```|\$\$|[-*] ', p)] or [plain(p.lstrip('# ')) for p in parts]
    if not said: return ''
    first = re.match(r'.+?[.?!:](?=\s|$)', said[-1])
    s = first[0].rstrip(':') if first else said[-1]
    return s if len(s) <= most else s[:most].rsplit(' ', 1)[0] + ' …'


class Opening:
    "An nbdev processor: what the first cell says below title and promise stays on the page; nbdev takes the whole cell for its header"
    def __init__(self, nb):
        from nbdev.processors import mk_cell
        first = next((i for i, c in enumerate(nb.cells) if c.cell_type == 'markdown'), None)
        if first is None: return
        head = re.match(r'\s*# .*\n+(?:>.*(?:\n|$))*(?:\s*- [\w-]+:.*(?:\n|$))*', nb.cells[first].source)
        if not head or not (rest := nb.cells[first].source[head.end():].strip()): return
        nb.cells[first].source = head[0].strip()
        nb.cells.insert(first+1, mk_cell(rest, 'markdown'))


class AltText:
    "An nbdev processor: a figure without `fig-alt` or `fig-cap` gets what the prose above says it shows"
    def __init__(self, nb): self.nb, self.prose = nb, ''

    def __call__(self, cell):
        source = ''.join(cell.source)
        if cell.cell_type == 'markdown': self.prose = source
        if cell.cell_type != 'code' or not any(k.startswith('image/') for o in cell.get('outputs', []) for k in o.get('data', {})): return
        if re.search(r'^#\|\s*fig-(alt|cap):', source, re.M): return
        if alt := what_it_says(self.prose): cell.source = f'#| fig-alt: "{alt}"\n{source}'


if __name__ == '__main__':
    write_sidebar()
