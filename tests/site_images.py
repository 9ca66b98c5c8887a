"Draw the site's small pictures from the package itself: nbs/images/favicon.svg and the card that a link to the site shows"
from pathlib import Path

import matplotlib.pyplot as plt

from lensnb.core import scene_rng
from lensnb.plot import to_rgb
from lensnb.simulate import simulate_one
from lensnb.surveys import get_survey

IMAGES = Path(__file__).parent.parent/'nbs'/'images'
FAVICON = '''<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><title>lensnb</title>
<circle cx="32" cy="32" r="32" fill="#10182b"/><circle cx="32" cy="32" r="20" fill="none" stroke="#5b7fb8" stroke-width="2"/>
<g fill="none" stroke="#8fd0ff" stroke-width="7" stroke-linecap="round"><path d="M13.2 25.2A20 20 0 0 1 38.8 13.2"/><path d="M49.3 42A20 20 0 0 1 37.2 51.3"/></g>
<circle cx="32" cy="32" r="8" fill="#ffb35c"/></svg>
'''


def card(seed=11, n=8):
    "1200 x 630 pixels: the name, the promise, and simulated lenses"
    fig = plt.figure(figsize=(12, 6.3), dpi=100, facecolor='#10182b')
    fig.text(.06, .84, 'lensnb', color='w', fontsize=60, weight='bold', va='center')
    fig.text(.06, .71, 'finds strong gravitational lenses in survey images', color='#c7d6ee', fontsize=24, va='center')
    survey = get_survey('hst')
    for i in range(n):
        ax = fig.add_axes([.06+.226*(i % 4), .345-.3*(i//4), .2, .29], frameon=False, xticks=[], yticks=[])
        ax.imshow(to_rgb(simulate_one(survey, scene_rng(seed, 'card', i), 'lens')[0]), origin='lower', cmap='gray')
    return fig


if __name__ == '__main__':
    (IMAGES/'favicon.svg').write_text(FAVICON, encoding='utf-8')
    card().savefig(IMAGES/'card.png', facecolor='#10182b')
