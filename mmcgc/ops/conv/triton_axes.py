"""Say which inputs the outputs of a convolution read along one axis, forward and for the gradient of the input."""

from __future__ import annotations

from typing import NamedTuple


class Axis(NamedTuple):
    """Through its i-th tap, pixel u of ``count`` reads pixel ``u * mul + first + i * step`` of ``size``.

    There are ``taps`` taps, which are the elements ``tap + i * tap_step`` of the kernel.  The result of pixel u goes to
    pixel ``offset + u * stride`` of ``full``.
    """

    size: int
    count: int
    mul: int
    first: int
    step: int
    taps: int
    tap: int
    tap_step: int
    full: int
    offset: int
    stride: int


def forward_axis(size: int, out: int, kernel: int, stride: int, padding: int, dilation: int) -> Axis:
    """Give the axis of the forward pass, from ``size`` inputs to ``out`` outputs."""
    return Axis(size, out, stride, -padding, dilation, kernel, 0, 1, out, 0, 1)


def gradient_axes(size: int, out: int, kernel: int, stride: int, padding: int, dilation: int) -> list[Axis]:
    """Give the axes that lead from the gradients of ``out`` outputs to those of ``size`` inputs.

    Input p adds to output q through tap i if p = q * stride - padding + i * dilation.  Inputs that are ``stride`` apart
    share their taps, so that each of the ``stride`` classes of inputs is a dense convolution with some of the taps, or
    with none.
    """
    axes = []
    for offset in range(min(stride, size)):
        taps = [tap for tap in range(kernel) if (offset + padding - tap * dilation) % stride == 0]
        first = taps[0] if taps else 0
        apart = taps[1] - first if len(taps) > 1 else stride
        start, step = (offset + padding - first * dilation) // stride, -apart * dilation // stride
        count = len(range(offset, size, stride))
        axes.append(Axis(out, count, 1, start, step, len(taps), first, apart, size, offset, stride))
    return axes
