"""Convolve on a GPU by Triton kernels that gate the weights in registers, so that no sample's kernel is in memory.

Everything is read and written channels-last.  A tensor that lies otherwise is copied for the call, and the result takes
the layout of x: a contiguous x costs one more pass over it and over the result, as with cuDNN's half precision kernels.
Sums are kept in float32; products of float32 run in TF32 if ``torch.backends.cudnn`` lets convolutions do so.
Triton launches on the current device, so the operators make the device of x the current one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Sequence  # noqa: UP035  torch 2.6 reads no other spelling

import torch
from torch import Tensor
from torch.nn import functional as F

from ..modes import transformed
from ..triton_device import interpreted, no_device
from .operators import output_shape, register, result_format
from .triton_axes import Axis, forward_axis, gradient_axes
from .triton_tiles import Tiles, conv_tiles, pick, weight_grad_tiles
from .views import frames_to_samples, has_2d_view

# The samples of a weight's gradient are divided among about so many programs, which fill a large GPU several times.
_PROGRAMS = 1024
_MOST_TAPS = 32  # The masks that tell which taps lie within the input have so many bits.
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def can_run(x, weight, gate_in, gate_out, bias, stride, padding, dilation, groups, combine) -> str | None:
    """Tell why this backend cannot take the arguments of :func:`run`, or return None if it can."""
    tensors = [t for t in (x, weight, gate_in, gate_out, bias) if t is not None]
    outputs = output_shape(x, weight, stride, padding, dilation)
    if transformed():
        return 'its operator takes no transformation of functions, nor derivatives taken forward'
    if groups != 1:
        return f'it takes no convolution groups, got groups={groups}'
    if combine != 'sum' and gate_in is not None and gate_out is not None:
        return f"it takes combine='sum' alone, got {combine!r}"
    if not has_2d_view(weight, stride, padding):
        return f'a kernel over three axes must be (k, 1, 1) or (1, k, k), got {tuple(weight.shape[2:])}'
    if any(t.dtype not in _DTYPES for t in tensors):
        return f'it takes float32, float16 and bfloat16, got {", ".join(str(t.dtype) for t in tensors)}'
    if 0 in (*x.shape, *outputs):
        return f'there is nothing to compute: x is {tuple(x.shape)}'
    if max(weight.shape[2:]) > _MOST_TAPS:
        return f'it takes {_MOST_TAPS} taps along an axis, got a kernel {tuple(weight.shape[2:])}'
    if max(math.prod(x.shape[1:]), math.prod(outputs[1:]), weight.numel()) >= 2**31:
        return f'a sample and the weight must have fewer than 2^31 elements, got x {tuple(x.shape)}'
    return no_device(x.device.type, x.device.index, x.dtype)


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
    arguments, restore = frames_to_samples(x, weight, gate_in, gate_out, stride, padding, dilation)
    return restore(triton_conv(*arguments[:4], bias, *arguments[4:]))


@torch.library.custom_op('mmcgc::triton_conv', mutates_args=())
def triton_conv(
    x: Tensor,
    weight: Tensor,
    gate_in: Tensor | None,
    gate_out: Tensor | None,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """Convolve (B, C, H, W) to (B, O, H', W')."""
    shape = output_shape(x, weight, stride, padding, dilation)
    h, w = (forward_axis(*axis) for axis in _axes(x, shape, weight, stride, padding, dilation))
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=result_format(x))
    with torch.cuda.device_of(x):
        source, kernel = _aligned(x), _aligned(weight)
        outputs, inputs, taps = len(kernel), kernel.shape[1], math.prod(kernel.shape[2:])
        strides, factors = (taps * inputs, inputs, 1), _factors(gate_in, gate_out, kernel)
        candidates = conv_tiles(inputs, outputs, taps, h.count * w.count, x.element_size(), _hopper(x))

        def write(out: Tensor) -> None:
            pick(('forward', h, w, kernel.shape, x.dtype, x.device), candidates, lambda tiles: _gated_conv(
                source, kernel, strides, *factors, bias, out, h, w, tiles))  # fmt: skip

        return _written(y, outputs, write)


@torch.library.custom_op('mmcgc::triton_conv_backward', mutates_args=())
def triton_conv_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    gate_in: Tensor | None,
    gate_out: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    need_x: bool,
    need_weight_or_gate: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Give the gradients of x, weight, gate_in and gate_out; one that is not needed is an empty tensor."""
    axes = list(_axes(x, grad.shape, weight, stride, padding, dilation))
    grads = [x.new_empty(0) for _ in range(4)]
    with torch.cuda.device_of(x):
        grad = grad.contiguous(memory_format=torch.channels_last)
        source, kernel = _aligned(x), _aligned(weight)
        factors = _factors(gate_in, gate_out, kernel)
        if need_x:
            out = torch.empty_like(x)
            grads[0] = _written(out, kernel.shape[1], lambda dst: _input_grad(grad, kernel, *factors, dst, axes))
        if need_weight_or_gate:
            sums = _weight_grad(grad, source, kernel, *factors, axes)
            for index, (t, like) in enumerate(zip(sums, (weight, gate_in, gate_out), strict=True), 1):
                if like is not None:
                    t = t.unflatten(1, weight.shape[2:]).movedim(-1, 1)[:, : like.shape[1]]  # of the shape of ``like``
                    same = t.stride() == like.stride() and t.dtype == like.dtype
                    grads[index] = t if same else torch.empty_like(like).copy_(t)
    return tuple(grads)


register(triton_conv, triton_conv_backward, torch.empty_like)


def _precision() -> str:
    """Give 'tf32' if cuDNN's convolutions may use it; torch 2.9 has its own setting, which the older flag sets too."""
    conv = getattr(torch.backends.cudnn, 'conv', None)
    allowed = torch.backends.cudnn.allow_tf32 if conv is None else conv.fp32_precision == 'tf32'
    return 'tf32' if allowed else 'ieee'


def _hopper(x: Tensor) -> bool:
    """Tell whether products run on tensor cores of the kind that Hopper brought."""
    half_or_tf32 = x.element_size() == 2 or _precision() == 'tf32'
    return half_or_tf32 and x.is_cuda and torch.cuda.get_device_capability(x.device)[0] >= 9


def _axes(x, y_shape, weight, stride, padding, dilation):
    """Give the arguments of :func:`forward_axis` for both axes."""
    return zip(x.shape[2:], y_shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)


def _aligned(t: Tensor) -> Tensor:
    """Lay a tensor out channels-last, with zeros up to a multiple of four channels, for loads of 8 bytes or more."""
    return _padded(t, t.shape[1] + -t.shape[1] % 4).contiguous(memory_format=torch.channels_last)


def _padded(t: Tensor, channels: int) -> Tensor:
    return F.pad(t, (0, 0, 0, 0, 0, channels - t.shape[1])) if t.shape[1] < channels else t


def _factors(gate_in: Tensor | None, gate_out: Tensor | None, kernel: Tensor) -> list[Tensor | None]:
    """Give e^-gate of both terms as (B, taps, channels), whatever their layout, or None for a term that is missing.

    Beside them it gives flags (B, F), which are set for blocks with terms beyond the range of float32.
    """
    from . import triton_kernels

    outputs, inputs, taps, block = *kernel.shape[:2], math.prod(kernel.shape[2:]), 1024
    arguments, factors = [], []
    for gate, channels in ((gate_in, inputs), (gate_out, outputs)):
        if gate is None:
            arguments += [None, 0, 0, 0]
            factors.append(None)
            continue
        gate = _padded(gate, channels).flatten(2)
        arguments += [gate, *gate.stride()]
        factors.append(torch.empty(len(gate), taps, channels, dtype=torch.float32, device=gate.device))
    blocks = [0 if f is None else _tiles(f[0].numel(), block) for f in factors]
    given = gate_out if gate_in is None else gate_in
    flags = torch.empty(len(given), sum(blocks), dtype=torch.int32, device=given.device)
    triton_kernels.gate_factors[(flags.numel(),)](
        *arguments, *factors, flags, C=inputs, N=outputs, T=taps, BLOCKS=blocks[0], F=sum(blocks), BLOCK=block
    )
    return [*factors, flags]


def _written(out: Tensor, channels: int, write: Callable[[Tensor], None]) -> Tensor:
    """Fill ``out`` with the first of the ``channels`` that ``write`` puts into a channels-last tensor; return it."""
    if out.shape[1] == channels and out.is_contiguous(memory_format=torch.channels_last):
        write(out)
        return out
    shape = (len(out), channels, *out.shape[2:])
    buffer = torch.empty(shape, dtype=out.dtype, device=out.device, memory_format=torch.channels_last)
    write(buffer)
    return out.copy_(buffer[:, : out.shape[1]])


def _gated_conv(source, weight, strides, factor_k, factor_n, flags, bias, out, h: Axis, w: Axis, tiles: Tiles) -> None:
    """Launch the kernel; ``strides`` are the weight's over the outputs, taps and inputs of this launch."""
    from . import triton_kernels

    inputs, outputs = source.shape[1], out.shape[1]
    programs = len(source) * _tiles(outputs, tiles.rows) * _tiles(h.count * w.count, tiles.pixels)
    triton_kernels.gated_conv[(programs,)](
        source, weight, factor_k, factor_n, flags, bias, out, h, w, *strides,
        K=inputs, N=outputs, T=math.prod(weight.shape[2:]), KW=weight.shape[3], NH=h.taps, NW=w.taps,
        BN=tiles.rows, BP=tiles.pixels, BC=tiles.channels, BT=tiles.taps, **_flagged(flags),
        PRECISION=_precision(), FAST=not interpreted(), num_warps=tiles.warps, num_stages=tiles.stages,
    )  # fmt: skip


def _input_grad(grad, weight, factor_in, factor_out, flags, out, axes) -> None:
    """Fill ``out`` by the forward kernel with inputs and outputs swapped, once for each class of pixels."""
    (outputs, inputs), taps = weight.shape[:2], math.prod(weight.shape[2:])
    phases = list(product(*(gradient_axes(*axis) for axis in axes)))
    if any(axis.taps == 0 for phase in phases for axis in phase):
        out.zero_()

    def launch(tiles: Tiles) -> None:
        for h, w in phases:
            if h.taps and w.taps:
                strides = (1, inputs, taps * inputs)
                _gated_conv(grad, weight, strides, factor_out, factor_in, flags, None, out, h, w, tiles)

    h, w = phases[0]
    candidates = conv_tiles(outputs, inputs, taps, h.count * w.count, grad.element_size(), _hopper(grad))
    pick(('input', h, w, weight.shape, grad.dtype, grad.device), candidates, launch)


def _weight_grad(grad, x, weight, factor_in, factor_out, flags, axes) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Give the gradients (O, T, C) and, if there are such gates, (B, T, C) and (B, T, O), in float32."""
    from . import triton_kernels

    h, w = (forward_axis(*axis) for axis in axes)
    (batch, inputs), outputs, taps = x.shape[:2], len(weight), math.prod(weight.shape[2:])
    pixels = h.count * w.count

    def launch(tiles: Tiles) -> tuple[Tensor, Tensor | None, Tensor | None]:
        rows, columns = _tiles(outputs, tiles.rows), _tiles(inputs, tiles.channels)
        programs = rows * columns * _tiles(taps, tiles.taps)
        run_length = _tiles(batch, min(batch, _tiles(_PROGRAMS, programs)))
        splits = _tiles(batch, run_length)

        def empty(*shape: int) -> Tensor:
            return torch.empty(shape, dtype=torch.float32, device=x.device)

        parts = (
            empty(splits, outputs, taps, inputs),
            None if factor_in is None else empty(rows, batch, taps, inputs),
            None if factor_out is None else empty(columns, batch, taps, outputs),
        )
        triton_kernels.gated_conv_weight_grad[(programs * splits,)](
            x, grad, weight, factor_in, factor_out, flags, *parts, batch, run_length, h, w,
            C=inputs, N=outputs, T=taps, KW=weight.shape[3],
            BN=tiles.rows, BP=tiles.pixels, BC=tiles.channels, BT=tiles.taps, ONE=pixels <= tiles.pixels,
            **_flagged(flags), PRECISION=_precision(), FAST=not interpreted(), num_warps=tiles.warps,
            num_stages=tiles.stages,
        )  # fmt: skip
        return tuple(None if part is None else part[0] if len(part) == 1 else part.sum(0) for part in parts)

    candidates = weight_grad_tiles(inputs, outputs, taps, pixels, x.element_size())
    return pick(('weight', h, w, weight.shape, x.dtype, x.device), candidates, launch)


def _flagged(flags: Tensor) -> dict[str, int]:
    """Give the number of flags of a sample, and a power of two that holds it."""
    return dict(F=flags.shape[1], FP=1 << (flags.shape[1] - 1).bit_length())


def _tiles(length: int, tile: int) -> int:
    """Count the tiles that cover ``length``."""
    return -(-length // tile)
