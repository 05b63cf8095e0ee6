"""The norms of gates in frozen stages, under ``norm_eval``, and while all of it is trained."""

import copy
import warnings

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmcgc import CGConv2d

GATED = dict(type='CGConv')
NETWORKS = {
    'mmpretrain-stem': ('mmpretrain', dict(type='ResNet', depth=18, frozen_stages=0), ('conv1',)),
    'mmpretrain': ('mmpretrain', dict(type='ResNet', depth=18, frozen_stages=1), ('conv1', 'layer1')),
    'mmpretrain-norm-eval': (
        'mmpretrain', dict(type='ResNet', depth=18, frozen_stages=1, norm_eval=True), ('conv1', 'layer1')),
    'mmaction-tsm': (
        'mmaction', dict(type='ResNetTSM', depth=18, frozen_stages=1, num_segments=2, pretrained=None, norm_eval=False),
        ('conv1', 'layer1')),
    'cifar': ('mmpretrain', dict(type='mmcgc.CIFARResNet', depth=8, frozen_stages=1), ('conv1', 'layer1')),
}  # fmt: skip


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS)
def frozen(request):
    """A network with filled statistics, and the names of its frozen stages."""
    scope, cfg, stages = request.param
    conv_cfg = dict(GATED, num_segments=2) if scope == 'mmaction' else GATED
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(scope):
        net = MODELS.build(dict(cfg, conv_cfg=conv_cfg))
    for name, buffer in net.named_buffers():
        if 'gate' in name and buffer.is_floating_point():
            buffer.uniform_(0.5, 2)
    return net, stages


def buffers(net, stages):
    return {name: b.clone() for name, b in net.named_buffers() if name.split('.')[0] in stages and 'gate' in name}


def first_stages(net, stages, x):
    """What the last frozen stage gives."""
    found = []
    handle = net.get_submodule(stages[-1]).register_forward_hook(lambda m, args, y: found.append(y))
    net(x)
    handle.remove()
    return found[0]


@pytest.mark.parametrize('order', ['train', 'unfrozen-modes'])
def test_frozen_stages_leave_their_gates_alone(frozen, order):
    net, stages = frozen
    net.train()
    if order == 'unfrozen-modes':  # as after a loop of the user over all modules
        for module in net.modules():
            module.training = True
    before, x = buffers(net, stages), torch.randn(4, 3, 32, 32)
    assert before
    y = first_stages(net, stages, x)
    after = buffers(net, stages)
    assert all(torch.equal(after[name], b) for name, b in before.items())
    if order == 'train' or len(stages) == 1:
        return
    net.eval()
    assert all(module.training is False for module in net.modules())
    assert y.shape == first_stages(net, stages, x).shape


def test_trained_stages_of_the_same_network_do_move(frozen):
    net, stages = frozen
    net.train()
    before = {n: b.clone() for n, b in net.named_buffers() if 'gate' in n and n.split('.')[0] == 'layer2'}
    net(torch.randn(4, 3, 32, 32))
    moved = [name for name, b in net.named_buffers() if name in before and not torch.equal(b, before[name])]
    assert bool(moved) != getattr(net, 'norm_eval', False)


def test_a_frozen_layer_computes_in_training_what_it_does_in_eval_mode_and_thaws():
    torch.manual_seed(0)
    layer, x = CGConv2d(16, 16, 3, padding=1).requires_grad_(False), torch.randn(4, 16, 9, 9, requires_grad=True)
    layer.gate.context_norm.running_mean.normal_()
    expected = layer.eval()(x)
    y = layer.train()(x)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(layer(x[:1]), expected[:1])  # whatever else is in the batch
    (gradient,) = torch.autograd.grad(y.square().sum(), x)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.square().sum(), x)[0])
    assert all(m.training for m in layer.gate.modules())

    before = copy.deepcopy(layer.gate.state_dict())
    layer.requires_grad_(True)(x)
    after = layer.gate.state_dict()
    assert all(not torch.equal(after[key], before[key]) for key in before if 'running' in key)


def test_hooks_on_the_norms_of_a_frozen_gate_are_called():
    layer, modes = CGConv2d(16, 16, 3).requires_grad_(False), []
    layer.gate.context_norm.register_forward_hook(lambda m, args, y: modes.append(m.training))
    layer(torch.randn(2, 16, 9, 9))
    assert modes == [False] and layer.gate.context_norm.training


def norm_eval(layer):
    layer.train()
    for module in layer.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    return layer


@pytest.mark.parametrize('prepare, gate, said', [
    (norm_eval, dict(), True), (norm_eval, dict(norm='group'), False), (norm_eval, dict(norm='none'), False),
    (lambda layer: norm_eval(layer).requires_grad_(False), dict(), False),
    (nn.Module.train, dict(), False), (nn.Module.eval, dict(), False),
], ids=['norm-eval', 'group', 'none', 'frozen', 'train', 'eval'])  # fmt: skip
def test_statistics_that_stay_unfilled_are_said_once(prepare, gate, said):
    layer, x = prepare(CGConv2d(16, 16, 3, gate=gate)), torch.randn(2, 16, 9, 9)
    for expected in (said, False):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter('always')
            layer(x)
        assert any("gate=dict(norm='group')" in str(w.message) for w in seen) == expected


def test_filled_statistics_are_no_reason_to_warn():
    layer, x = CGConv2d(16, 16, 3), torch.randn(2, 16, 9, 9)
    layer(x)
    other = norm_eval(CGConv2d(16, 16, 3))
    other.load_state_dict(layer.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        other(x)


def test_a_frozen_gate_knows_shapes_alone():
    layer = CGConv2d(8, 12, 3).to('meta').requires_grad_(False)
    assert layer(torch.empty(2, 8, 9, 7, device='meta')).shape == (2, 12, 7, 5)
