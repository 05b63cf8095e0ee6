"""average_beside: the same gradients as pooling by itself, whatever layout the other gradient comes in."""

import pytest
import torch
from helpers import assert_close
from torch.nn import functional as F

from mmcgc import CGConv2d, CGConv3d
from mmcgc.ops.context.pooling import average_beside, average_pool


class _Scaled(torch.autograd.Function):
    """x * scale, with a gradient in the layout of ``scale``."""

    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(scale)
        return x * scale

    @staticmethod
    def backward(ctx, grad):
        (scale,) = ctx.saved_tensors
        return torch.empty_like(scale).copy_(grad * scale), None


@pytest.mark.parametrize('layout', ['contiguous', 'channels-last', 'transposed'])
@pytest.mark.parametrize('size, target', [((7,), (3,)), ((6, 5), (3, 3)), ((2, 2), (3, 3)), ((3, 6, 5), (3, 3, 3))])
def test_gradients(size, target, layout):
    x = torch.randn(2, 4, *size, dtype=torch.float64, requires_grad=True)
    scale = torch.randn(2, 4, *size, dtype=torch.float64)
    if layout == 'channels-last':
        scale = scale.movedim(1, -1).contiguous().movedim(-1, 1)
    elif layout == 'transposed':
        scale = scale.transpose(0, 1).contiguous().transpose(0, 1)
    weight = torch.randn(2, 4, 3 ** len(target), dtype=torch.float64)

    def gradient(through, context):
        loss = _Scaled.apply(through, scale).square().sum() + (context * weight).sin().sum()
        return torch.autograd.grad(loss, x)[0]

    beside = average_beside(x, target)
    assert_close(beside[1], average_pool(x, target))
    assert_close(gradient(*beside), gradient(x, average_pool(x, target)))


@pytest.mark.parametrize('used', [0, 1])
def test_either_result_alone(used):
    x = torch.randn(2, 4, 6, 5, dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad((x, average_pool(x, (3, 3)))[used].square().sum(), x)[0]
    assert_close(torch.autograd.grad(average_beside(x, (3, 3))[used].square().sum(), x)[0], expected)


def test_gradients_may_be_differentiated():
    weight = torch.randn(3, 4, 3, 3, dtype=torch.float64)

    def both(x):
        x, context = average_beside(x, (3, 3))
        return F.conv2d(x, weight), context.sin()

    x = torch.randn(2, 4, 6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(both, x)
    assert torch.autograd.gradgradcheck(both, x)


@pytest.mark.parametrize('size', [(3, 3), (400, 400)], ids=['nothing to pool', 'too large'])
def test_left_to_pooling_by_itself(size):
    x = torch.randn(1, 1, *size, requires_grad=True)
    assert average_beside(x, (3, 3)) == (x, None)
    with torch.no_grad():
        assert average_beside(torch.randn(1, 1, 6, 6, requires_grad=True), (3, 3))[1] is None


@pytest.mark.parametrize('layer, shape', [
    (CGConv2d(4, 6, 3, padding=1, num_segments=2), (4, 4, 6, 5)),
    (CGConv2d(4, 6, 3, padding=1, padding_mode='circular'), (4, 4, 6, 5)),
    (CGConv3d(4, 6, (1, 3, 3), padding=(0, 1, 1), num_frames=2), (2, 4, 2, 6, 5)),
    (CGConv3d(4, 6, (3, 3, 3), padding=1), (2, 4, 4, 6, 5)),
], ids=['segments', 'padded', 'frames', '3d'])  # fmt: skip
def test_layers_read_their_input_this_way(layer, shape, monkeypatch):
    """A layer's gradients are those that it has without."""
    layer, x = layer.double(), torch.randn(shape, dtype=torch.float64, requires_grad=True)
    calls, results = [], []
    monkeypatch.setattr('mmcgc.layers.gate.average_beside', lambda *a: calls.append(layer._reads) or average_beside(*a))
    for layer._reads in (True, False):
        results.append(torch.autograd.grad(layer(x).square().sum(), [x, *layer.parameters()]))
    assert calls == [True]
    for ours, expected in zip(*results, strict=True):
        assert_close(ours, expected)


def test_under_autocast():
    layer, x = CGConv2d(4, 6, 3, padding=1), torch.randn(4, 4, 9, 9, requires_grad=True)
    expected = torch.autograd.grad(layer(x).square().sum(), x)[0]
    with torch.autocast('cpu', torch.bfloat16):
        y = layer(x)
    assert_close(torch.autograd.grad(y.float().square().sum(), x)[0], expected, tolerance=0.05)
