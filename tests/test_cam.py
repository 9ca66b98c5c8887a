"Class activation maps: every method on every network of the registry, alone and in a batch, and the command"
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import run

from lensnb.cam import METHODS, cams, heat_maps, list_layers
from lensnb.core import InputError
from lensnb.cutouts import write_cutouts
from lensnb.heat import shuffled
from lensnb.models import REGISTRY, create_model
from lensnb.pretrained import TIMM
from lensnb.weights import load_weights

LAYERS = dict(lens_cnn='backbone.6', d4_cnn='backbone.5', cmu_resnet='backbone.9', dense_attention='backbone.6', resnet10t='backbone.layer1', resnet18='backbone.layer1',
              regnety_002='backbone.s1', tf_efficientnet_lite0='backbone.blocks.1', efficientnet_b0='backbone.blocks.1', mobilenetv3_small_100='backbone.blocks.0',
              edgenext_xx_small='backbone.stages.0', convnext_atto='backbone.stages.0')


def test_the_layer_of_each_network_is_the_one_we_know():
    "A new version of timm that names or orders its stages otherwise must not move the maps unseen"
    assert LAYERS == dict(list_layers()[['name', 'layer']].to_numpy())


@pytest.mark.parametrize('name', [*REGISTRY, *TIMM])
def test_every_method_on_every_network(name):
    torch.manual_seed(0)
    net = create_model(name, 3, 64).eval()
    with torch.no_grad():
        for p in net.parameters(): p += .05*torch.randn_like(p)
    x = torch.randn(3, 3, 64, 64)
    both, before = heat_maps(net, x, METHODS, batch_size=2), net(x).detach()
    for m, heat in both.items():
        assert heat.shape == (3, 64, 64) and heat.dtype == np.float32 and np.isfinite(heat).all() and heat.min() >= 0 and heat.max() <= 1, m
        alone = np.concatenate([heat_maps(net, o[None], [m])[m] for o in x])
        np.testing.assert_allclose(alone, heat, atol=.05)   # a map is scaled by its own largest value, and convolutions of one and of two images round differently
        if heat.std() and alone.std(): assert np.corrcoef(alone.ravel(), heat.ravel())[0, 1] > .999, m
    assert any(h.max() > .99 for h in both.values())
    assert torch.equal(before, net(x)) and all(p.requires_grad and p.grad is None for p in net.parameters())


@pytest.mark.parametrize('name', ['lens_cnn', 'd4_cnn', 'resnet10t'])
def test_shuffled_weights_are_shuffled(name):
    torch.manual_seed(0)
    net, x = create_model(name, 3, 64).eval(), torch.randn(8, 3, 64, 64)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    other = shuffled(net, np.random.default_rng(0), x)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items()), 'the network itself is left alone'
    for (k, a), b in zip(net.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(a.flatten().sort()[0], b.flatten().sort()[0]), k
        if a.unique().numel() > 8: assert (a != b).float().mean() > .5, k
    assert not torch.allclose(net(x), other(x)) and not any(m.training for m in other.modules())
    assert torch.equal(other(x), shuffled(net, np.random.default_rng(0), x)(x)) and not torch.equal(other(x), shuffled(net, np.random.default_rng(1), x)(x))


def test_wrong_shapes_and_frozen_networks(ten):
    model, card = load_weights('small-flux')
    for p in model.parameters(): p.requires_grad_(False)
    with torch.no_grad(): heat = cams(model, card, ten[0][:2], 'gradcam++')
    assert len(heat) == 2 and heat[0].max() > .99
    assert not any(p.requires_grad for p in model.parameters())
    with pytest.raises(InputError, match='cutouts of shape'): cams(model, card, ten[0][:2, :2])


def test_the_command(tmp_path, flux, ten):
    images, cat, survey = ten
    write_cutouts(tmp_path/'x', images, cat, survey, 'store')
    def test(out, *options, **kw): return run('lensnb-test', '--weights', flux[1], '--data', tmp_path/'x', '--out', tmp_path/out, *options, **kw)
    for out, options in (('plain', ['--cam']), ('named', ['--cam', 'layercam']), ('grad', ['--cam', 'gradcam', '--cam-top', 4])): test(out, *options)
    def pictures(out): return {p.name: p.read_bytes() for p in (tmp_path/out/'cam').iterdir()}
    assert pictures('plain') == pictures('named') and len(pictures('plain')) == 10
    best = pd.read_csv(tmp_path/'grad'/'predictions.csv').nlargest(4, 'logit')['id']
    assert set(pictures('grad')) == {f'{k}.png' for k in best}
    assert any(pictures('grad')[k] != pictures('plain')[k] for k in pictures('grad'))
    r = test('never', '--cam', 'scorecam', code=1)
    assert "no class activation map 'scorecam'" in r.stderr and 'gradcam, gradcam++, layercam' in r.stderr and not (tmp_path/'never').exists()
