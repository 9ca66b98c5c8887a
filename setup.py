"Package metadata lives in settings.ini; edit it there"
import json
import shutil
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).parent
parser = ConfigParser(delimiters=['='])
parser.read(here/'settings.ini', encoding='utf-8')
cfg = parser['DEFAULT']
extras = {k.removesuffix('_requirements'): v.split() for k, v in cfg.items() if k.endswith('_requirements')}


class BuildWithWeights(build_py):
    "Copy the weights that settings.ini names into the wheel, as lensnb/_weights/NAME"
    def run(self):
        super().run()
        if self.editable_mode: return
        to, names = Path(self.build_lib)/cfg['lib_path']/'_weights', cfg.get('wheel_weights', '').split()
        for name in names: shutil.copytree(here/'weights'/name, to/name, dirs_exist_ok=True, ignore=shutil.ignore_patterns('report.html'))
        short = json.loads((here/'weights'/'names.json').read_text(encoding='utf-8'))
        (to/'names.json').write_text(json.dumps({k: v for k, v in short.items() if v in names}, indent=1)+'\n', encoding='utf-8')


setup(
    version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'].split(), author=cfg['author'], license=cfg['license'],
    packages=find_packages(include=[cfg['lib_path'], cfg['lib_path']+'.*']), cmdclass={'build_py': BuildWithWeights},
    install_requires=cfg['requirements'].split(), extras_require=extras,
    long_description=(here/'README.md').read_text(encoding='utf-8'), long_description_content_type='text/markdown',
    entry_points={'console_scripts': cfg['console_scripts'].split(), 'nbdev': [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"]},
    include_package_data=True, zip_safe=False)
