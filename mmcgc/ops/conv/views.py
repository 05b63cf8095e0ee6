"""View convolutions over one or three axes as convolutions over two; nothing is computed."""

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
    """View a convolution as the same one over two axes, if there is such a view.

    1D is 2D over one row, and a (k, 1, 1) kernel is 2D over (T, H * W); other kernels over three axes stay.

    Returns:
        The arguments of that convolution, and the function that gives its result the axes of ``x``.
    """
    if x.dim() == 3:
        tensors = (None if t is None else t.unsqueeze(2) for t in (x, weight, gate_in, gate_out))
        return (*tensors, (1, *stride), (0, *padding), (1, *dilation)), lambda y: y.squeeze(2)
    if _over_time(weight, stride, padding):
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
    """Do as :func:`to_2d`, and view a (1, k, k) kernel as 2D over the frames, each a sample with its clip's gate.

    The frames are a view if ``x`` is channels-last, otherwise a copy; the gate terms are repeated for them.
    """
    if _over_time(weight, stride, padding) or not _over_frames(weight, stride, padding):
        return to_2d(x, weight, gate_in, gate_out, stride, padding, dilation)
    clips, frames = x.shape[0], x.shape[2]
    terms = (None if t is None else t.squeeze(2).repeat_interleave(frames, 0) for t in (gate_in, gate_out))
    samples = x.transpose(1, 2).flatten(0, 1)  # (B * T, C, H, W)
    arguments = (samples, weight.squeeze(2), *terms, stride[1:], padding[1:], dilation[1:])
    return arguments, lambda y: y.unflatten(0, (clips, frames)).transpose(1, 2)


def has_2d_view(weight: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]) -> bool:
    """Tell whether :func:`frames_to_samples` leaves two axes."""
    return weight.dim() < 5 or _over_time(weight, stride, padding) or _over_frames(weight, stride, padding)


def _over_time(weight, stride, padding) -> bool:
    return weight.dim() == 5 and weight.shape[3:] == (1, 1) and stride[1:] == (1, 1) and padding[1:] == (0, 0)


def _over_frames(weight, stride, padding) -> bool:
    return weight.dim() == 5 and weight.shape[2] == 1 and stride[0] == 1 and padding[0] == 0
