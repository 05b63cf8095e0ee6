"""The rivals of a gated convolution in the benchmark: other ways to run it, and another layer.

The ways are backends of :func:`mmcgc.ops.context_gated_conv`.  They take two axes, and what
:func:`~mmcgc.ops.conv.views.to_2d` reduces to two.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmcgc.ops.conv.functional import BACKENDS
from mmcgc.ops.conv.views import to_2d
from mmcgc.ops.gating import gate_values


class _Rival:
    """A backend made of a function of (x, weight, gate_in, gate_out, stride, padding, dilation, groups, combine)."""

    def __init__(self, convolve: Callable[..., Tensor]):
        self.convolve = convolve

    def can_run(self, x: Tensor, weight: Tensor | None = None, *others) -> str | None:
        if x.dim() == 5 and weight is not None and tuple(weight.shape[3:]) != (1, 1):
            return 'it takes kernels over one or two axes'
        return None

    def run(self, x, weight, gate_in, gate_out, bias, stride, padding, dilation, groups, combine) -> Tensor:
        arguments, restore = to_2d(x, weight, gate_in, gate_out, stride, padding, dilation)
        y = restore(self.convolve(*arguments, groups, combine))
        return y if bias is None else y + bias.view(-1, *[1] * (y.dim() - 2))


def _unfolded(x, weight, gate_in, gate_out, stride, padding, dilation, groups, combine) -> Tensor:
    """Unfold the input to (B, C K, L), then take one matrix product a sample and group, as the authors do."""
    kernels = (weight * gate_values(gate_in, gate_out, len(weight), groups, combine)).to(x.dtype)  # (B, O, C/g, *K)
    patches = F.unfold(x, weight.shape[2:], dilation, padding, stride)  # (B, C*K, L)
    size = [(s + 2 * p - d * (k - 1) - 1) // t + 1 for s, k, t, p, d in
            zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)]  # fmt: skip
    kernels, patches = kernels.flatten(2).unflatten(1, (groups, -1)), patches.unflatten(1, (groups, -1))
    return (kernels @ patches).flatten(1, 2).unflatten(2, size)  # (B, O, *S')


def _batch_as_groups(x, weight, gate_in, gate_out, stride, padding, dilation, groups, combine) -> Tensor:
    """Run one grouped convolution over all samples, with their gated kernels in memory at once."""
    kernels = (weight * gate_values(gate_in, gate_out, len(weight), groups, combine)).to(x.dtype)  # (B, O, C/g, *K)
    y = F.conv2d(x.flatten(0, 1)[None], kernels.flatten(0, 1), None, stride, padding, dilation, len(x) * groups)
    return y.unflatten(1, (len(x), -1)).squeeze(0)


def _context_only(x, weight, gate_in, gate_out, stride, padding, dilation, groups, combine) -> Tensor:
    """Run the plain convolution; the gate is computed, and differentiated, but not applied."""
    y = F.conv2d(x, weight, None, stride, padding, dilation, groups)
    return _Attached.apply(y, gate_in, gate_out)


class _Attached(torch.autograd.Function):
    """Pass the first argument on, and send gradients of zero to the others, through all that computed them."""

    @staticmethod
    def forward(ctx, y: Tensor, *terms: Tensor | None) -> Tensor:
        ctx.save_for_backward(*terms)
        return y.view_as(y)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad, *(None if t is None else torch.zeros_like(t) for t in ctx.saved_tensors)


RIVALS = {'unfold': _Rival(_unfolded), 'batch_as_groups': _Rival(_batch_as_groups), 'context': _Rival(_context_only)}


@contextlib.contextmanager
def rival_backends() -> Iterator[None]:
    """Make the rivals backends of :func:`mmcgc.ops.context_gated_conv` within the block, by the names of RIVALS."""
    BACKENDS.update(RIVALS)
    try:
        yield
    finally:
        for name in RIVALS:
            del BACKENDS[name]


class CondConv(nn.Module):
    """Stand in for a gated convolution with timm's conditionally parameterised one (Yang et al., 2019).

    It has a kernel for each sample too, but mixes it from four, weighted by the sigmoid of a linear layer over the
    channels' means.  It computes something else, so only the cost compares, not the outputs.
    """

    def __init__(self, conv: nn.Conv2d, experts: int = 4):
        from timm.layers import CondConv2d

        super().__init__()
        self.route = nn.Linear(conv.in_channels, experts)
        self.conv = CondConv2d(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation,
            conv.groups, conv.bias is not None, experts,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x, self.route(x.mean((2, 3))).sigmoid())
