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
from site_parts import sections, write_sidebar

ROOT = Path(__file__).parent.parent
HEAVIEST = 300_000   # bytes of a figure
DIRECTIVE = re.compile(r'^#\s*\|\s*([\w-]+)\s*:?\s*(.*)$')
CSS = '''
:root{color-scheme:light dark;--ink:#1d2330;--paper:#fff;--soft:#586273;--side:#f4f6f9;--link:#1f4e8c;--box:#f6f7f9;--line:#dde;--word:#00588f;--text:#1b6b3a;--number:#8a3b00;--note:#5a6270;--error:#a4002c}
@media(prefers-color-scheme:dark){:root{--ink:#dfe4ec;--paper:#171a21;--soft:#9aa6b8;--side:#1e222b;--link:#8db9f2;--box:#20252e;--line:#3a4250;--word:#7cc4ff;--text:#8fd6a2;--number:#f0b27a;--note:#a3adbb;--error:#ff9aa8}img{background:#fff}}
html{background:var(--paper)}body{font:16px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:56rem;margin:0 auto;padding:0 2rem 4rem 17rem}a{color:var(--link)}
nav.side{position:fixed;left:0;top:0;width:12.5rem;height:100%;overflow:auto;background:var(--side);padding:1rem 1.2rem;font-size:.92em}
nav.side ul{list-style:none;padding:0;margin:.2rem 0}nav.side a{display:block;padding:.12rem 0;color:var(--link);text-decoration:none}nav.side summary{cursor:pointer;font-weight:600;margin-top:.5rem}
nav.side .here{font-weight:700}h1.title{margin:1.6rem 0 0}p.subtitle{font-size:1.2rem;color:var(--soft);margin:.2rem 0 1.4rem}.top{display:none}
pre,div.sourceCode{background:var(--box);border-radius:4px}pre{padding:.6rem .8rem;overflow:auto;font-size:.84em;line-height:1.4}code{font-size:.92em}div.sourceCode pre{background:none}
code span,code span.st,code span.ss{color:var(--ink)}code span:is(.kw,.cf,.im){color:var(--word)}code span:is(.st,.ss,.vs,.ch,.sc){color:var(--text)}code span:is(.dv,.bn,.fl,.cn,.va){color:var(--number)}code span:is(.co,.do,.an,.cv,.in){color:var(--note)}
code span:is(.fu,.bu,.op,.at,.dt,.ot,.pp,.ex){color:var(--ink)}code span:is(.er,.al,.wa){color:var(--error)}
.out pre{background:none;border-left:2px solid #f2a27b;border-radius:0;margin-left:.8rem}
table{border:0;border-collapse:collapse;font-size:.9em;display:block;overflow:auto}td,th{padding:.2rem .7rem;border:0;border-bottom:1px solid var(--line);text-align:left!important;vertical-align:top}
img{max-width:100%;height:auto}figure{margin:1rem 0}figcaption{color:var(--soft);font-size:.9em}#TOC{font-size:.9em;border-left:3px solid var(--line);padding-left:.5rem}#TOC ul{padding-left:1.2rem}
@media(max-width:60rem){body{display:flex;flex-direction:column;padding:0 1rem 3rem}main{min-width:0}nav.side{order:2;position:static;box-sizing:border-box;width:100%;height:auto;margin-top:2rem}p,li{overflow-wrap:anywhere}
.top{display:flex;justify-content:space-between;padding:.6rem 0;border-bottom:1px solid var(--line)}}
'''


def pandoc():
    import pypandoc
    return pypandoc.get_pandoc_path()


def process():
    "nbdev's own processing, with our sidebar and alternative texts: show_doc cells, links to symbols"
    from nbdev.config import get_config
    from nbdev.doclinks import _build_modidx
    from nbdev.quarto import refresh_quarto_yml
    from nbdev.serve import proc_nbs
    cfg = get_config(ROOT)
    shutil.rmtree(ROOT/'_proc', ignore_errors=True)
    refresh_quarto_yml()
    _build_modidx(skip_exists=True)
    write_sidebar()
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
            alt = html.escape((d.get('fig-alt') or d.get('fig-cap') or '').strip('"\''))
            yield f'![{d.get("fig-cap", "")}]({figures.name}/{name}){{alt="{alt}"}}'
        elif 'text/markdown' in data: yield data['text/markdown']
        elif 'text/html' in data: yield '```{=html}\n' + data['text/html'] + '\n```'   # as it is: two dashes stay two dashes
        elif 'text/plain' in data: yield '::: {.out}\n```\n' + data['text/plain'] + '\n```\n:::'
        elif o['output_type'] == 'stream' and o['name'] == 'stdout': yield '::: {.out}\n```\n' + ''.join(o['text']) + '\n```\n:::'
        elif o['output_type'] == 'error': raise SystemExit(f'{stem}: an error is saved in the notebook')


def navigation(here, page, meta):
    "The pages by section, the present one marked and its section open"
    def link(n): return f'<li><a href="{page[n]}"{" class=here" if n == here else ""}>{html.escape(str(meta[n].get("title", n)))}</a></li>'
    parts = [f'<details{" open" if name in ("Start here", "Guides") or here in some else ""}><summary>{html.escape(name)}</summary><ul>{"".join(map(link, some))}</ul></details>' for name, some in sections()]
    home = f'<a href="{page["index.ipynb"]}">lensnb</a>'
    return f'<nav class="top" aria-label="top">{home}<a href="#pages">all pages</a></nav><nav class="side" id="pages" aria-label="pages"><b>{home}</b>{"".join(parts)}</nav><main>'


def reachable(text):
    "What scrolls can be reached by keyboard, and an empty cell is no head of a column"
    text = re.sub(r'<(div class="sourceCode"|pre(?! class="sourceCode)|table)(?=[ >])', r'<\1 tabindex="0"', text)
    return re.sub(r'<th(?: [^>]*)?>\s*</th>', '<td></td>', text)


def build(proc, out):
    "Every processed notebook as a page"
    shutil.rmtree(out, ignore_errors=True)
    figures = out/'figures'
    figures.mkdir(parents=True)
    if (proc/'images').is_dir(): shutil.copytree(proc/'images', out/'images')
    nbs = {f.relative_to(proc).as_posix(): json.loads(f.read_text(encoding='utf-8')) for f in sorted(proc.rglob('*.ipynb'))}
    meta = {n: next((yaml.safe_load(''.join(c['source']).strip().strip('-')) or {} for c in nb['cells'] if c['cell_type'] == 'raw'), {}) for n, nb in nbs.items()}
    page = {n: '-'.join([*Path(n).parent.parts, meta[n].get('output-file', Path(n).stem + '.html')]) for n in nbs}   # of folders too, side by side
    head, side, foot = out/'.head.html', out/'.side.html', out/'.foot.html'
    foot.write_text('</main>')
    icon = '<link rel="icon" href="images/favicon.svg" type="image/svg+xml">' if (out/'images'/'favicon.svg').exists() else ''
    head.write_text(f'<meta name="viewport" content="width=device-width">{icon}<style>{CSS}</style>')
    for n, nb in nbs.items():
        md = '\n\n'.join(x for c in nb['cells'] if c['cell_type'] != 'raw' for x in cell_markdown(c, figures, n.removesuffix('.ipynb').replace('/', '-')))
        md = re.sub(r'\]\(([\w./-]+\.ipynb)(?=[)#])', lambda m, n=n: "](" + page.get(posixpath.normpath(f'{posixpath.dirname(n)}/{m[1]}').lstrip('/'), m[1]), md)   # as Quarto does
        side.write_text(navigation(n, page, meta), encoding='utf-8')
        subprocess.run([pandoc(), '-f', 'markdown', '-t', 'html5', '-s', '--toc', '--toc-depth=3', '--mathml', '-H', head, '-B', side, '-A', foot, '-M', 'lang=en',
                        '-M', f'title={meta[n].get("title", n)}', '-M', f'subtitle={meta[n].get("description") or ""}', '-o', out/page[n]], input=md, text=True, check=True)
        (out/page[n]).write_text(reachable((out/page[n]).read_text(encoding='utf-8')), encoding='utf-8')
    for o in (head, side, foot): o.unlink()
    return page, meta


def problems(out, meta=None, lib='lensnb'):
    "Broken local links, figures that are too heavy or say nothing, places that are not there, public names without an anchor, pages without a description"
    for n, m in (meta or {}).items():
        if not str(m.get('description') or '').strip(): yield f'{n}: no description; write "> a promise" below the title'
    for f in sorted(out.rglob('*')):
        if f.suffix in ('.png', '.jpg', '.jpeg', '.svg') and f.stat().st_size > HEAVIEST: yield f'{f.relative_to(out)}: {f.stat().st_size//1000} kB; a figure may have {HEAVIEST//1000}'
    pages = {f.name: f.read_text(encoding='utf-8') for f in out.glob('*.html')}
    for name, text in pages.items():
        for img in re.findall(r'<img\b[^>]*>', text):
            if not re.search(r'\balt="[^"]+"', img): yield f'{name}: a figure without alternative text; write "#| fig-alt: ..." into its cell, or a sentence above: {img[:90]}'
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
    pages, meta = build(process(), out)
    bad = list(problems(out, meta))
    print(f'{len(pages)} pages, {sum(1 for _ in (out/"figures").iterdir())} figures in {out.name}/;', 'problems:\n' + '\n'.join(bad) if bad else 'no broken links')
    return bad


if __name__ == '__main__':
    sys.exit(bool(main()))
