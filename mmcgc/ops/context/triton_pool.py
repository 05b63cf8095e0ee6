"""Pool adaptively on a GPU, in one pass over the input in whatever layout it has, with the same result every time.

A matrix product reads the input well only if channels are many, and PyTorch's kernel adds up gradients in any order.
"""

from __future__ import annotations

import math
from typing import Sequence  # noqa: UP035  torch 2.6 reads no other spelling

import torch
from torch import Tensor
from torch.nn import functional as F

from ..modes import differentiated, transformed
from ..triton_device import no_device

_MOST_TARGETS = 64  # Beyond this, the padded blocks of a program would not fit its registers.
_PIXELS, _CHANNELS = 128, 64  # The size of a program's block.
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def can_run(x: Tensor, targets: tuple[int, ...]) -> str | None:
    """Tell why :func:`run` cannot take its arguments, or return None if it can."""
    problem = no_device(x.device.type, x.device.index, x.dtype)
    if problem is not None:
        return problem
    if torch.jit.is_tracing() or torch.onnx.is_in_onnx_export() or torch.compiler.is_exporting():
        return 'an exporter needs operators that it knows'
    if transformed():
        return 'its operator takes no transformation of functions, nor derivatives taken forward'
    if len(targets) == 3 and targets[1:] != (1, 1):
        return 'it pools two axes'
    if targets[0] * targets[-1] > _MOST_TARGETS:
        return f'a target of {targets} is too large'
    if x.dtype not in _DTYPES or 0 in x.shape or math.prod(x.shape[1:]) >= 2**31:
        return 'it takes float32, float16 and bfloat16, and samples of fewer than 2^31 elements'
    return None


def run(x: Tensor, targets: tuple[int, ...]) -> Tensor:
    """Take adaptive averages: (B, C, *S) -> (B, C, prod(targets)), in float32."""
    if len(targets) == 1:
        x, targets = x.unsqueeze(2), (1, *targets)
    if len(targets) == 3:
        x, targets = x.flatten(3), targets[:2]
    return context_pool(x, targets).transpose(1, 2)


def block(size: int) -> int:
    """Return the side of a block that holds ``size``, a power of two of at least 16, as Triton's products take it."""
    return max(16, 1 << (size - 1).bit_length())


@torch.library.custom_op('mmcgc::context_pool', mutates_args=())
def context_pool(x: Tensor, targets: Sequence[int]) -> Tensor:
    """Take adaptive averages: (B, C, H, W) -> (B, h * w, C), in float32."""
    from . import triton_pool_kernels as kernels

    (b, c, height, width), (high, wide) = x.shape, targets
    pooled = torch.empty(b, high * wide, c, dtype=torch.float32, device=x.device)
    channels = min(_CHANNELS, block(c))
    with torch.cuda.device_of(x):
        kernels.pool[(b * high, -(-c // channels))](
            x, pooled, *x.stride(), height, width, C=c, PH=high, PW=wide, BW=block(wide), BX=_PIXELS, BC=channels
        )
    return pooled


@torch.library.custom_op('mmcgc::context_pool_backward', mutates_args=())
def context_pool_backward(grad: Tensor, x: Tensor, targets: Sequence[int]) -> Tensor:
    """Return the gradient of x, in its layout."""
    from . import triton_pool_kernels as kernels

    (b, c, height, width), (high, wide) = x.shape, targets
    out = torch.empty_like(x)
    channels = min(_CHANNELS, block(c))
    target = block(high * wide)
    pixels = _PIXELS * 16 // target
    with torch.cuda.device_of(x):
        kernels.pool_grad[(b, -(-height * width // pixels), -(-c // channels))](
            grad,
            out,
            *grad.transpose(1, 2).stride(),
            *out.stride(),
            height,
            width,
            C=c,
            PH=high,
            PW=wide,
            BP=target,
            BX=pixels,
            BC=channels,
        )
    return out


@context_pool.register_fake
def _(x, targets):
    return x.new_empty((x.shape[0], targets[0] * targets[1], x.shape[1]), dtype=torch.float32)


@context_pool_backward.register_fake
def _(grad, x, targets):
    return torch.empty_like(x)


def _save(ctx, inputs, output):
    x, ctx.targets = inputs
    ctx.save_for_backward(x)


def _differentiate(ctx, grad):
    (x,) = ctx.saved_tensors
    if not differentiated(grad):
        return context_pool_backward(grad, x, ctx.targets), None
    _, gradient = torch.func.vjp(lambda x: F.adaptive_avg_pool2d(x.float(), ctx.targets).flatten(2).transpose(1, 2), x)
    return *gradient(grad), None


context_pool.register_autograd(_differentiate, setup_context=_save)
