"""Cut a convolution into tiles of some samples and output channels, and make the gated kernels of a tile.

A tile's gated kernels lie in a buffer that fits the caches and is used again for the next tile.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import threading
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .operators import result_format

# What a tile's kernels and its activations may take of each thread's caches.  Both were measured.
_KERNEL_BYTES = 9 << 18
_ACTIVATION_BYTES = 8 << 20
_LARGE = 1 << 17  # A sample of so many elements in channels-last layout goes alone, as it lies, rather than copied.
_SEVERAL = 4  # A tile holds at least so many kernels, or one: two or three large ones are quicker one by one.
_ROW = 64  # A row, along which a gate is broadcast, has at least so many elements.
CHANNELS = 8  # oneDNN is slow with many groups of fewer input channels than this.
_LARGE_KERNEL = 25  # A kernel of few channels goes alone if one of its channels has more elements than this.
_LAYOUTS = 64  # So many layouts are kept.
_FEW = 1 << 19  # Up to so many elements of all kernels, an exponential for each costs less than sparing them.
_ONE = torch.ones((), dtype=torch.float32, device='cpu')


class _Layout(NamedTuple):
    """The sizes of a tile and of what takes part in it.

    Kernels have the shape (n, g, m, q, r): n samples, g groups of the convolution, m output channels of a group.  The
    q rows of r elements hold the input channels, several to a row, and the axes of the kernel.
    """

    samples: int  # n of a tile
    rows: int  # m of a tile
    whole: bool  # There is one tile, of contiguous tensors, so that its results are the whole ones and need no copy.
    gate_in: tuple[int, ...]  # (B, g, 1, q, r), which broadcasts into the kernels
    gate_out: tuple[int, ...]  # (B, g, m, 1, size)
    weight: tuple[int, ...]  # (1, g, m, q, r)
    scratch: tuple[tuple[int, ...], ...]  # for G2 along rows, (n, g, m, 1, r), and for each buffer of kernels


@functools.lru_cache(_LAYOUTS)
def lay_out(
    threads: int, batch: int, weight: torch.Size, groups: int, buffers: int, active: int, alone: bool, in_place: bool,
    cpu: bool, itemsize: int,
) -> _Layout:  # fmt: skip
    """Choose the tiles: several samples to a tile, or one sample and a part of its output channels.

    Args:
        threads: Of torch, which share the caches.
        batch: B.
        weight: The shape (O, C / groups, *K).
        groups: Of the convolution.
        buffers: How many buffers of a tile's kernels are needed.
        active: Elements of the activations of a sample.
        alone: Whether every sample has a tile of its own.
        in_place: Whether the activations can be used as they lie.
        cpu: Whether the device is a CPU.
        itemsize: Bytes of an element of the activations; kernels are made in float32 at least.
    """
    out, channels, size = weight[0] // groups, weight[1], weight[2:].numel()
    row = next(n for n in range(1, channels + 1) if n == channels or (channels % n == 0 and n * size >= _ROW)) * size
    rows, samples, part = channels * size // row, 1, out
    if not (cpu and groups == 1 and channels < CHANNELS and size > _LARGE_KERNEL):
        kernel, fit = buffers * weight.numel(), threads * _KERNEL_BYTES // max(itemsize, 4)
        samples = min(batch, fit // kernel if fit >= _SEVERAL * kernel and not alone else 1)
        samples = max(1, min(samples, threads * _ACTIVATION_BYTES // (active * itemsize)))
        samples = -(-batch // -(-batch // samples))  # as many in each tile
        if samples == 1 and groups == 1:
            part = -(-out // -(-kernel // fit))
    tile = samples, groups, part
    return _Layout(
        samples, part, in_place and tile == (batch, groups, out),
        (batch, groups, 1, rows, row), (batch, groups, out, 1, size), (1, groups, out, rows, row),
        ((*tile, 1, row), *[(*tile, rows, row)] * buffers),
    )  # fmt: skip


class Tiles:
    """The tiles of one convolution: its weight and the terms of its gates, as they broadcast into a tile's kernels.

    G2 is repeated along a row.  Without that it would be broadcast along the few elements of one channel's kernel, nine
    of a 3 x 3 one, which takes several times as long.

    Args:
        x: (B, C, *S).
        weight: (O, C / groups, *K).
        gate_in, gate_out: The terms (B, C, *K) and (B, O, *K), or None.
        groups: Of the convolution.
        combine: How the two terms meet.
        buffers, active: As for :func:`lay_out`, but ``active`` counts the elements of all samples.
    """

    def __init__(self, x, weight, gate_in, gate_out, groups, combine, buffers, active):
        self.batch, self.groups, self.combine, self.kernel = len(x), groups, combine, weight.shape[1:]
        self.alone = result_format(x) != torch.contiguous_format and x[0].numel() >= _LARGE
        self.layout = layout = lay_out(
            torch.get_num_threads(), len(x), weight.shape, groups, buffers, active // len(x), self.alone,
            x.is_contiguous(), x.device.type == 'cpu', x.itemsize,
        )  # fmt: skip
        terms = [t for t in (gate_in, gate_out) if t is not None]
        self.dtype = torch.promote_types(torch.float32, terms[0].dtype)
        self.device = x.device
        many = len(x) * weight.numel() > _FEW
        self.reciprocal = many and combine == 'sum' and len(terms) == 2 and _moderate(*terms)
        self.a = None if gate_in is None else self._factor(gate_in).reshape(layout.gate_in)
        self.b = None if gate_out is None else self._factor(gate_out).reshape(layout.gate_out)
        self.weight = weight.reshape(layout.weight)

    def _factor(self, term: Tensor) -> Tensor:
        """Give a term in the dtype of the gates, or with ``reciprocal`` the exponential of its negative."""
        term = term.to(self.dtype)
        return term.neg().exp_() if self.reciprocal else term

    def parts(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """Give the output channels of a group that go together, the same among all channels, and their weight.

        Channels are cut only if there is one group.
        """
        out, part = self.weight.shape[2], self.layout.rows
        for j in range(0, out, part):
            rows = slice(j, min(j + part, out))
            channels = rows if self.groups == 1 else slice(0, out * self.groups)
            yield rows, channels, self.weight[:, :, rows].to(self.dtype)  # (1, g, m, q, r)

    def tiles(self, rows: slice, *tensors: Tensor | None) -> Iterator[tuple]:
        """Give for each tile its gates, a free buffer of kernels, its two terms, and its samples of ``tensors``.

        The gates are what :meth:`apply` takes.  With one buffer the free one is that of the gates.
        """
        b = None if self.b is None else self.b[:, :, rows]
        pieces = [(self.a, b, *tensors)]
        if self.layout.samples < self.batch:
            split = (itertools.repeat(None) if t is None else t.split(self.layout.samples) for t in pieces[0])
            pieces = zip(*split, strict=False)
        with _SCRATCH.views(self.layout.scratch, self.dtype, self.device) as views:
            spread, *scratch = views
            for a, b, *samples in pieces:
                shape = len(samples[0]), self.groups, rows.stop - rows.start
                if shape != spread.shape[:3]:
                    spread, *scratch = (t[: shape[0], :, : shape[2]] for t in views)
                if b is not None:
                    spread.view(*shape, -1, b.shape[4]).copy_(b)
                    b = spread  # (n, g, m, 1, r)
                yield self._gate(a, b, scratch[0]), scratch[-1], (a, b), *samples

    def _gate(self, a: Tensor | None, b: Tensor | None, out: Tensor) -> Tensor:
        """Write the gates of a tile, (n, g, m, q, r), to ``out``, or with ``reciprocal`` one over them."""
        if self.reciprocal:
            return torch.addcmul(_ONE, a, b, out=out)
        if a is None or b is None:
            return out.copy_(b if a is None else a).sigmoid_()
        if self.combine == 'sum':
            return torch.add(a, b, out=out).sigmoid_()
        torch.mul(a, b, out=out)
        return out if self.combine == 'factors' else out.sigmoid_()

    def apply(self, gate: Tensor, t: Tensor, out: Tensor) -> Tensor:
        """Write the product of the gates and ``t`` to ``out``."""
        return torch.div(t, gate, out=out) if self.reciprocal else torch.mul(t, gate, out=out)

    def kernels(self, gated: Tensor, dtype: torch.dtype) -> Tensor:
        """Shape gated weights (n, g, m, q, r) as the kernels (n * g * m, c, *K) of a grouped convolution."""
        return gated.to(dtype).reshape(-1, *self.kernel)

    def fold(self, t: Tensor) -> Tensor:
        """Turn samples into groups of a convolution: (n, C, *S) -> (1, n * C, *S), contiguous but for one alone."""
        return t if self.alone else t.contiguous().view(1, -1, *t.shape[2:])

    def sum_channels(self, t: Tensor) -> Tensor:
        """Sum over the input channels: (n, g, m, q, r) -> (n, g, m, 1, size of a kernel)."""
        return t.view(*t.shape[:3], -1, self.b.shape[4]).sum(3, keepdim=True)


class _Scratch(threading.local):
    """Lends buffers, whose contents are undefined.

    On a CPU it keeps one of each dtype from call to call, because the first write to memory that the system has just
    given costs more than the gates of a tile.  While a call has the buffer, nobody else gets it: a call that interrupts
    another on the same thread, from a signal's handler, makes its own.
    """

    def __init__(self):
        self.idle = {}  # by dtype and device: a buffer, and the views of it by their shapes

    @contextlib.contextmanager
    def views(self, shapes: tuple[tuple[int, ...], ...], dtype: torch.dtype, device: torch.device):
        """Lend a buffer of each shape."""
        buffer, kept = self.idle.pop((dtype, device), (None, {}))
        if shapes not in kept:
            sizes = [-(-math.prod(shape) // 16) * 16 for shape in shapes]
            with torch.inference_mode(False):
                if buffer is None or len(buffer) < sum(sizes):
                    buffer, kept = torch.empty(sum(sizes), dtype=dtype, device=device), {}
                parts = buffer[: sum(sizes)].split(sizes)
                views = [part[: math.prod(shape)].view(shape) for part, shape in zip(parts, shapes, strict=True)]
            kept = {**kept, shapes: views} if len(kept) < _LAYOUTS else {shapes: views}
        try:
            yield kept[shapes]
        finally:
            if device.type == 'cpu' and buffer.nbytes <= 2 * _KERNEL_BYTES * torch.get_num_threads():
                self.idle[dtype, device] = buffer, kept


_SCRATCH = _Scratch()


def _moderate(*terms: Tensor) -> bool:
    """Tell whether sigmoid(a + b) may be taken as 1 / (1 + e^-a e^-b), which spares the exponential of each sum.

    If a term is beyond 40, a factor may leave the range of float32 while the sum of both terms is small.
    """
    return terms[0].device.type == 'cpu' and all(torch.linalg.vector_norm(t, math.inf).item() < 40 for t in terms)
