"""Compute the convolution by slices and one matrix product, which every exporter and runtime knows.

With the batch folded into its groups, a convolution would have as many groups as samples, and ONNX wants that number
before it has seen the batch.  This way takes the memory of the unfolded input, one copy for each kernel element.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from ..gating import gate_values


def can_run(x: Tensor, *arguments) -> str | None:
    """Tell why this backend cannot take the arguments of :func:`run`, or return None if it can."""
    return None


def run(
    x: Tensor,
    weight: Tensor,
    gate_in: Tensor | None,
    gate_out: Tensor | None,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    combine: str,
) -> Tensor:
    """Convolve (B, C, *S) to (B, O, *S'); the result can be differentiated any number of times."""
    kernels = weight * gate_values(gate_in, gate_out, weight.shape[0], groups, combine)  # (B, O, C/g, *K)
    kernels = kernels.to(x.dtype).flatten(2).unflatten(1, (groups, -1))  # (B, g, O/g, C/g * n)
    x = F.pad(x, [p for both in reversed(padding) for p in (both, both)])
    axes = list(zip(x.shape[2:], weight.shape[2:], stride, dilation, strict=True))
    sizes = [(size - d * (k - 1) - 1) // s + 1 for size, k, s, d in axes]  # S'
    windows = []
    for offsets in product(*(range(k) for k in weight.shape[2:])):
        window = x
        for axis, (i, size, (_, _, s, d)) in enumerate(zip(offsets, sizes, axes, strict=True), 2):
            window = _cut(window, axis, i * d, size, s)
        windows.append(window.flatten(2))  # (B, C, L)
    columns = torch.stack(windows, dim=2).unflatten(1, (groups, -1)).flatten(2, 3)  # (B, g, C/g * n, L)
    y = (kernels @ columns).flatten(1, 2).unflatten(2, sizes)  # (B, O, *S')
    return y if bias is None else y + bias.view(-1, *[1] * len(sizes))


def _cut(x: Tensor, axis: int, start: int, size: int, step: int) -> Tensor:
    """Take ``size`` positions of an axis, by their indices if they lie apart, because an exporter that knows no sizes
    cannot tell that a slice of that many ends within the axis."""
    if step == 1:
        return x.narrow(axis, start, size)
    return x.index_select(axis, torch.arange(size, device=x.device) * step + start)
