"""Compute the formula literally, by one gated kernel and one ordinary convolution per sample, as the tests' truth."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..gating import gate_values

_CONVS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


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
    conv = _CONVS[x.dim() - 2]
    if len(x) == 0:
        return conv(x, weight, bias, stride, padding, dilation, groups)
    gate = gate_values(gate_in, gate_out, len(weight), groups, combine)  # (B, O, C/g, *K)
    kernels = (weight * gate).to(x.dtype)  # (B, O, C/g, *K)
    samples = zip(x.split(1), kernels, strict=True)
    return torch.cat([conv(sample, kernel, bias, stride, padding, dilation, groups) for sample, kernel in samples])
