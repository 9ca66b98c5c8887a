"""Render the documentation to _docs/ and check it: links, figures, and an anchor for every public name.

The published site is made by Quarto from the same processed notebooks; this needs nothing but Python,
since pypandoc_binary carries pandoc. Run it as `make docs`.
"""
import base64
import html
import importlib
import json
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
DIRECTIVE = re.compile(r'^#\s*\|\s*([\w-]+)\s*:?\s*(.*)$')
CSS = '''
body{font:16px/1.55 system-ui,sans-serif;color:#1d2330;max-width:56rem;margin:0 auto;padding:0 2rem 4rem 17rem}
nav.side{position:fixed;left:0;top:0;width:12.5rem;height:100%;overflow:auto;background:#f4f6f9;padding:1rem 1.2rem;font-size:.92em}
nav.side ul{list-style:none;padding:0}nav.side a{display:block;padding:.12rem 0;color:#27405f;text-decoration:none}
h1.title{margin:1.6rem 0 0}p.subtitle{font-size:1.2rem;color:#667;margin:.2rem 0 1.4rem}
pre{background:#f6f7f9;padding:.6rem .8rem;overflow:auto;font-size:.84em;line-height:1.4;border-radius:4px}code{font-size:.92em}
.out pre{background:none;border-left:2px solid #f2a27b;border-radius:0;margin-left:.8rem}
table{border-collapse:collapse;font-size:.9em;display:block;overflow:auto}td,th{padding:.2rem .7rem;border-bottom:1px solid #dde;text-align:left;vertical-align:top}
img{max-width:100%}#TOC{font-size:.9em;border-left:3px solid #dde;padding-left:.5rem}#TOC ul{padding-left:1.2rem}
'''


def pandoc():
    import pypandoc
    return pypandoc.get_pandoc_path()


def process():
    "nbdev's own processing: sidebar, show_doc cells, links to symbols"
    from nbdev.config import get_config
    from nbdev.doclinks import _build_modidx
    from nbdev.quarto import nbdev_sidebar, refresh_quarto_yml
    from nbdev.serve import proc_nbs
    cfg = get_config(ROOT)
    shutil.rmtree(ROOT/'_proc', ignore_errors=True)
    refresh_quarto_yml()
    _build_modidx(skip_exists=True)
    nbdev_sidebar.__wrapped__(path=cfg.nbs_path)
    proc_nbs(cfg.nbs_path, n_workers=0)
    return ROOT/'_proc'


def cell_markdown(cell, figures, stem):
    "One cell as pandoc Markdown; figures go to files"
    s = ''.join(cell['source'])
    if cell['cell_type'] == 'markdown': yield s; return
    lines, d = s.split('\n'), {}
    while lines and (m := DIRECTIVE.match(lines[0])): d[m[1]] = m[2].strip(); lines.pop(0)
    if d.get('include') == 'false' or 'hide' in d: return
    if d.get('echo') != 'false' and ''.join(lines).strip(): yield '```python\n' + '\n'.join(lines) + '\n```'
    if d.get('output') == 'false': return
    for o in cell.get('outputs', []):
        data = {k: ''.join(v) if isinstance(v, list) else v for k, v in o.get('data', {}).items()}
        if kind := next((k for k in ('png', 'jpeg') if f'image/{k}' in data), None):
            name = f'{stem}-{sum(1 for _ in figures.glob(stem+"-*"))+1}.{kind}'
            (figures/name).write_bytes(base64.b64decode(data[f'image/{kind}']))
            yield f'![{d.get("fig-cap", "")}]({figures.name}/{name})'
        elif 'text/markdown' in data: yield data['text/markdown']
        elif 'text/html' in data: yield data['text/html']
        elif 'text/plain' in data: yield '::: {.out}\n```\n' + data['text/plain'] + '\n```\n:::'
        elif o['output_type'] == 'stream' and o['name'] == 'stdout': yield '::: {.out}\n```\n' + ''.join(o['text']) + '\n```\n:::'
        elif o['output_type'] == 'error': raise SystemExit(f'{stem}: an error is saved in the notebook')


def build(proc, out):
    "Every processed notebook as a page"
    shutil.rmtree(out, ignore_errors=True)
    figures = out/'figures'
    figures.mkdir(parents=True)
    if (proc/'images').is_dir(): shutil.copytree(proc/'images', out/'images')
    nbs = {f.relative_to(proc).as_posix(): json.loads(f.read_text(encoding='utf-8')) for f in sorted(proc.rglob('*.ipynb'))}
    meta = {n: next((yaml.safe_load(''.join(c['source']).strip().strip('-')) or {} for c in nb['cells'] if c['cell_type'] == 'raw'), {}) for n, nb in nbs.items()}
    page = {n: '-'.join([*Path(n).parent.parts, meta[n].get('output-file', Path(n).stem + '.html')]) for n in nbs}   # of folders too, side by side
    nav = ''.join(f'<li><a href="{page[n]}">{html.escape(str(meta[n].get("title", n)))}</a></li>' for n in sorted(nbs, key=lambda n: (n != 'index.ipynb', n)))
    head, side = out/'.head.html', out/'.side.html'
    head.write_text(f'<style>{CSS}</style>')
    side.write_text(f'<nav class="side"><b><a href="index.html">lensnb</a></b><ul>{nav}</ul></nav>')
    for n, nb in nbs.items():
        md = '\n\n'.join(x for c in nb['cells'] if c['cell_type'] != 'raw' for x in cell_markdown(c, figures, n.removesuffix('.ipynb').replace('/', '-')))
        md = re.sub(r'\]\(([\w./-]+\.ipynb)(?=[)#])', lambda m, n=n: "](" + page.get(posixpath.normpath(f'{posixpath.dirname(n)}/{m[1]}').lstrip('/'), m[1]), md)   # as Quarto does
        subprocess.run([pandoc(), '-f', 'markdown', '-t', 'html5', '-s', '--toc', '--toc-depth=3', '--mathml', '-H', head, '-B', side,
                        '-M', f'title={meta[n].get("title", n)}', '-M', f'subtitle={meta[n].get("description") or ""}', '-o', out/page[n]], input=md, text=True, check=True)
    head.unlink()
    side.unlink()
    return page


def problems(out, lib='lensnb'):
    "Broken local links and figures, links to anchors that are not there, public names without an anchor"
    pages = {f.name: f.read_text(encoding='utf-8') for f in out.glob('*.html')}
    for name, text in pages.items():
        for url in re.findall(r'(?:href|src)="([^"]+)"', text):
            if re.match(r'[a-z]+:', url): continue
            path, _, anchor = url.partition('#')
            if path and not (out/path).exists(): yield f'{name}: broken link {url}'
            elif anchor and anchor not in re.findall(r'id="([^"]+)"', pages.get(path or name, f'id="{anchor}"')): yield f'{name}: no such place {url}'
    sys.path.insert(0, str(ROOT))
    for mod, syms in importlib.import_module(f'{lib}._modidx').d['syms'].items():
        for sym, (url, _) in syms.items():
            short, (file, anchor) = sym[len(mod)+1:], url.split('#')
            if '.' not in short and not short.startswith('_') and f'id="{anchor}"' not in pages.get(file, ''): yield f'{file}: {sym} has no entry'


def main():
    out = ROOT/'_docs'
    pages = build(process(), out)
    bad = list(problems(out))
    print(f'{len(pages)} pages, {sum(1 for _ in (out/"figures").iterdir())} figures in {out.name}/;', 'problems:\n' + '\n'.join(bad) if bad else 'no broken links')
    return bad


if __name__ == '__main__':
    sys.exit(bool(main()))
