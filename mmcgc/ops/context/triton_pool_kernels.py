"""The Triton kernels of adaptive average pooling.

Layouts: x (B, C, H, W) of any strides, pooled (B, PH * PW, C).  Blocks are padded to powers of two of at least 16,
because ``tl.dot`` takes no others.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _window(position, target, size, TARGETS: tl.constexpr):
    """Tell whether a position lies in the window of a target of adaptive pooling."""
    return (position >= target * size // TARGETS) & (position < ((target + 1) * size + TARGETS - 1) // TARGETS)


@triton.jit
def _length(target, size, TARGETS: tl.constexpr):
    return ((target + 1) * size + TARGETS - 1) // TARGETS - target * size // TARGETS


@triton.jit
def pool(
    x, pooled, stride_b, stride_c, stride_h, stride_w, height, width, C: tl.constexpr, PH: tl.constexpr,
    PW: tl.constexpr, BW: tl.constexpr, BX: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Take adaptive averages; a program fills one row of the target for a block of channels."""
    sample, i = (tl.program_id(0) // PH).to(tl.int64), tl.program_id(0) % PH
    c, j = tl.program_id(1) * BC + tl.arange(0, BC), tl.arange(0, BW)
    rows = _length(i, height, PH)
    x += sample * stride_b + i * height // PH * stride_h
    acc = tl.zeros((BW, BC), tl.float32)
    for start in range(0, rows * width, BX):
        s = start + tl.arange(0, BX)
        h, w = s // width, s % width
        mask = (s < rows * width)[:, None] & (c < C)[None, :]
        values = tl.load(x + (h * stride_h + w * stride_w)[:, None] + (c * stride_c)[None, :], mask, 0)  # (BX, BC)
        acc = tl.dot(_window(w[None, :], j[:, None], width, PW).to(values.dtype), values, acc, input_precision='ieee')
    acc /= (rows * _length(j, width, PW))[:, None]
    at = (sample * PH * PW + i * PW + j)[:, None] * C + c[None, :]
    tl.store(pooled + at, acc, (j < PW)[:, None] & (c < C)[None, :])


@triton.jit
def pool_grad(
    grad, out, stride_gb, stride_gc, stride_gp, stride_b, stride_c, stride_h, stride_w, height, width, C: tl.constexpr,
    PH: tl.constexpr, PW: tl.constexpr, BP: tl.constexpr, BX: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Go back through :func:`pool`; a program fills a block of pixels and channels."""
    sample = tl.program_id(0).to(tl.int64)
    s, c, p = tl.program_id(1) * BX + tl.arange(0, BX), tl.program_id(2) * BC + tl.arange(0, BC), tl.arange(0, BP)
    h, w, i, j = s // width, s % width, p // PW, p % PW
    mask_p = p < PH * PW
    grads = tl.load(
        grad + sample * stride_gb + p[:, None] * stride_gp + c[None, :] * stride_gc,
        mask_p[:, None] & (c < C)[None, :],
        0,
    ).to(tl.float32)  # (BP, BC)
    grads /= tl.where(mask_p, _length(i, height, PH) * _length(j, width, PW), 1)[:, None]
    window = _window(h[:, None], i[None, :], height, PH) & _window(w[:, None], j[None, :], width, PW)  # (BX, BP)
    values = tl.dot(window.to(tl.float32), grads, input_precision='ieee')
    at = (h * stride_h + w * stride_w)[:, None] + (c * stride_c)[None, :]
    tl.store(
        out + sample * stride_b + at, values.to(out.dtype.element_ty), (s < height * width)[:, None] & (c < C)[None, :]
    )
