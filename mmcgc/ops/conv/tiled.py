"""Tiles of samples and output channels through the native convolution.

A tile's gated kernels live in one reused, cache-sized scratch; nothing of size B*O*C*K is ever alive, neither in the
forward pass nor saved for the backward pass, which recomputes the gates.  Runs on any device; built for the CPU.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import threading
from collections.abc import Iterator
from typing import NamedTuple, Sequence  # noqa: UP035  torch 2.6 reads no other spelling

import torch
from torch import Tensor
from torch.nn import functional as F

from ..modes import transformed
from .operators import output_shape, register, result_format
from .views import to_2d

# Of a tile, for each thread: what of its kernels stays in the caches, and what of its activations where they have to be
# converted to another layout and back, or where the gradient of a strided input is made; measured, not computed.
_KERNEL_BYTES = 9 << 18
_ACTIVATION_BYTES = 8 << 20
_STRIDED_BYTES = 1 << 20
_SEVERAL = 4  # kernels that go together, at least: fewer, and larger ones, are quicker one by one
_ROW = 64  # elements that are broadcast along at once, at least
# oneDNN is slow with many groups of fewer input channels: large kernels go one by one, small ones' gradient gets zeros.
_CHANNELS = 8
_LARGE = 25  # elements of a channel's kernel
_LAYOUTS = 64  # that are kept
_ONE = torch.ones((), dtype=torch.float32, device='cpu')
_FEW = 1 << 19  # elements of all kernels up to which an exponential for each costs less than sparing them


def can_run(x: Tensor, *arguments) -> str | None:
    """Why this backend cannot take the arguments of :func:`run`; None: it can."""
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
    """(B, C, *S) -> (B, O, *S'); a second derivative goes by the literal formula."""
    if combine == 'sigmoid_product' and gate_in is not None and gate_out is not None:
        gate_in, gate_out, combine = gate_in.sigmoid(), gate_out.sigmoid(), 'factors'
    arguments, restore = to_2d(x, weight, gate_in, gate_out, stride, padding, dilation)
    return restore(tiled_conv(*arguments[:4], bias, *arguments[4:], groups, combine))


class _Layout(NamedTuple):
    """How a convolution is cut into tiles.

    Kernels are (n, g, m, q, r) for n samples, g convolution groups and m output channels of a group; q rows of r
    elements are its input channels, several to a row, and the kernel's axes.
    """

    samples: int  # of a tile
    rows: int  # output channels of a tile and group
    whole: bool  # one tile of contiguous tensors: its results are the whole ones, and are not copied
    gate_in: tuple[int, ...]  # (B, g, 1, q, r), which broadcasts into the kernels
    gate_out: tuple[int, ...]  # (B, g, m, 1, size)
    weight: tuple[int, ...]  # (1, g, m, q, r)
    scratch: tuple[tuple[int, ...], ...]  # for G2 along rows, (n, g, m, 1, r), and buffers of a tile's kernels


@functools.lru_cache(_LAYOUTS)
def _lay_out(
    threads: int, batch: int, weight: torch.Size, groups: int, buffers: int, active: int, strided: bool, in_place: bool,
    cpu: bool, itemsize: int,
) -> _Layout:  # fmt: skip
    """Several samples to a tile, or one sample and a part of its kernel.

    ``buffers`` of a tile's kernels are needed, and ``active`` elements of activations for each sample, which limit a
    tile where they cannot be used ``in_place``, and where the gradient of a ``strided`` convolution's input is asked
    for, of which more at once takes oneDNN longer.
    """
    out, channels, size = weight[0] // groups, weight[1], weight[2:].numel()
    row = next(n for n in range(1, channels + 1) if n == channels or (channels % n == 0 and n * size >= _ROW)) * size
    rows, samples, part = channels * size // row, 1, out
    if not (cpu and groups == 1 and channels < _CHANNELS and size > _LARGE):
        kernel, fit = buffers * weight.numel(), threads * _KERNEL_BYTES // itemsize
        samples = min(batch, fit // kernel if fit >= _SEVERAL * kernel else 1)
        if strided or not in_place:
            limit = threads * (_STRIDED_BYTES if strided else _ACTIVATION_BYTES)
            samples = max(1, min(samples, limit // (active * itemsize)))
        samples = -(-batch // -(-batch // samples))  # as many in each tile
        if samples == 1 and groups == 1:
            part = -(-out // -(-kernel // fit))
    tile = samples, groups, part
    return _Layout(
        samples, part, in_place and tile == (batch, groups, out),
        (batch, groups, 1, rows, row), (batch, groups, out, 1, size), (1, groups, out, rows, row),
        ((*tile, 1, row), *[(*tile, rows, row)] * buffers),
    )  # fmt: skip


class _Walk:
    """The tiles of one convolution: W, G1 and G2 as they broadcast into a tile's kernels.

    G2 is repeated along a row: what is broadcast along rows of one channel, nine elements of a 3 x 3 kernel, takes
    several times as long.
    """

    def __init__(self, x, weight, gate_in, gate_out, groups, combine, buffers, active, strided=False):
        self.batch, self.groups, self.combine, self.kernel = len(x), groups, combine, weight.shape[1:]
        self.layout = layout = _lay_out(
            torch.get_num_threads(), len(x), weight.shape, groups, buffers, active // len(x), strided,
            x.is_contiguous(), x.device.type == 'cpu', x.itemsize,
        )  # fmt: skip
        terms = [t for t in (gate_in, gate_out) if t is not None]
        self.dtype = dtype = torch.promote_types(torch.float32, terms[0].dtype)
        self.device = x.device
        many = len(x) * weight.numel() > _FEW
        self.odds = many and combine == 'sum' and len(terms) == 2 and _moderate(*terms)
        a, b = (t if t is None else t.to(dtype).neg().exp_() if self.odds else t.to(dtype) for t in (gate_in, gate_out))
        self.a = a if a is None else a.reshape(layout.gate_in)
        self.b = b if b is None else b.reshape(layout.gate_out)
        self.weight = weight.reshape(layout.weight)

    def parts(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """Output channels of one group, which are cut only where there is one; of all groups; and their weight."""
        out, part = self.weight.shape[2], self.layout.rows
        for j in range(0, out, part):
            rows = slice(j, min(j + part, out))
            channels = rows if self.groups == 1 else slice(0, out * self.groups)
            yield rows, channels, self.weight[:, :, rows].to(self.dtype)  # (1, g, m, q, r)

    def tiles(self, rows: slice, *tensors: Tensor | None) -> Iterator[tuple]:
        """Of each tile the gates as of :meth:`_gate`, the last buffer, the terms, and its samples of ``tensors``."""
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
        """The gates of a tile, (n, g, m, q, r), or their reciprocals, as :meth:`times` takes them."""
        if self.odds:
            return torch.addcmul(_ONE, a, b, out=out)
        if a is None or b is None:
            return out.copy_(b if a is None else a).sigmoid_()
        if self.combine == 'sum':
            return torch.add(a, b, out=out).sigmoid_()
        torch.mul(a, b, out=out)
        return out if self.combine == 'factors' else out.sigmoid_()

    def times(self, gate: Tensor, t: Tensor, out: Tensor) -> Tensor:
        """The product of the gates and ``t``."""
        return torch.div(t, gate, out=out) if self.odds else torch.mul(t, gate, out=out)

    def kernels(self, gated: Tensor, dtype: torch.dtype) -> Tensor:
        """(n, g, m, q, r) gated weights -> (n * g * m, c, *K) for a grouped convolution."""
        return gated.to(dtype).reshape(-1, *self.kernel)

    def sum_channels(self, t: Tensor) -> Tensor:
        """(n, g, m, q, r) -> (n, g, m, 1, size of a kernel)."""
        return t.view(*t.shape[:3], -1, self.b.shape[4]).sum(3, keepdim=True)


class _Scratch(threading.local):
    """Buffers of undefined contents.

    On a CPU one of each dtype is kept from call to call: the first write to memory fresh from the system costs more
    than the gates of a tile do.  It is away while a call has it, so that one that interrupts that call on the same
    thread, from a signal's handler, makes its own.
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
    """Whether sigmoid(a + b) may be taken as 1 / (1 + e^-a e^-b), which spares the exponential of each sum.

    Beyond 40, the factors of terms of opposite sign would leave the range of float32.
    """
    return terms[0].device.type == 'cpu' and all(torch.linalg.vector_norm(t, math.inf).item() < 40 for t in terms)


def _fold(t: Tensor) -> Tensor:
    """(n, C, *S) -> (1, n * C, *S), contiguous: the samples become convolution groups."""
    return t.contiguous().view(1, -1, *t.shape[2:])


def _conv_gradients(grad, x, kernels, stride, padding, dilation, groups, need_x, need_kernel):
    """Gradients of x (1, g * c, *S) and of the kernels (g * o, c, *K); None for one that is not needed.

    The gradient of small kernels of few channels is quicker with channels of zeros beside them.
    """

    def gradients(x: Tensor, kernels: Tensor, *needs: bool) -> tuple[Tensor | None, Tensor | None, None]:
        return torch.ops.aten.convolution_backward(
            grad, x, kernels, None, stride, padding, dilation, False, [0] * len(stride), groups, [*needs, False]
        )

    (out, channels), size = kernels.shape[:2], kernels.shape[2:]
    few = 1 < channels < _CHANNELS <= out // groups and groups > 1 and size.numel() <= 9 and x.device.type == 'cpu'
    if not (few and need_kernel):
        return gradients(x, kernels, need_x, need_kernel)[:2]
    dx = gradients(x, kernels, True, False)[0] if need_x else None
    padded = F.pad(x.view(groups, channels, *x.shape[2:]), [0, 0] * len(stride) + [0, _CHANNELS - channels])
    dk = gradients(padded.view(1, -1, *x.shape[2:]), kernels.new_empty(out, _CHANNELS, *size), False, True)[1]
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
    """(B, C, *S) -> (B, O, *S') for two or three spatial axes."""
    shape = output_shape(x, weight, stride, padding, dilation)
    if 0 in shape:
        return torch.empty(shape, dtype=x.dtype, device=x.device)
    walk = _Walk(x, weight, gate_in, gate_out, groups, combine, 1, x.numel() + math.prod(shape))
    conv = torch.conv2d if x.dim() == 4 else torch.conv3d
    like = dict(dtype=x.dtype, device=x.device, memory_format=result_format(x))
    y = None if walk.layout.whole else torch.empty(shape, **like)
    for rows, channels, weights in walk.parts():
        for gate, product, _, some_x, some_y in walk.tiles(rows, x, None if y is None else y[:, channels]):
            n = len(some_x)
            kernels = walk.kernels(walk.times(gate, weights, out=product), x.dtype)
            offsets = None if bias is None else bias[channels].repeat(n)
            out = conv(_fold(some_x), kernels, offsets, stride, padding, dilation, n * groups)
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
    need_kernel: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, weight, gate_in and gate_out; an empty tensor stands for one that is not needed."""
    if grad.numel() == 0 or not (need_x or need_kernel):
        kept = (t if t is not None and need else x.new_empty(0) for t, need in
                ((x, need_x), (weight, need_kernel), (gate_in, need_kernel), (gate_out, need_kernel)))  # fmt: skip
        return tuple(torch.zeros_like(t) for t in kept)
    active, strided = 2 * x.numel() + grad.numel(), need_x and max(stride) > 1
    walk = _Walk(x, weight, gate_in, gate_out, groups, combine, 2, active, strided)
    grad_x = torch.empty_like(x) if need_x and not walk.layout.whole else None
    grad_w = torch.zeros_like(walk.weight, dtype=walk.dtype)
    grad_a = None if walk.a is None else torch.empty_like(walk.a)
    grad_b = None if walk.b is None else torch.empty_like(walk.b)
    times = combine != 'sum' and walk.a is not None and walk.b is not None
    for rows, channels, weights in walk.parts():
        write = Tensor.copy_ if rows.start == 0 else Tensor.add_  # parts beyond the first add to what it wrote
        part_w, part_b = grad_w[:, :, rows], None if grad_b is None else grad_b[:, :, rows]
        tiles = walk.tiles(rows, x, grad[:, channels], grad_x, grad_a, part_b)
        for gate, product, (a, b), some_x, some_grad, some_grad_x, some_grad_a, some_grad_b in tiles:
            n = len(some_x)
            walk.times(gate, weights, out=product)  # (n, g, m, q, r)
            folded = _fold(some_grad), _fold(some_x), walk.kernels(product, x.dtype)
            dx, dk = _conv_gradients(*folded, stride, padding, dilation, n * groups, need_x, need_kernel)
            if need_x and walk.layout.whole:
                grad_x = torch.ops.aten._unsafe_view(dx, x.shape)
            elif need_x:
                write(some_grad_x, dx.view(some_x.shape))
            if not need_kernel:
                continue
            dk = dk.reshape(gate.shape).to(gate.dtype)
            if combine == 'factors':
                part_w += torch.mul(dk, gate, out=product).sum(0, keepdim=True)
                dk.mul_(weights)
            else:
                walk.times(gate, dk, out=dk)
                part_w += dk if n == 1 else dk.sum(0, keepdim=True)
                dk.mul_(torch.sub(weights, product, out=product))  # W g (1 - g) = g (W - W g)
            # dk is now the gradient of a + b, or of a * b.
            if a is not None:
                write(some_grad_a, (dk * b if times else dk).sum(2, keepdim=True))
            if b is not None:
                some_grad_b.copy_(walk.sum_channels(dk * a if times else dk))
    grad_x = x.new_empty(0) if grad_x is None else grad_x
    if not need_kernel:
        return grad_x, *(x.new_empty(0) for _ in range(3))
    terms = ((grad_w, weight), (grad_a, gate_in), (grad_b, gate_out))
    return grad_x, *(x.new_empty(0) if g is None else g.reshape(t.shape).to(t.dtype) for g, t in terms)


register(tiled_conv, tiled_conv_backward)
