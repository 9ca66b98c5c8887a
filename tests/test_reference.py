"""Every public name says what it is, in which shape and unit, and is shown at work

A public name is one in the `__all__` of a module. The rules:

- **A sentence.** A function or class has a docstring, and so has every public method of a class, but for those that a framework calls
  by name (`forward`, fastai's events). A constant has a comment, at the end of one of its lines or above it.
- **Every parameter and the return value is described**, as nbdev wants it: a comment on its line, or in lines of its own above. The fields
  of a dataclass and the parameters of `__init__` count as parameters. What a function returns has a type, too, since the site leaves out
  the description of a value without one; a function that gives nothing needs neither.
- **An array says its shape.** What is annotated `np.ndarray` or `Tensor` has its axes in brackets, as in `(n, band, height, width)`,
  or is said to have the shape of something else.
- **A quantity says its unit.** A parameter with the name of a length, angle, flux, time, mass, width or size (`QUANTITY`) has a unit in its
  comment or in its own name (`theta_e_arcsec`). What is counted has what is counted as its unit (images, objects); a pure number says
  that it is one: a ratio, a fraction, relative, "times" something.
- **A family is described once.** The members of a public table such as `LOOK_ALIKES`, and builders filed by a decorator such as
  `@register('d4_cnn')`, all take and give the same. They need a sentence each; the comment of the table, or the docments of the decorator,
  says the rest, with an arrow from what they take to what they give.
- **An example.** A code cell that is not exported uses the name: in its own notebook, in a guide or on the home page. Importing it is not
  enough, and hidden cells don't count. A command is shown where a cell names it (`lensnb-find`), a member of a family where a cell names
  the member, or its key, or goes through the table. Constants need no example: their comment stands beside their value.

Nothing is imported: modules and notebooks are read as text, so that this takes seconds and needs no torch.
`python tests/test_reference.py` counts.
"""
import ast
import io
import json
import re
import tokenize
from collections import Counter
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ARRAY = re.compile(r'\b(ndarray|Tensor)\b')
SHAPE = re.compile(r'\((?:\.\.\.|[\w+*×/ .-]+(?:\([^()]*\)[\w+*×/ .-]*)?,[^()]*(?:\([^()]*\)[^()]*)*)\)|\bshape\b')
QUANTITY = re.compile(r'(^|_)(size|side|scale|radius|radii|fwhm|seeing|sigma|theta|flux|sky|noise|mag|depth|exposure|seconds|timeout|angle|phi|ra|dec|separation|shift|length|distance|mass|wavelength|width|height|offset)$')
UNIT_NAME = re.compile(r'_(arcsec|pix|pt|deg|rad|mag|adu|e|s|km_s|kpc|mpc|msun|nm|mb|gb|bytes|sigma)$')
UNIT = re.compile(r'''\b(arcsec\w*|pixels?|degrees?|radians?|mag\w*|electrons?|counts?|flux|seconds?|s|kpc|Mpc|nm|bytes?|[kMG]B|inch\w*|points?|sigma|scatters?|solar
    |units?|fraction|share|part|ratio|relative|times|natural\ log\w*|dimensionless|logit|log-odds
    |number\ of|images|objects|stamps|cutouts|rows|channels|features|hashes|bins)\b|σ|″|°|%''', re.X | re.I)
PLAIN = ('bool', 'str', 'Sky', 'Survey')   # no numbers
FRAMEWORK = re.compile(r'forward|backward|(before|after)_\w+|get_idxs|create_batches|get_cam_weights')


def public(text):
    "(name, node, lines) of what a module's `__all__` lists; the node is None for what is not defined at its top"
    tree, lines = ast.parse(text), text.split('\n')
    listed = next((ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], 'id', '') == '__all__'), [])
    nodes = {}
    for n in tree.body:
        if isinstance(n, (ast.FunctionDef, ast.ClassDef)): nodes[n.name] = n
        elif isinstance(n, ast.Assign): nodes.update({i.id: n for t in n.targets for i in ast.walk(t) if isinstance(i, ast.Name)})
        elif isinstance(n, ast.AnnAssign): nodes[n.target.id] = n
    return [(name, nodes.get(name), lines) for name in listed]


def constant(node): return isinstance(node, (ast.Assign, ast.AnnAssign))


def comment_of(node, lines):
    "The comments beside a constant, or above it"
    text = '\n'.join(lines[node.lineno-1:node.end_lineno])
    said = [t.string.lstrip('# ') for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.COMMENT]
    above = lines[node.lineno-2] if node.lineno > 1 else ''
    return ' '.join([*said, *([above.lstrip('# ')] if re.match(r'# (?!%%)', above) else [])])


def families(names):
    "Member -> (table, its key, comment of the table) for functions that are values of a public table, or filed by a decorator"
    functions = {name for name, node, _ in names if isinstance(node, ast.FunctionDef)}
    for name, node, lines in names:
        if constant(node) and isinstance(node.value, (ast.Dict, ast.Tuple)):
            keys = node.value.keys if isinstance(node.value, ast.Dict) else [None]*len(node.value.elts)
            values = node.value.values if isinstance(node.value, ast.Dict) else node.value.elts
            for k, v in zip(keys, values, strict=True):
                if isinstance(v, ast.Name) and v.id in functions: yield v.id, (name, getattr(k, 'value', v.id), comment_of(node, lines))
        for d in getattr(node, 'decorator_list', []):
            if isinstance(d, ast.Call) and getattr(d.func, 'id', '') in functions and d.args:
                own = next((n, ls) for m, n, ls in names if m == d.func.id)
                yield name, (d.func.id, d.args[0].value, ' '.join(comments(*own).values()))


def comments(f, lines):
    "Parameter -> its comment, read as `fastcore.docments` reads it; of several on a line the last has it"
    first = min([f.lineno, *(d.lineno for d in f.decorator_list)])
    said = {}
    for t in tokenize.generate_tokens(io.StringIO('\n'.join(lines[first-1:f.end_lineno])).readline):
        if t.type == tokenize.COMMENT: said[t.start[0]+first-1] = t.string.lstrip('# ').strip()
    a = f.args
    where = {p.lineno: p.arg for p in (*a.posonlyargs, *a.args, *([a.vararg] if a.vararg else []), *a.kwonlyargs, *([a.kwarg] if a.kwarg else []))}
    if f.returns: where[f.returns.end_lineno] = 'return'
    found = {}
    for line, name in where.items():
        above, k = [], line-1
        while line not in said and k in said and k not in where: above.insert(0, said[k]); k -= 1
        if text := said.get(line) or ' '.join(above): found[name] = text
    return found


def own(node):
    "The nodes of a function without those of functions inside it"
    stack = list(node.body)
    while stack:
        n = stack.pop()
        yield n
        if not isinstance(n, (ast.FunctionDef, ast.Lambda, ast.ClassDef)): stack += ast.iter_child_nodes(n)


def gives(node):
    "Whether a function has a value for its caller"
    def worth(v): return v is not None and not (isinstance(v, ast.Constant) and v.value is None)
    return any(isinstance(n, (ast.Yield, ast.YieldFrom)) or isinstance(n, ast.Return) and worth(n.value) for n in own(node))


def short_of(what, name, annotation, said):
    "What the description of one parameter, field or value lacks"
    if not said: yield f'{what} is not described'
    elif ARRAY.search(annotation) and not SHAPE.search(said): yield f'{what} is an array without a shape: {said}'
    elif QUANTITY.search(name) and annotation not in PLAIN and not UNIT.search(said) and not UNIT_NAME.search(name): yield f'{what} is a quantity without a unit: {said}'


def written(annotation): return ast.unparse(annotation) if annotation else ''


def function_lacks(f, lines, value=True):
    said, a = comments(f, lines), f.args
    for p in (*a.posonlyargs, *a.args, *([a.vararg] if a.vararg else []), *a.kwonlyargs, *([a.kwarg] if a.kwarg else [])):
        if p.arg not in ('self', 'cls'): yield from short_of(f'`{p.arg}`', p.arg, written(p.annotation), said.get(p.arg))
    if not value or not gives(f): return
    if f.returns is None: yield 'what it gives has no type: write `)->type: # what it is`'
    else: yield from short_of('what it gives', '', written(f.returns), said.get('return'))


def class_lacks(c, lines):
    fields = any('dataclass' in ast.unparse(d) for d in c.decorator_list)
    for n in c.body:
        if fields and isinstance(n, ast.AnnAssign): yield from short_of(f'`{n.target.id}`', n.target.id, written(n.annotation), comment_of(n, [*lines[:n.lineno-1], *lines[n.lineno-1:]]))
        if not isinstance(n, ast.FunctionDef): continue
        if n.name == '__init__': yield from function_lacks(n, lines, value=False)
        elif not n.name.startswith('_') and not FRAMEWORK.fullmatch(n.name) and not ast.get_docstring(n): yield f'its method {n.name} has no docstring'


def lacks(node, lines, family=None):
    "What the text of one public name lacks"
    if node is None: yield 'is not defined at the top of its module'
    elif constant(node):
        if not comment_of(node, lines): yield 'no comment says what this constant is'
    else:
        if not ast.get_docstring(node): yield 'no docstring'
        if isinstance(node, ast.ClassDef): yield from class_lacks(node, lines)
        elif not family: yield from function_lacks(node, lines)
        elif not re.search(r'\) *->', family[2]): yield f'{family[0]} does not say what its members take and give, as in (x) -> y'


def cells(path): return json.loads(path.read_text(encoding='utf-8'))['cells']


def used(cell):
    "The names a code cell uses, its imports aside; commands that it names; and texts that could be keys, in quotes"
    s = ''.join(cell['source'])
    if cell['cell_type'] != 'code' or re.search(r'^#\|\s*(export|hide\b|default_exp)', s, re.M): return set()
    found = set(re.findall(r'lensnb-\w+', s))
    nodes = list(ast.walk(ast.parse(re.sub(r'^\s*[%!].*$', 'pass', s, flags=re.M))))
    keys = {repr(n.value) for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str) and len(n.value) < 40}
    return found | keys | {n.id for n in nodes if isinstance(n, ast.Name)} | {n.attr for n in nodes if isinstance(n, ast.Attribute)}


def shown(paths): return {name for p in paths for c in cells(p) for name in used(c)}


def problems(module, text, examples, commands=None):
    "Sentences on what the public names of one module lack; commands: function -> the command it is"
    names = public(text)
    family = dict(families(names))
    for name, node, lines in names:
        for what in lacks(node, lines, family.get(name)): yield f'{module}.{name}: {what}'
        table, key, _ = family.get(name, (name, None, ''))
        if not constant(node) and not {name, table, repr(key), (commands or {}).get(name, name)} & examples: yield f'{module}.{name}: no cell shows it'


def rooms():
    "(module, its source, its notebook)"
    for p in sorted((ROOT/'nbs').glob('[0-9][0-9]_*.ipynb')):
        m = next(m[1] for c in cells(p) if (m := re.search(r'^#\|\s*default_exp\s+(\S+)', ''.join(c['source']), re.M)))
        yield m, ROOT/'lensnb'/f'{m}.py', p


def command_names():
    "Function -> its command"
    ini = ConfigParser(delimiters=['='])
    ini.read(ROOT/'settings.ini')
    return {f.split(':')[1]: name for name, f in (o.split('=') for o in ini['DEFAULT']['console_scripts'].split())}


GUIDES = [ROOT/'nbs'/'index.ipynb', *sorted((ROOT/'nbs'/'tutorials').glob('*.ipynb'))]


@pytest.fixture(scope='module')
def guides(): return shown(GUIDES)


@pytest.mark.parametrize('module,source,nb', [pytest.param(*o, id=o[0]) for o in rooms()])
def test_public_names(module, source, nb, guides):
    assert list(problems(module, source.read_text(encoding='utf-8'), guides | shown([nb]), command_names())) == []


MADE_UP = '''__all__ = ['SIZES', 'A_TABLE', 'good', 'bare', 'half', 'Thing', 'member', 'gone']
SIZES = (1, 2)
A_TABLE = {'key': member} # Name -> function: (x) -> y

def good(
    x:np.ndarray,      # Flux, (band, height, width)
    radius_arcsec=1.,  # How far
)->float:              # Its flux
    "Adds up"
    return x.sum()

def bare(x): return x

def half(
    x:np.ndarray, # Flux
    radius=1.,    # How far
):                # Its flux
    "Adds up"
    return x.sum()

@dataclass
class Thing:
    "A thing"
    width:float # How wide
    def weigh(self): return 1

def member(x):
    "Of a family"
    return x
'''
LACK = {'SIZES': ['no comment'], 'bare': ['no docstring', '`x` is not described', 'no type'], 'gone': ['not defined'],
        'half': ['`x` is an array without a shape', '`radius` is a quantity without a unit', 'no type'], 'Thing': ['`width` is a quantity without a unit', 'weigh has no docstring']}


def cell(source): return dict(cell_type='code', source=source)


def test_the_check_can_fail():
    seen = used(cell("from m import bare\ngood(1)\nhalf(2).Thing\nprint('key')"))
    assert {'good', 'half', 'Thing', "'key'"} <= seen and 'bare' not in seen
    found = list(problems('m', MADE_UP, seen))
    for name, whats in LACK.items():
        for what in whats: assert any(f.startswith(f'm.{name}: ') and what in f for f in found), (name, what)
    assert not [f for f in found if f.startswith(('m.good', 'm.member', 'm.A_TABLE'))]
    assert {f for f in found if 'no cell' in f} == {'m.bare: no cell shows it', 'm.gone: no cell shows it'}
    assert used(cell('#| export\ngood(1)')) == used(cell('#| hide\ngood(1)')) == set()
    assert any('A_TABLE does not say' in f for f in problems('m', MADE_UP.replace(': (x) -> y', ''), seen))


if __name__ == '__main__':
    seen, kinds, n = shown(GUIDES), Counter(), 0
    for module, source, nb in rooms():
        text = source.read_text(encoding='utf-8')
        n += len(public(text))
        for p in problems(module, text, seen | shown([nb]), command_names()):
            kinds[re.sub(r'`.*?` ', '', p.partition(': ')[2].partition(': ')[0])] += 1
            print(p)
    print(f'{n} public names; {sum(kinds.values())} problems: {dict(kinds.most_common())}')
