"Make README.md from nbs/index.ipynb: its prose, its code, its text and table outputs"
import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
NOTE = '<!-- made from nbs/index.ipynb by tests/readme.py: edit the notebook -->\n\n'


def outputs(cell):
    for o in cell.get('outputs', []):
        data = o.get('data', {})
        if 'text/markdown' in data: yield ''.join(data['text/markdown'])
        elif any(k.startswith('image/') for k in data): continue   # a README shows the pictures it links to
        elif 'text/plain' in data or o['output_type'] == 'stream':
            yield '```\n' + ''.join(data.get('text/plain', o.get('text', ''))).rstrip() + '\n```'


def render(path):
    "The notebook as one Markdown text"
    parts = []
    for c in json.loads(Path(path).read_text(encoding='utf-8'))['cells']:
        s = ''.join(c['source']).strip()
        if c['cell_type'] == 'markdown': parts.append(re.sub(r'\]\((?=images/|\d\d_\w+\.ipynb|tutorials/)', '](nbs/', s))
        elif c['cell_type'] == 'code' and not re.search(r'^#\|\s*(hide|include: false)\s*$', s, re.M):
            if not re.search(r'^#\|\s*echo:\s*false', s, re.M): parts.append(f'```python\n{s}\n```')
            parts += outputs(c)
    return NOTE + '\n\n'.join(parts) + '\n'


if __name__ == '__main__':
    (ROOT/'README.md').write_text(render(ROOT/'nbs'/'index.ipynb'), encoding='utf-8')
