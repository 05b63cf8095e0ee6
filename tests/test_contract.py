"""What mmcv, mmengine, mmpretrain, mmaction2 and torch do to a convolution, each against the plain path."""

import copy
import subprocess
import sys

import pytest
import torch
from helpers import RESNET50, assert_close
from mmcv.cnn import ConvModule, build_conv_layer, fuse_conv_bn
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage, convert_sync_batchnorm, revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner.amp import autocast
from torch import nn

from mmcgc import CGConv1d, CGConv2d, CGConv3d
from mmcgc.layers import gated_layers

NAMES = {'CGConv': CGConv2d, 'CGConv1d': CGConv1d, 'CGConv2d': CGConv2d, 'CGConv3d': CGConv3d}
CONV_CFG = dict(type='CGConv')


def warmed(module, size=(16, 9, 9)):
    """The module after a few training steps' worth of statistics, in eval mode."""
    torch.manual_seed(0)
    for m in module.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(m.weight, 0.5, 2)
            nn.init.normal_(m.bias)
    for _ in range(3):
        module(torch.randn(4, *size))
    return module.eval()


@pytest.mark.parametrize('prefix', ['', 'mmcgc.'])
@pytest.mark.parametrize('scope', ['mmengine', 'mmpretrain', 'mmaction', 'mmcgc'])
@pytest.mark.parametrize('name', NAMES)
def test_registered_from_every_scope(name, scope, prefix):
    with DefaultScope.overwrite_default_scope(scope):
        conv = build_conv_layer(dict(type=prefix + name), 4, 4, kernel_size=3, padding=1, bias=False)
    assert type(conv) is NAMES[name]


def test_found_by_prefix_without_an_import():
    code = (
        'from mmcv.cnn import build_conv_layer\n'
        "conv = build_conv_layer(dict(type='mmcgc.CGConv'), 4, 4, 3)\n"
        'print(type(conv).__name__)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == 'CGConv2d'


@pytest.mark.parametrize('layer', [CGConv1d, CGConv2d, CGConv3d], ids=lambda c: c.__name__)
def test_initialisers_know_the_layer(layer):
    from mmengine.model import ConstantInit

    conv = layer(4, 4, 3)
    kept = copy.deepcopy(conv.gate.state_dict())
    ConstantInit(0.25, layer=layer.__bases__[1].__name__)(conv)
    assert (conv.weight == 0.25).all()
    assert all(torch.equal(kept[k], v) for k, v in conv.gate.state_dict().items())


@pytest.mark.parametrize('order', [('conv', 'norm', 'act'), ('norm', 'act', 'conv')], ids='-'.join)
def test_conv_module(order):
    module = warmed(ConvModule(16, 16, 3, padding=1, conv_cfg=CONV_CFG, norm_cfg=dict(type='BN'), order=order))
    x = torch.randn(2, 16, 9, 9)
    steps = {'conv': module.conv, 'norm': module.norm, 'act': torch.relu}
    y = x
    for step in order:
        y = steps[step](y)
    assert_close(module(x), y, tolerance=1e-6)


def test_efficient_conv_bn_eval():
    module = warmed(ConvModule(16, 16, 3, padding=1, conv_cfg=CONV_CFG, norm_cfg=dict(type='BN')))
    quick = ConvModule(
        16, 16, 3, padding=1, conv_cfg=CONV_CFG, norm_cfg=dict(type='BN'), efficient_conv_bn_eval=True
    ).eval()
    quick.load_state_dict(module.state_dict())
    x = torch.randn(2, 16, 9, 9)
    assert_close(quick(x), module(x), tolerance=1e-5)


@pytest.mark.parametrize('bias', [False, True])
def test_fuse_conv_bn(bias):
    module = warmed(ConvModule(16, 16, 3, padding=1, bias=bias, conv_cfg=CONV_CFG, norm_cfg=dict(type='BN')))
    x = torch.randn(2, 16, 9, 9)
    expected = module(x)
    fused = fuse_conv_bn(copy.deepcopy(module))
    assert isinstance(fused.bn, nn.Identity)
    assert_close(fused(x), expected, tolerance=1e-5)


def test_sync_batchnorm_conversion():
    conv = warmed(CGConv2d(16, 16, 3))
    x = torch.randn(2, 16, 9, 9)
    expected = conv(x)
    synced = convert_sync_batchnorm(copy.deepcopy(conv))
    assert isinstance(synced.gate.context_norm, nn.SyncBatchNorm)
    assert_close(revert_sync_batchnorm(synced).eval()(x), expected, tolerance=1e-6)


def test_norm_eval_freezes_the_gate_too():
    from mmpretrain.models import ResNet

    net = ResNet(18, norm_eval=True, conv_cfg=CONV_CFG)
    net.train()
    before = copy.deepcopy({k: v for k, v in net.state_dict().items() if 'running' in k and 'gate' in k})
    net(torch.randn(2, 3, 32, 32))
    assert before and all(torch.equal(v, net.state_dict()[k]) for k, v in before.items())


def test_conv_cfg_of_none_in_a_base_has_to_be_deleted(tmp_path):
    """The error and the remedy of docs/troubleshooting.md."""
    (tmp_path / 'base.py').write_text("model = dict(type='ResNet', depth=18, conv_cfg=None)")
    child = tmp_path / 'child.py'
    child.write_text("_base_ = 'base.py'\nmodel = dict(conv_cfg=dict(type='CGConv'))")
    with pytest.raises(TypeError, match="because conv_cfg is a dict in the child config .*'NoneType'"):
        Config.fromfile(child)
    child.write_text("_base_ = 'base.py'\nmodel = dict(conv_cfg=dict(_delete_=True, type='CGConv'))")
    with MODELS.switch_scope_and_registry('mmpretrain') as registry:
        network = registry.build(Config.fromfile(child).model)
    assert len(gated_layers(network)) == 17


def test_ema_deep_copy_and_state_dict_round_trip():
    conv = CGConv2d(16, 16, 3)
    ema = ExponentialMovingAverage(conv, update_buffers=True)
    warmed(conv)
    ema.update_parameters(conv)  # the first update copies
    x = torch.randn(2, 16, 9, 9)
    other = CGConv2d(16, 16, 3)
    other.load_state_dict(conv.state_dict())
    for twin in (copy.deepcopy(conv), other, ema.module):
        assert_close(twin.eval()(x), conv(x), tolerance=1e-6)


@pytest.mark.parametrize('layer, size', [(CGConv1d, (16, 9)), (CGConv2d, (16, 9, 9)), (CGConv3d, (16, 3, 5, 5))])
def test_compiles_without_a_graph_break(layer, size):
    torch._dynamo.reset()
    conv = warmed(layer(16, 16, 3, padding=1), size)
    x = torch.randn(2, *size)
    compiled = torch.compile(conv, fullgraph=True, backend='aot_eager')
    assert_close(compiled(x), conv(x), tolerance=1e-5)
    conv.train()
    x.requires_grad_()
    grads = [torch.autograd.grad(run(x).square().sum(), [x, *conv.parameters()]) for run in (compiled, conv)]
    for a, b in zip(*grads, strict=True):
        assert_close(a, b, tolerance=1e-4)


@pytest.mark.slow
def test_inductor_compiles_a_residual_network():
    from mmpretrain.models import ResNet

    torch._dynamo.reset()
    net = ResNet(18, conv_cfg=CONV_CFG).eval()
    x = torch.randn(2, 3, 64, 64)
    assert_close(torch.compile(net, fullgraph=True)(x)[0], net(x)[0], tolerance=1e-4)


@pytest.mark.slow
def test_resnet50_compiles_forward_and_backward_without_a_graph_break():
    from mmpretrain.models import ResNet

    torch._dynamo.reset()
    torch.manual_seed(0)
    net = ResNet(50, conv_cfg=CONV_CFG)  # in training mode
    x = torch.randn(4, 3, 64, 64)
    compiled = torch.compile(net, fullgraph=True, backend='aot_eager')
    results = [torch.autograd.grad(run(x)[0].square().mean(), [*net.parameters()]) for run in (compiled, net)]
    for a, b in zip(*results, strict=True):
        assert_close(a, b, tolerance=1e-2)


def test_exports_with_a_dynamic_batch():
    conv = warmed(CGConv2d(16, 16, 3))
    x = torch.randn(3, 16, 9, 9)
    program = torch.export.export(conv, (x,), dynamic_shapes=({0: torch.export.Dim('batch', min=2)},))
    other = torch.randn(5, 16, 9, 9)
    assert_close(program.module()(other), conv(other), tolerance=1e-5)


def test_autocast_is_close_to_float32():
    conv = warmed(CGConv2d(16, 16, 3))
    x = torch.randn(2, 16, 9, 9)
    with autocast(device_type='cpu', dtype=torch.bfloat16):
        y = conv(x)
    assert y.dtype == torch.bfloat16
    assert_close(y, conv(x), tolerance=3e-2)


@pytest.mark.parametrize('kind', [nn.modules.conv._ConvNd, nn.Linear, nn.BatchNorm1d])
def test_leaf_modules_are_of_kinds_that_optimiser_constructors_know(kind):
    known = (nn.modules.conv._ConvNd, nn.Linear, nn.BatchNorm1d)
    conv = CGConv2d(16, 16, 3)
    owners = [m for m in conv.modules() if any(True for _ in m.parameters(recurse=False))]
    assert all(isinstance(m, known) for m in owners) and any(isinstance(m, kind) for m in owners)
    assert all(m.bias is None for m in owners if isinstance(m, nn.Linear))


@pytest.mark.parametrize('shape', RESNET50, ids=str)
def test_nothing_but_the_inputs_is_saved_for_backward(shape):
    """For every gated layer of ResNet-50."""
    c, o, kernel, size, stride, padding = shape
    conv = CGConv2d(c, o, kernel, stride, padding)
    x = torch.randn(2, c, size, size, requires_grad=True)
    gate_in, gate_out = conv.gate(x)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        conv._convolve(x, conv.weight, gate_in, gate_out, None, stride, padding, 1)
    expected = [x, conv.weight, gate_in, gate_out]
    assert sorted(t.data_ptr() for t in saved) == sorted(t.data_ptr() for t in expected)


def test_root_registry_holds_the_documented_names():
    assert all(MODELS.module_dict[name] is layer for name, layer in NAMES.items())
