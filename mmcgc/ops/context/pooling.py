"""Pool the input of a convolution adaptively to its context (paper, Sec. 2.2)."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from mmcgc.ops.context import triton_pool
from mmcgc.ops.modes import differentiated, traced, transformed

_SMALL_MAP = 512  # Up to so many pixels, one matrix for all axes is quicker than one each, unless channels lie last.
_MAX_POOLS = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}
_SMALL = 1 << 17  # A matrix of up to so many elements is kept, and spreads the context's gradient over the input.
_KEPT = 64  # So many matrices are kept, at most 32 MB of float32: a detector sees pictures of ever new sizes.


def _build(sizes: tuple[int, ...], targets: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    axes = []
    for size, target in zip(sizes, targets, strict=True):
        i, position = torch.arange(target, device=device), torch.arange(size, device=device)
        start, stop = i * size // target, ((i + 1) * size + target - 1) // target  # (t,)
        window = (position >= start[:, None]) & (position < stop[:, None])  # (t, s)
        axes.append(window.to(dtype) / (stop - start)[:, None].to(dtype))
    return functools.reduce(torch.kron, axes)


@functools.lru_cache(_KEPT)
def _kept(*arguments) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():
        return _build(*arguments)


def averaging_matrix(sizes: tuple[int, ...], targets: tuple[int, ...], like: Tensor) -> Tensor:
    """Give adaptive average pooling as a matrix: (prod(targets), prod(sizes)), row-major over the axes.

    Each row sums to one.  The result equals that of ``nn.AdaptiveAvgPoolNd`` for any size, larger or smaller than the
    target, but is deterministic on CUDA and can be exported.  The last small matrices are kept, unless a tracer, a
    transformation or a mode (fake tensors) takes part in the call, whose tensors would be of no use to other calls.
    """
    fresh = traced() or transformed() or is_in_torch_dispatch_mode() or type(like) not in (Tensor, torch.nn.Parameter)
    small = not fresh and math.prod(sizes) * math.prod(targets) <= _SMALL
    return (_kept if small else _build)(sizes, targets, like.dtype, like.device)


def average_pool(x: Tensor, targets: tuple[int, ...]) -> Tensor:
    """Take adaptive averages, flattened: (B, C, *S) -> (B, C, prod(targets))."""
    if x.is_cuda and triton_pool.can_run(x, targets) is None:
        return triton_pool.run(x, targets)
    sizes = tuple(x.shape[2:])
    if traced():
        return _average_any_size(x, targets)
    if _last(x) or math.prod(sizes) > _SMALL_MAP:
        return _average_by_axis(x, targets)
    if sizes == targets:
        return x.flatten(2)
    matrix = averaging_matrix(sizes, targets, x)  # (P, S)
    pixels = x.flatten(2).transpose(1, 2)  # (B, S, C)
    return torch.bmm(matrix.expand(x.shape[0], -1, -1), pixels).transpose(1, 2)


def _average_by_axis(x: Tensor, targets: tuple[int, ...]) -> Tensor:
    """Average one axis after the other, the first one first, which adds up whole rows and leaves little for the last.

    A row holds the channels too, if they lie last.
    """
    (batch, channels), sizes, last = x.shape[:2], x.shape[2:], _last(x)
    x, n, inner = (x.movedim(1, -1), batch, channels) if last else (x, batch * channels, 1)
    for i, (size, target) in enumerate(zip(sizes, targets, strict=True)):
        matrix = averaging_matrix((size,), (target,), x)  # (t, s)
        if i == len(targets) - 1 and not last:  # the rows of this axis are single elements
            x = torch.mm(x.reshape(n, size), matrix.T)
        else:
            x = torch.bmm(matrix.expand(n, -1, -1), x.reshape(n, size, math.prod(sizes[i + 1 :]) * inner))
        n *= target
    if last:
        return x.view(batch, -1, channels).transpose(1, 2)
    return x.view(batch, channels, math.prod(targets))


def _average_any_size(x: Tensor, targets: tuple[int, ...]) -> Tensor:
    """Average without asking for the sizes, which would tie a traced program to some of them.

    The last axis goes first, and no product of two sizes of a picture is taken apart again.
    """
    (batch, channels, *before, size), n = x.shape, x.shape[0] * x.shape[1]
    matrix, row = averaging_matrix((size,), targets[-1:], x), targets[-1]  # (t, s)
    x = torch.bmm(x.reshape(n, math.prod(before), size), matrix.T.expand(n, -1, -1))
    for target in reversed(targets[:-1]):
        *before, size = before
        matrix, rows = averaging_matrix((size,), (target,), x), n * math.prod(before)
        x, row = torch.bmm(matrix.expand(rows, -1, -1), x.reshape(rows, size, row)), row * target
    return x.reshape(batch, channels, row)


def _last(x: Tensor) -> bool:
    return x.stride(1) == 1 and x.shape[1] > 1


def average_beside(x: Tensor, targets: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
    """Return ``x``, for the one function that reads it beside its context, and :func:`average_pool` of it.

    In the backward pass the gradient of the context is added in place to that function's gradient of ``x``, which
    nothing else may hold: on a CPU this takes a third of the time of spreading the gradient and adding it.  The context
    is None if nothing would be gained.
    """
    trained = x.requires_grad and torch.is_grad_enabled() and x.device.type == 'cpu' and type(x) is Tensor
    if not trained or traced() or transformed():
        return x, None
    sizes = x.shape[2:]
    if sizes == targets or sizes.numel() * math.prod(targets) > _SMALL:
        return x, None
    return _Beside.apply(x, targets)


class _Beside(torch.autograd.Function):
    """Maps x (B, C, *S) to itself and to its context (B, C, P)."""

    @staticmethod
    def forward(ctx, x: Tensor, targets: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        ctx.sizes, ctx.targets, ctx.dtype = tuple(x.shape[2:]), targets, x.dtype
        ctx.set_materialize_grads(False)
        return x.view_as(x), average_pool(x, targets)

    @staticmethod
    def backward(ctx, grad: Tensor | None, grad_context: Tensor | None) -> tuple[Tensor | None, None]:
        if grad_context is None:
            return grad, None
        grad_context = grad_context.to(ctx.dtype)
        matrix = averaging_matrix(ctx.sizes, ctx.targets, grad_context)  # (P, S)
        if grad is None or differentiated(grad):  # there is nothing to add to, or it must stay as it is
            spread = (grad_context @ matrix).reshape(*grad_context.shape[:2], *ctx.sizes)
            return spread if grad is None else grad + spread, None
        pixels = grad.movedim(1, -1)  # (B, *S, C)
        if pixels.is_contiguous():
            rows = pixels.view(len(grad), -1, grad.shape[1])
            rows.baddbmm_(matrix.T.expand(len(grad), -1, -1), grad_context.transpose(1, 2))
            return grad, None
        grad = grad.contiguous()
        grad.view(-1, matrix.shape[1]).addmm_(grad_context.flatten(0, 1), matrix)
        return grad, None


def max_pool(x: Tensor, targets: tuple[int, ...]) -> Tensor:
    """Take adaptive maxima, flattened: (B, C, *S) -> (B, C, prod(targets))."""
    return _MAX_POOLS[len(targets)](x, targets).reshape(*x.shape[:2], math.prod(targets))


POOLS = {'avg': average_pool, 'max': max_pool}
