"The documentation renders, every link, figure and public name is where it should be, and its pages can be read by everybody"
import re
from collections import Counter

import pytest
import render_docs

from lensnb.page import STYLE, details_block, page, table_block, text_block

LEAST = 4.5   # contrast of text that is not large (WCAG 2.1, AA)
ON = {'docs': dict(paper='ink soft link', side='ink link', box='ink word text number note error'), 'report': dict(paper='ink dim mark', card='ink dim mark', note='ink')}


def luminance(colour):
    "Relative luminance of #rgb or #rrggbb"
    h = colour.lstrip('#')
    h = h if len(h) == 6 else ''.join(c*2 for c in h)
    r, g, b = (c/12.92 if c <= .03928 else ((c+.055)/1.055)**2.4 for c in (int(h[i:i+2], 16)/255 for i in (0, 2, 4)))
    return .2126*r+.7152*g+.0722*b


def contrast(a, b):
    hi, lo = sorted((luminance(a), luminance(b)), reverse=True)
    return (hi+.05)/(lo+.05)


def schemes(css):
    "The variables of the light scheme, and of the dark one"
    light, dark = (dict(re.findall(r'--(\w+):(#[0-9a-f]+)', part)) for part in re.findall(r':root\{([^}]*)\}', css)[:2])
    return {'light': light, 'dark': {**light, **dark}}


def obstacles(text):
    "What keeps somebody who listens to a page, or has no mouse, from reading it"
    body = re.sub(r'<iframe\b[^>]*>|<script\b.*?</script>|<style\b.*?</style>', '', text, flags=re.S)
    if not re.search(r'<html\b[^>]*\blang="en"', body): yield 'no language'
    if not re.search(r'<title>[^<]+</title>', body): yield 'no title'
    if len(re.findall(r'<main\b', body)) != 1: yield 'not one main part'
    levels = [int(h) for h in re.findall(r'<h([1-6])\b', body)]
    if levels[:1] != [1] or levels.count(1) != 1: yield 'its title is not its one first heading'
    if jumps := [(a, b) for a, b in zip(levels, levels[1:], strict=False) if b > a+1]: yield f'headings jump from level {jumps[0][0]} to {jumps[0][1]}'
    if re.search(r'<th\b[^>]*>\s*</th>', body): yield 'a column head without words'
    for nav in re.findall(r'<nav\b[^>]*>', body):
        if 'aria-label=' not in nav and 'role="doc-toc"' not in nav: yield f'a navigation without a name: {nav}'
    for attributes, inside in re.findall(r'<a\b([^>]*)>(.*?)</a>', body, re.S):
        if 'href=' in attributes and 'aria-hidden="true"' not in attributes and not re.sub(r'<(?!img)[^>]*>', '', inside).strip(): yield f'a link without words:{attributes}'
    ids = Counter(re.findall(r'\bid="([^"]+)"', body))
    if twice := [i for i, n in ids.items() if n > 1]: yield f'the id {twice[0]} comes twice'


@pytest.mark.parametrize('name,css', [('docs', render_docs.CSS), ('report', STYLE)])
def test_colours(name, css):
    for scheme, colour in schemes(css).items():
        for ground, inks in ON[name].items():
            for ink in inks.split(): assert contrast(colour[ink], colour[ground]) >= LEAST, f'{scheme}: {ink} on {ground}'


def test_pages_of_the_commands():
    import pandas as pd
    table = table_block(pd.DataFrame({'': ['a'], 'n': [1]}), 'A table.', 'Heading')
    assert list(obstacles(page('Title', [text_block('Words.', 'Verdict'), table, details_block('config', 'a: 1')]))) == []


def test_obstacles_are_seen():
    assert abs(contrast('#fff', '#000')-21) < 1e-9
    bad = '<html><title></title><h2>a</h2><h4 id="x">b</h4><table><th></th></table><nav></nav><a href="y" id="x"></a>'
    assert len(list(obstacles(bad))) == 9


def test_site():
    assert render_docs.main() == []
    found = {p.name: o for p in sorted((render_docs.ROOT/'_docs').glob('*.html')) if (o := list(obstacles(p.read_text(encoding='utf-8'))))}
    assert found == {}
