"""Run the gated convolution as PyTorch's own on tiles, each of some samples and output channels.

The gated kernels of one tile exist at a time; nothing of size B*O*C*K is ever alive.  Nor is it saved for the backward
pass, which makes the gates again.  It runs on any device, and was built for the CPU.
"""

from __future__ import annotations

import math
from typing import Sequence  # noqa: UP035  torch 2.6 reads no other spelling

import torch
from torch import Tensor
from torch.nn import functional as F

from ..modes import transformed
from .operators import output_shape, register, result_format
from .tiles import CHANNELS, Tiles
from .views import to_2d

_SMALL_MAP = 16  # Up to so many pixels one product is quicker than oneDNN's gradient of a kernel in half precision.


def can_run(x: Tensor, *arguments) -> str | None:
    """Tell why this backend cannot take the arguments of :func:`run`, or return None if it can."""
    if transformed():
        return 'its operator takes no transformation of functions, nor derivatives taken forward'
    return None if x.is_floating_point() else f'it needs a floating-point input, got {x.dtype}'


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
    """Convolve (B, C, *S) to (B, O, *S').  Second derivatives are those of the literal formula."""
    if combine == 'sigmoid_product' and gate_in is not None and gate_out is not None:
        gate_in, gate_out, combine = gate_in.sigmoid(), gate_out.sigmoid(), 'factors'
    arguments, restore = to_2d(x, weight, gate_in, gate_out, stride, padding, dilation)
    return restore(tiled_conv(*arguments[:4], bias, *arguments[4:], groups, combine))


def _conv_gradients(grad, x, kernels, stride, padding, dilation, groups, need_x, need_kernels):
    """Give the gradients of x (1, g * c, *S) and of the kernels (g * o, c, *K), or None if it is not needed.

    Two kinds of kernels get their gradient in a way that is quicker than oneDNN's own: those of one sample's small map
    in half precision by a product of matrices, and small kernels of few channels with channels of zeros beside them.
    """

    def gradients(x: Tensor, kernels: Tensor, *needs: bool) -> tuple[Tensor | None, Tensor | None, None]:
        return torch.ops.aten.convolution_backward(
            grad, x, kernels, None, stride, padding, dilation, False, [0] * len(stride), groups, [*needs, False]
        )

    (out, channels), size = kernels.shape[:2], kernels.shape[2:]
    small = grad.shape[2:].numel() <= _SMALL_MAP and len(size) == 2 and x.itemsize == 2
    if need_kernels and groups == 1 and small:
        patches = F.unfold(x, size, dilation, padding, stride)[0]  # (c * K, pixels)
        dk = (grad.reshape(out, -1) @ patches.T).view(kernels.shape)
        return gradients(x, kernels, True, False)[0] if need_x else None, dk
    few = 1 < channels < CHANNELS <= out // groups and groups > 1 and size.numel() <= 9 and x.device.type == 'cpu'
    if not (few and need_kernels):
        return gradients(x, kernels, need_x, need_kernels)[:2]
    dx = gradients(x, kernels, True, False)[0] if need_x else None
    padded = F.pad(x.view(groups, channels, *x.shape[2:]), [0, 0] * len(stride) + [0, CHANNELS - channels])
    dk = gradients(padded.view(1, -1, *x.shape[2:]), kernels.new_empty(out, CHANNELS, *size), False, True)[1]
    return dx, dk[:, :channels]


@torch.library.custom_op('mmcgc::tiled_conv', mutates_args=())
def tiled_conv(
    x: Tensor,
    weight: Tensor,
    gate_in: Tensor | None,
    gate_out: Tensor | None,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    combine: str,
) -> Tensor:
    """Convolve (B, C, *S) to (B, O, *S'), over two or three spatial axes."""
    shape = output_shape(x, weight, stride, padding, dilation)
    if 0 in shape:
        return torch.empty(shape, dtype=x.dtype, device=x.device)
    tiling = Tiles(x, weight, gate_in, gate_out, groups, combine, 1, x.numel() + math.prod(shape))
    conv = torch.conv2d if x.dim() == 4 else torch.conv3d
    like = dict(dtype=x.dtype, device=x.device, memory_format=result_format(x))
    y = None if tiling.layout.whole else torch.empty(shape, **like)
    for rows, channels, weights in tiling.parts():
        for gate, product, _, some_x, some_y in tiling.tiles(rows, x, None if y is None else y[:, channels]):
            n = len(some_x)
            kernels = tiling.kernels(tiling.apply(gate, weights, out=product), x.dtype)
            offsets = None if bias is None else bias[channels].repeat(n)
            out = conv(tiling.fold(some_x), kernels, offsets, stride, padding, dilation, n * groups)
            if y is None:
                return torch.ops.aten._unsafe_view(out, shape)  # a plain view could not be changed in place
            some_y.copy_(out.view(some_y.shape))
    return y


@torch.library.custom_op('mmcgc::tiled_conv_backward', mutates_args=())
def tiled_conv_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    gate_in: Tensor | None,
    gate_out: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    combine: str,
    need_x: bool,
    need_weight_or_gate: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Give the gradients of x, weight, gate_in and gate_out; one that is not needed is an empty tensor."""
    if grad.numel() == 0 or not (need_x or need_weight_or_gate):
        given, needs = (x, weight, gate_in, gate_out), (need_x, *[need_weight_or_gate] * 3)
        return tuple(
            torch.zeros_like(t) if t is not None and need else x.new_empty(0)
            for t, need in zip(given, needs, strict=True)
        )
    tiling = Tiles(x, weight, gate_in, gate_out, groups, combine, 2, 2 * x.numel() + grad.numel())
    grad_x = torch.empty_like(x) if need_x and not tiling.layout.whole else None
    grad_w = torch.zeros_like(tiling.weight, dtype=tiling.dtype)
    grad_a = None if tiling.a is None else torch.empty_like(tiling.a)
    grad_b = None if tiling.b is None else torch.empty_like(tiling.b)
    is_product = combine != 'sum' and tiling.a is not None and tiling.b is not None
    for rows, channels, weights in tiling.parts():
        write = Tensor.copy_ if rows.start == 0 else Tensor.add_  # parts beyond the first add to what it wrote
        part_w, part_b = grad_w[:, :, rows], None if grad_b is None else grad_b[:, :, rows]
        tiles = tiling.tiles(rows, x, grad[:, channels], grad_x, grad_a, part_b)
        for gate, product, (a, b), some_x, some_grad, some_grad_x, some_grad_a, some_grad_b in tiles:
            n = len(some_x)
            tiling.apply(gate, weights, out=product)  # (n, g, m, q, r)
            folded = tiling.fold(some_grad), tiling.fold(some_x), tiling.kernels(product, x.dtype)
            dx, dk = _conv_gradients(*folded, stride, padding, dilation, n * groups, need_x, need_weight_or_gate)
            if need_x and tiling.layout.whole:
                grad_x = torch.ops.aten._unsafe_view(dx, x.shape)
            elif need_x:
                write(some_grad_x, dx.view(some_x.shape))
            if not need_weight_or_gate:
                continue
            dk = dk.reshape(gate.shape).to(gate.dtype)
            if combine == 'factors':
                part_w += torch.mul(dk, gate, out=product).sum(0, keepdim=True)
                dk.mul_(weights)
            else:
                tiling.apply(gate, dk, out=dk)
                part_w += dk if n == 1 else dk.sum(0, keepdim=True)
                dk.mul_(torch.sub(weights, product, out=product))  # W g (1 - g) = g (W - W g)
            # dk is now the gradient of a + b, or of a * b.
            if a is not None:
                write(some_grad_a, (dk * b if is_product else dk).sum(2, keepdim=True))
            if b is not None:
                some_grad_b.copy_(tiling.sum_channels(dk * a if is_product else dk))
    grad_x = x.new_empty(0) if grad_x is None else grad_x
    if not need_weight_or_gate:
        return grad_x, *(x.new_empty(0) for _ in range(3))
    terms = ((grad_w, weight), (grad_a, gate_in), (grad_b, gate_out))
    return grad_x, *(x.new_empty(0) if g is None else g.reshape(t.shape).to(t.dtype) for g, t in terms)


register(tiled_conv, tiled_conv_backward)
