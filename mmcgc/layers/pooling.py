"""Adaptive pooling of the context (paper, Sec. 2.2)."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mmcgc.ops import triton_pool

# Up to this many elements (16 MB in float32) one matrix pools all axes at once, in one pass over the input.
_MAX_ELEMENTS = 4 << 20
_LONG_ROW = 32  # elements of the last axis from which adding up rows is quicker than one matrix with few rows
_MAX_POOLS = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}
_SMALL = 1 << 17  # elements up to which a matrix spreads the context's gradient over the input
_KEPT = 128  # matrices; a detector sees pictures of ever new sizes


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
    """Adaptive average pooling as a matrix: (prod(targets), prod(sizes)), rows summing to one, row-major over the axes.

    Equal to ``nn.AdaptiveAvgPoolNd`` of any size, larger or smaller than the target, but deterministic on CUDA and
    exportable.  The last ones are kept, unless the call is being traced, compiled or run on fake tensors.
    """
    fresh = torch.compiler.is_compiling() or torch.jit.is_tracing() or type(like) not in (Tensor, torch.nn.Parameter)
    return (_build if fresh else _kept)(sizes, targets, like.dtype, like.device)


def average_pool(x: Tensor, targets: tuple[int, ...]) -> Tensor:
    """Adaptive average pooling, flattened: (B, C, *S) -> (B, C, prod(targets))."""
    sizes = tuple(x.shape[2:])
    if sizes == targets:
        return x.flatten(2)
    if x.is_cuda and triton_pool.can_run(x, targets) is None:
        return triton_pool.run(x, targets)
    last = x.stride(1) == 1 and x.shape[1] > 1
    fits = math.prod(sizes) * math.prod(targets) <= _MAX_ELEMENTS
    if not fits or (len(sizes) > 1 and sizes[-1] >= _LONG_ROW and not last):
        return _average_by_axis(x, targets)
    matrix = averaging_matrix(sizes, targets, x)  # (P, S)
    pixels = x.flatten(2).transpose(1, 2)  # (B, S, C), a view of either layout
    return torch.bmm(matrix.expand(x.shape[0], -1, -1), pixels).transpose(1, 2)


def _average_by_axis(x: Tensor, targets: tuple[int, ...]) -> Tensor:
    """One axis after the other, the first one first: whole rows are added up, and little is left for the last."""
    batch, rest = x.shape[:2], x.shape[2:].numel()
    for size, target in zip(x.shape[2:], targets, strict=True):
        rest //= size
        matrix, x = averaging_matrix((size,), (target,), x), x.reshape(-1, size, rest)  # (t, s), (n, s, rest)
        x = torch.bmm(matrix.expand(x.shape[0], -1, -1), x) if rest > 1 else torch.mm(x.view(-1, size), matrix.T)
    return x.view(*batch, math.prod(targets))


def average_beside(x: Tensor, targets: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
    """``x``, for the one function that reads it beside its context, and :func:`average_pool` of it.

    In the backward pass the gradient of the context is added in place to that function's gradient of ``x``, which must
    be its own: on a CPU it takes a third of the time of spreading and adding it.  None in the place of the context:
    nothing is gained here.
    """
    trained = x.requires_grad and torch.is_grad_enabled() and x.device.type == 'cpu' and type(x) is Tensor
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.onnx.is_in_onnx_export()
    sizes = x.shape[2:]
    if not trained or traced or torch._C._are_functorch_transforms_active():
        return x, None
    if sizes == targets or sizes.numel() * math.prod(targets) > _SMALL:
        return x, None
    return _Beside.apply(x, targets)


class _Beside(torch.autograd.Function):
    """x (B, C, *S) -> the same, and (B, C, P)."""

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
        if grad is None or torch.is_grad_enabled():  # nothing to add to, or about to be differentiated itself
            spread = (grad_context @ matrix).unflatten(2, ctx.sizes)
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
    """Adaptive max pooling, flattened: (B, C, *S) -> (B, C, prod(targets))."""
    return _MAX_POOLS[len(targets)](x, targets).flatten(2)


POOLS = {'avg': average_pool, 'max': max_pool}
