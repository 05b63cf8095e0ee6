"""BAM and CBAM against their formulas, written out channel by channel; parameters of one module."""

import pytest
import torch
from helpers import assert_close
from torch import nn
from torch.nn import functional as F

from mmcgc.layers import BAM, CBAM


def norm(x, bn):
    """Batch norm over all axes but the second, with the statistics of the batch or the running ones."""
    axes = [i for i in range(x.dim()) if i != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    mean, var = (x.mean(axes), x.var(axes, correction=0)) if bn.training else (bn.running_mean, bn.running_var)
    x = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + bn.eps)
    return x * bn.weight.view(shape) + bn.bias.view(shape)


def linear(x, layer):
    """(B, C) -> (B, O), a weighted sum for each output."""
    return torch.stack([(x * row).sum(1) + bias for row, bias in zip(layer.weight, layer.bias, strict=True)], 1)


def bam(m, x):
    first, bn, _, last = m.channel
    pooled = x.flatten(2).sum(2) / x[0, 0].numel()
    channel = linear(torch.clamp(norm(linear(pooled, first), bn), min=0), last)  # (B, C)
    reduce, bn0, _, conv1, bn1, _, conv2, bn2, _, last = m.spatial
    y = torch.clamp(
        norm(torch.einsum('bchw,oc->bohw', x, reduce.weight[:, :, 0, 0]) + reduce.bias[:, None, None], bn0), min=0
    )
    for conv, bn in ((conv1, bn1), (conv2, bn2)):
        d, (h, w) = conv.dilation[0], x.shape[2:]
        padded, taps = F.pad(y, (d, d, d, d)), torch.zeros_like(y)
        for i in range(3):
            for j in range(3):
                shifted = padded[:, :, i * d : i * d + h, j * d : j * d + w]
                taps = taps + torch.einsum('bchw,oc->bohw', shifted, conv.weight[:, :, i, j])
        y = torch.clamp(norm(taps + conv.bias[:, None, None], bn), min=0)
    spatial = torch.einsum('bchw,c->bhw', y, last.weight[0, :, 0, 0]) + last.bias  # (B, H, W)
    return x + x / (1 + torch.exp(-channel[:, :, None, None] * spatial[:, None]))


def cbam(m, x):
    first, _, last = m.channel
    flat = x.flatten(2)
    both = [linear(torch.clamp(linear(pooled, first), min=0), last) for pooled in (flat.mean(2), flat.max(2)[0])]
    y = x / (1 + torch.exp(-(both[0] + both[1])))[:, :, None, None]
    conv, bn = m.spatial
    k = conv.kernel_size[0]
    maps = F.pad(torch.stack([y.max(1)[0], y.sum(1) / y.shape[1]], 1), [k // 2] * 4)  # (B, 2, H + k - 1, W + k - 1)
    windows = maps.unfold(2, k, 1).unfold(3, k, 1)  # (B, 2, H, W, k, k)
    spatial = norm((windows * conv.weight[0, :, None, None]).sum((1, 4, 5))[:, None], bn)
    return y / (1 + torch.exp(-spatial))


CASES = {
    'bam': (BAM, bam, dict(ratio=4, dilation=2)),
    'bam-narrow': (BAM, bam, dict(ratio=8, dilation=1)),
    'cbam': (CBAM, cbam, dict(ratio=4)),
    'cbam-3x3': (CBAM, cbam, dict(ratio=8, kernel_size=3)),
}


@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
@pytest.mark.parametrize('case', CASES)
def test_output_and_gradients_are_those_of_the_formula(case, training):
    torch.manual_seed(0)
    layer, formula, options = CASES[case]
    module = layer(8, **options).double().train(training)
    for m in module.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(m.weight)
            nn.init.normal_(m.bias)
            m.running_mean.normal_()
            m.running_var.uniform_(0.5, 2)
    x = torch.randn(3, 8, 7, 5, dtype=torch.float64, requires_grad=True)
    results = []
    for y in (module(x), formula(module, x)):
        loss = (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum()
        results.append([y, *torch.autograd.grad(loss, [x, *module.parameters()])])
    scale = results[1][1].abs().max()
    assert_close(results[0][0], results[1][0], 'output')
    for actual, expected in zip(results[0][1:], results[1][1:], strict=True):
        # a bias before a norm has no gradient at all in training
        torch.testing.assert_close(actual, expected, atol=1e-10 * scale.item(), rtol=1e-9)


@pytest.mark.parametrize('layer, expected', [
    (BAM, 2 * 256 * 16 + 16 + 256 + 2 * 16 + (256 * 16 + 16 + 32) + 2 * (9 * 16 * 16 + 16 + 32) + 16 + 1),
    (CBAM, 2 * 256 * 16 + 16 + 256 + 2 * 49 + 2),
], ids=['bam', 'cbam'])  # fmt: skip
def test_parameters(layer, expected):
    assert sum(p.numel() for p in layer(256).parameters()) == expected


@pytest.mark.parametrize(
    'build, words',
    [
        (lambda: BAM(8, ratio=16), 'ratio=16'),
        (lambda: CBAM(8, ratio=0), 'ratio=0'),
        (lambda: CBAM(8, ratio=2, kernel_size=4), 'kernel_size=4'),
    ],
    ids=['bam-ratio', 'cbam-ratio', 'even-kernel'],
)
def test_bad_options(build, words):
    with pytest.raises(ValueError, match=words):
        build()
