"""Convolutions over one or three axes as convolutions over two: views, nothing computed."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def to_2d(
    x: Tensor,
    weight: Tensor,
    gate_in: Tensor | None,
    gate_out: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[tuple, Callable[[Tensor], Tensor]]:
    """The same convolution over fewer axes, where there is one.

    1D is 2D over one row, and a (k, 1, 1) kernel is 2D over (T, H * W); other kernels over three axes stay.

    Returns:
        The arguments anew, and the function that gives their result the axes of ``x``.
    """
    if x.dim() == 3:
        tensors = (None if t is None else t.unsqueeze(2) for t in (x, weight, gate_in, gate_out))
        return (*tensors, (1, *stride), (0, *padding), (1, *dilation)), lambda y: y.squeeze(2)
    if x.dim() == 5 and weight.shape[3:] == (1, 1) and stride[1:] == (1, 1) and padding[1:] == (0, 0):
        tensors = (None if t is None else t.flatten(3) for t in (x, weight, gate_in, gate_out))
        size = x.shape[3:]
        return (*tensors, stride[:2], padding[:2], (dilation[0], 1)), lambda y: y.unflatten(3, size)
    return (x, weight, gate_in, gate_out, stride, padding, dilation), lambda y: y


def frames_to_samples(
    x: Tensor,
    weight: Tensor,
    gate_in: Tensor | None,
    gate_out: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[tuple, Callable[[Tensor], Tensor]]:
    """A (1, k, k) kernel as 2D over the frames, each a sample with its clip's gate; the rest as :func:`to_2d` has it.

    Free where ``x`` is channels-last; otherwise ``x`` is copied.  The gate terms are repeated for the frames.
    """
    if x.dim() != 5 or weight.shape[2] != 1 or stride[0] != 1 or padding[0] != 0 or weight.shape[3:] == (1, 1):
        return to_2d(x, weight, gate_in, gate_out, stride, padding, dilation)
    clips, frames = x.shape[0], x.shape[2]
    terms = (None if t is None else t.squeeze(2).repeat_interleave(frames, 0) for t in (gate_in, gate_out))
    frame = x.transpose(1, 2).flatten(0, 1)  # (B * T, C, H, W)
    arguments = (frame, weight.squeeze(2), *terms, stride[1:], padding[1:], dilation[1:])
    return arguments, lambda y: y.unflatten(0, (clips, frames)).transpose(1, 2)
