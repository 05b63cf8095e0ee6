"""Pool the input of a convolution adaptively to its context (paper, Sec. 2.2)."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from mmcgc.ops.context import triton_pool
from mmcgc.ops.modes import traced, transformed

_KEPT = 1 << 16  # A matrix that pools whole maps is kept if it has at most so many elements.
_AVERAGES = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
_MAXIMA = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}


def averaging_matrix(size: int, target: int, like: Tensor) -> Tensor:
    """Give adaptive average pooling of one axis as a matrix (target, size), whose rows sum to one.

    The size may be larger or smaller than the target; ``like`` gives dtype and device.
    """
    i, position = torch.arange(target, device=like.device), torch.arange(size, device=like.device)
    start, stop = i * size // target, ((i + 1) * size + target - 1) // target  # (t,)
    window = (position >= start[:, None]) & (position < stop[:, None])  # (t, s)
    return window.to(like.dtype) / (stop - start)[:, None].to(like.dtype)


def average_pool(x: Tensor, targets: tuple[int, ...]) -> Tensor:
    """Take adaptive averages, flattened: (B, C, *S) -> (B, C, prod(targets)).

    On a CPU one product with a matrix pools contiguous maps, and PyTorch's own pooling those that are large or in
    channels-last layout.  The gradient of the latter is not deterministic on a GPU, and its export would be tied to one
    size, so a kernel of ours or products with matrices do the work there.
    """
    if x.is_cuda and triton_pool.can_run(x, targets) is None:
        return triton_pool.run(x, targets)
    if x.device.type != 'cpu' or traced():
        return _average_by_matrices(x, targets)
    sizes = tuple(x.shape[2:])
    plain = type(x) is Tensor and not transformed() and not is_in_torch_dispatch_mode()
    if plain and x.is_contiguous() and math.prod(sizes) * math.prod(targets) <= _KEPT:
        return x.flatten(2) @ _kept_matrix(sizes, targets, x.dtype).T
    pooled = _AVERAGES[len(targets)](x, targets).flatten(2)
    if plain and pooled.requires_grad and x.is_contiguous():
        # Of a gradient in another layout PyTorch makes that of x in that layout too, and then copies it.
        pooled.register_hook(lambda grad: grad if grad is None else grad.contiguous())
    return pooled


@functools.lru_cache(64)
def _kept_matrix(sizes: tuple[int, ...], targets: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Give the averages over all axes as one matrix (prod(targets), prod(sizes)), row-major, and keep the last ones."""
    with torch.inference_mode(False), torch.no_grad():
        like = torch.empty((), dtype=dtype, device='cpu')
        axes = [averaging_matrix(size, target, like) for size, target in zip(sizes, targets, strict=True)]
        return functools.reduce(torch.kron, axes)


def _average_by_matrices(x: Tensor, targets: tuple[int, ...]) -> Tensor:
    """Average without asking for the sizes, which would tie a traced program to some of them.

    The last axis goes first, and no product of two sizes of a picture is taken apart again.
    """
    (batch, channels, *before, size), n = x.shape, x.shape[0] * x.shape[1]
    matrix, row = averaging_matrix(size, targets[-1], x), targets[-1]  # (t, s)
    x = torch.bmm(x.reshape(n, math.prod(before), size), matrix.T.expand(n, -1, -1))
    for target in reversed(targets[:-1]):
        *before, size = before
        matrix, rows = averaging_matrix(size, target, x), n * math.prod(before)
        x, row = torch.bmm(matrix.expand(rows, -1, -1), x.reshape(rows, size, row)), row * target
    return x.reshape(batch, channels, row)


def max_pool(x: Tensor, targets: tuple[int, ...]) -> Tensor:
    """Take adaptive maxima, flattened: (B, C, *S) -> (B, C, prod(targets))."""
    return _MAXIMA[len(targets)](x, targets).flatten(2)


POOLS = {'avg': average_pool, 'max': max_pool}
