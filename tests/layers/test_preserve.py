"""``init='preserve'`` and ``convert_to_cgc``: the same function at first, however weights come, and learning after."""

import copy

import pytest
import torch
from helpers import assert_close
from mmengine.runner.checkpoint import load_state_dict as mmengine_load
from torch import nn

from mmcgc import CGConv2d, convert_to_cgc
from mmcgc.ops import context_gated_conv

PRESERVE = dict(init='preserve')


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.Conv2d(8, 8, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip


def gated_twin(**gate):
    net = network()
    for i in (0, 3):
        old = net[i]
        net[i] = CGConv2d(old.in_channels, 8, 3, padding=1, groups=old.groups, bias=old.bias is not None, gate=gate)
    return net


def train(net, steps=3):
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    x, target = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(2)), torch.arange(8) % 4
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), target).backward()
        optimiser.step()


def load_merged(net, state):
    net.load_state_dict({**net.state_dict(), **state})


@torch.no_grad()
def load_by_copying(net, state):
    own = net.state_dict()
    for key, value in state.items():
        own[key].copy_(value)


def loaders():
    return {
        'merged': load_merged,
        'copied': load_by_copying,
        'torch': lambda net, state: net.load_state_dict(state, strict=False),
        'torch-assign': lambda net, state: net.load_state_dict(state, strict=False, assign=True),
        'mmengine': lambda net, state: mmengine_load(net, state),
    }


@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
@pytest.mark.parametrize('load', loaders().values(), ids=loaders())
@pytest.mark.parametrize('combine', ['sum', 'product', 'sigmoid_product'])
def test_plain_load_train_save_resume(combine, load, training):
    plain = network()
    train(plain)
    state = copy.deepcopy(plain.state_dict())
    net = gated_twin(**PRESERVE, combine=combine)
    load(net, state)
    x = torch.randn(4, 3, 6, 6)
    assert_close(net.train(training)(x), plain.train(training)(x), tolerance=1e-6)
    assert all(torch.equal(state[k], v) for k, v in network_state(plain).items()), 'the loaded state was changed'

    train(net.train())
    for conv in (net[0], net[3]):
        assert all(p.grad is not None for p in conv.gate.parameters())
    spread = [t.flatten(2).std(0).max() for t in net[0].eval().gate(x) if t is not None]
    assert max(spread) > 0, 'the gate has not begun to vary over samples'

    resumed = gated_twin(**PRESERVE, combine=combine)
    load(resumed, net.state_dict())
    assert_close(resumed.eval()(x), net.eval()(x), tolerance=1e-7)
    train(net.train())
    train(resumed.train())
    assert_close(resumed.eval()(x), net.eval()(x), tolerance=1e-5)


def network_state(net):
    return {k: v for k, v in net.state_dict().items() if 'running' not in k and 'num_batches' not in k}


def test_average_of_plain_weights_computes_what_the_plain_average_does():
    states = [network().state_dict() for _ in range(2)]
    train(plain := network())
    states[1] = plain.state_dict()
    mean = {key: (states[0][key] + states[1][key]) / 2 for key in states[0] if states[0][key].is_floating_point()}
    plain.load_state_dict(mean, strict=False)
    gated = gated_twin(**PRESERVE)
    gated.load_state_dict(mean, strict=False)
    x = torch.randn(4, 3, 6, 6)
    assert_close(gated.eval()(x), plain.eval()(x), tolerance=1e-6)


@pytest.mark.parametrize('gate, gain', [
    (dict(), 1), (dict(init='preserve'), 2), (dict(plain_start=True, init='xavier', branches='in'), 2),
    (dict(plain_start=True, branches='out'), 2), (dict(plain_start=True, combine='product'), 2),
    (dict(plain_start=True, combine='sigmoid_product'), 4),
], ids=lambda v: '-'.join(map(str, v.values())) or 'default' if isinstance(v, dict) else '')  # fmt: skip
def test_the_gain_makes_up_for_the_sigmoids(gate, gain):
    conv, x = CGConv2d(4, 6, 3, gate=gate), torch.randn(2, 4, 5, 5)
    assert conv.gate_gain == conv.gate.gain == gain
    assert_close(
        conv(x),
        context_gated_conv(
            x, conv.weight * gain, *conv.gate(x), conv.bias, combine=conv.gate_combine, backend='reference'
        ),
    )
    same = torch.allclose(conv(x), nn.functional.conv2d(x, conv.weight, conv.bias), atol=1e-6)
    assert same == (gain > 1)


def upstream_vgg(init_cfg):
    from mmpretrain.models import VGG

    options = {} if init_cfg is None else dict(init_cfg=init_cfg)
    return VGG(11, num_classes=3, conv_cfg=dict(type='CGConv', gate=PRESERVE), **options)


@pytest.mark.parametrize('init_cfg', [
    None, dict(type='TruncNormal', layer=['Conv2d', 'Linear'], std=0.02),
    dict(type='Constant', layer='Linear', val=0.5, override=dict(type='Normal', name='features', std=0.1)),
], ids=['default', 'trunc-normal', 'override'])  # fmt: skip
def test_initialisers_of_a_network_pass_the_gates_by(init_cfg):
    torch.manual_seed(0)
    net = upstream_vgg(init_cfg)
    before, classifier = copy.deepcopy(net.state_dict()), net.classifier[0].weight.clone()
    net.init_weights()
    after = net.state_dict()
    gates = [key for key in before if '.gate.' in key]
    assert gates and all(torch.equal(after[key], before[key]) for key in gates)
    assert not torch.equal(net.classifier[0].weight, classifier)
    assert not torch.equal(after['features.0.conv.weight'], before['features.0.conv.weight'])


def test_functions_that_are_no_initialisers_reach_the_gate():
    conv, seen = CGConv2d(4, 4, 3), []
    conv.apply(seen.append)
    assert set(seen) == set(conv.modules())


def test_other_inits_take_plain_weights_as_they_are():
    net = gated_twin()
    missing, unexpected = net.load_state_dict(network().state_dict(), strict=False)
    assert not unexpected and missing and all('.gate.' in key for key in missing)
    assert torch.equal(net[0].weight, network()[0].weight)


@pytest.mark.parametrize('gate', [None, dict(norm='group'), dict(norm='none', combine='sigmoid_product')],
                         ids=['default', 'group-norm', 'no-norm'])  # fmt: skip
def test_convert_keeps_the_function_and_the_settings(gate):
    plain = network().eval()
    plain[0].weight.requires_grad_(False)
    gated = convert_to_cgc(copy.deepcopy(plain), gate=gate)
    x = torch.randn(2, 3, 6, 6)
    assert_close(gated(x), plain(x), tolerance=1e-6)
    assert isinstance(gated[0], CGConv2d) and isinstance(gated[3], CGConv2d) and type(gated[4]) is nn.Conv2d
    assert not gated[0].weight.requires_grad and not gated[0].gate.training


def test_convert_chooses_by_name_or_function():
    assert not isinstance(convert_to_cgc(network(), include=r'^3$')[0], CGConv2d)
    assert isinstance(convert_to_cgc(network(), include=lambda name, conv: conv.groups == 1)[0], CGConv2d)
    with pytest.raises(ValueError, match='matches no convolution of Sequential that can be gated; it has: 0: it is'):
        convert_to_cgc(network(), include='stem')


def test_convert_keeps_sharing_and_takes_a_lone_convolution():
    conv = nn.Conv2d(4, 4, 3, padding=1)
    net = convert_to_cgc(nn.Sequential(conv, nn.ReLU(), conv))
    assert net[0] is net[2] and isinstance(net[0], CGConv2d)
    assert isinstance(convert_to_cgc(nn.Conv1d(4, 4, 3), gate=dict(init='torch')), nn.Conv1d)


def test_converted_torchvision_network_is_unchanged():
    torchvision = pytest.importorskip('torchvision')
    plain = torchvision.models.resnet18(num_classes=5).eval()
    x = torch.randn(2, 3, 64, 64)
    y = plain(x)
    assert_close(convert_to_cgc(plain)(x), y, tolerance=1e-5)
