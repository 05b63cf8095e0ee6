"""Tiles of samples and output channels through the native convolution.

A tile's gated kernels live in one reused, cache-sized scratch; nothing of size B*O*C*K is ever alive, neither in the
forward pass nor saved for the backward pass, which recomputes the gates.  Runs on any device; built for the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Sequence  # noqa: UP035  torch 2.6 reads no other spelling

import torch
from torch import Tensor

from .operators import output_shape, register, result_format
from .views import to_2d

# Of a tile, for each thread: its kernels stay in the second-level cache, its activations in what is behind it.
_KERNEL_BYTES = 5 << 18
_ACTIVATION_BYTES = 2 << 20
# One tile of everything spares the copies from tile to result, as long as the activations stay in the last-level cache.
_WHOLE_BYTES = 24 << 20
_ROW = 64  # elements that are broadcast along at once, at least
_FEW = 1 << 19  # elements of all kernels up to which an exponential for each costs less than sparing them


def can_run(x: Tensor, *arguments) -> str | None:
    """Why this backend cannot take the arguments of :func:`run`; None: it can."""
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
    """(B, C, *S) -> (B, O, *S'), once differentiable."""
    if combine == 'sigmoid_product' and gate_in is not None and gate_out is not None:
        gate_in, gate_out, combine = gate_in.sigmoid(), gate_out.sigmoid(), 'factors'
    arguments, restore = to_2d(x, weight, gate_in, gate_out, stride, padding, dilation)
    return restore(tiled_conv(*arguments[:4], bias, *arguments[4:], groups, combine))


class _Walk:
    """The tiles of one convolution: W, G1, G2 laid out to broadcast into a tile's kernels, and the scratch for them.

    Kernels are (n, g, m, q, r) for n samples, g convolution groups and m output channels of a group; q rows of r
    elements are its input channels, several to a row, and the kernel's axes.  G2 is repeated along a row: what is
    broadcast along rows of one channel, nine elements of a 3 x 3 kernel, takes several times as long.
    """

    def __init__(self, x, weight, gate_in, gate_out, groups, combine, y_shape):
        self.batch, self.out, self.groups, self.combine = len(x), len(weight) // groups, groups, combine
        self.kernel = weight.shape[1:]
        size = math.prod(self.kernel[1:])
        self.channels_of_row = next(n for n in range(1, self.kernel[0] + 1)
                                    if n == self.kernel[0] or (self.kernel[0] % n == 0 and n * size >= _ROW))
        row = self.channels_of_row * size
        self.samples, self.rows = self._plan(
            weight.numel(), x[0].numel() + math.prod(y_shape[1:]), x.element_size(), x.is_contiguous()
        )
        # One tile of contiguous tensors: its results are the whole ones, and nothing has to be copied together.
        self.whole = self.samples == self.batch and self.rows == self.out and x.is_contiguous()
        terms = [t for t in (gate_in, gate_out) if t is not None]
        dtype = torch.promote_types(torch.float32, terms[0].dtype)
        self.weight = weight.reshape(1, groups, self.out, -1, row)  # (1, g, m, q, r)
        many = self.batch * weight.numel() > _FEW
        self.odds = many and combine == 'sum' and len(terms) == 2 and _moderate(*terms)
        self.a = self.b = None
        if gate_in is not None:
            a = gate_in.to(dtype)
            self.a = (a.neg().exp_() if self.odds else a).reshape(self.batch, groups, 1, -1, row)  # (B, g, 1, q, r)
        if gate_out is not None:
            b = gate_out.to(dtype)
            b = (b.neg().exp_() if self.odds else b).reshape(self.batch, groups, self.out, 1, size)
            self.b = b.repeat(1, 1, 1, 1, self.channels_of_row)  # (B, g, m, 1, r)
        self.scratch = weight.new_empty((self.samples, groups, self.rows, *self.weight.shape[3:]), dtype=dtype)

    def _plan(self, kernel: int, active: int, itemsize: int, contiguous: bool) -> tuple[int, int]:
        """Samples and output channels of a tile: several samples, or one sample and a part of its kernel."""
        kernels, activations = (torch.get_num_threads() * n // itemsize for n in (_KERNEL_BYTES, _ACTIVATION_BYTES))
        if contiguous and self.batch * kernel <= kernels and self.batch * active * itemsize <= _WHOLE_BYTES:
            return self.batch, self.out
        samples = max(1, min(self.batch, kernels // kernel, activations // active))
        samples = -(-self.batch // -(-self.batch // samples))  # as many in each tile
        parts = 1 if samples > 1 or self.groups > 1 else -(-kernel // kernels)
        return samples, -(-self.out // parts)

    def parts(self) -> Iterator[tuple[slice, Tensor]]:
        """Output channels of one group, which are cut only where there is one, and their weight (1, g, m, q, r)."""
        for j in range(0, self.out, self.rows):
            rows = slice(j, min(j + self.rows, self.out))
            yield rows, self.weight[:, :, rows].to(self.scratch.dtype)

    def tiles(self) -> Iterator[slice]:
        """The samples of each tile."""
        return (slice(i, min(i + self.samples, self.batch)) for i in range(0, self.batch, self.samples))

    def fold(self, t: Tensor) -> Tensor:
        """(n, C, *S) -> (1, n * C, *S), contiguous: the samples become convolution groups."""
        return t.contiguous().view(1, -1, *t.shape[2:])

    def channels(self, rows: slice) -> slice:
        """The output channels of ``rows``, over all groups."""
        return rows if self.groups == 1 else slice(0, self.out * self.groups)

    def gate(self, samples: slice, rows: slice) -> Tensor:
        """The gates of a tile, in the scratch: (n, g, m, q, r)."""
        out = self.scratch[: samples.stop - samples.start, :, : rows.stop - rows.start]
        a = None if self.a is None else self.a[samples]
        b = None if self.b is None else self.b[samples, :, rows]
        if a is None or b is None:
            return out.copy_(b if a is None else a).sigmoid_()
        if self.combine == 'sum' and not self.odds:
            return torch.add(a, b, out=out).sigmoid_()
        torch.mul(a, b, out=out)
        if self.odds:
            return out.add_(1).reciprocal_()
        return out if self.combine == 'factors' else out.sigmoid_()

    def kernels(self, gated: Tensor, dtype: torch.dtype) -> Tensor:
        """(n, g, m, q, r) gated weights -> (n * g * m, c, *K) for a grouped convolution."""
        return gated.to(dtype).reshape(-1, *self.kernel)

    def grad_gate_out(self, grad: Tensor) -> Tensor:
        """The gradient of ``b`` (B, g, m, 1, r) -> that of G2, (B, g, m, size of a kernel)."""
        return grad.unflatten(-1, (self.channels_of_row, -1)).sum((3, 4))


def _moderate(*terms: Tensor) -> bool:
    """Whether sigmoid(a + b) may be taken as 1 / (1 + e^-a e^-b), which spares the exponential of each sum.

    Beyond 40, the factors of terms of opposite sign would leave the range of float32.
    """
    return terms[0].device.type == 'cpu' and all(bool(t.abs().amax() < 40) for t in terms)


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
    walk = _Walk(x, weight, gate_in, gate_out, groups, combine, shape)
    conv = torch.conv2d if x.dim() == 4 else torch.conv3d
    y = None if walk.whole else torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=result_format(x))
    for rows, weights in walk.parts():
        channels = walk.channels(rows)
        for samples in walk.tiles():
            n = samples.stop - samples.start
            kernels = walk.kernels(walk.gate(samples, rows).mul_(weights), x.dtype)
            offsets = None if bias is None else bias[channels].repeat(n)
            out = conv(walk.fold(x[samples]), kernels, offsets, stride, padding, dilation, n * groups)
            if walk.whole:
                return torch.ops.aten._unsafe_view(out, shape)  # nobody could change a plain view in place
            y[samples, channels] = out.view(n, -1, *shape[2:])
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
    walk = _Walk(x, weight, gate_in, gate_out, groups, combine, grad.shape)
    grad_x = torch.empty_like(x) if need_x and not walk.whole else x.new_empty(0)
    grad_w = torch.zeros_like(walk.weight, dtype=walk.scratch.dtype)
    grad_a = None if walk.a is None else torch.empty_like(walk.a)
    grad_b = None if walk.b is None else torch.empty_like(walk.b)
    times = combine != 'sum' and walk.a is not None and walk.b is not None
    gated, nd = torch.empty_like(walk.scratch), x.dim() - 2
    for rows, weights in walk.parts():
        # Parts beyond the first add to what it wrote.
        write = Tensor.copy_ if rows.start == 0 else Tensor.add_
        part_w = grad_w[:, :, rows]
        for samples in walk.tiles():
            n = samples.stop - samples.start
            gate = walk.gate(samples, rows)  # (n, g, m, q, r)
            product = torch.mul(gate, weights, out=gated[:n, :, : rows.stop - rows.start])
            dx, dk, _ = torch.ops.aten.convolution_backward(
                walk.fold(grad[samples, walk.channels(rows)]), walk.fold(x[samples]), walk.kernels(product, x.dtype),
                None, stride, padding, dilation, False, [0] * nd, n * groups, [need_x, need_kernel, False],
            )  # fmt: skip
            if need_x and walk.whole:
                grad_x = torch.ops.aten._unsafe_view(dx, x.shape)
            elif need_x:
                write(grad_x[samples], dx.view(n, *x.shape[1:]))
            if not need_kernel:
                continue
            dk = dk.reshape(gate.shape).to(gate.dtype)
            if n == 1:
                part_w.addcmul_(dk, gate)
            else:
                part_w += torch.mul(dk, gate, out=product).sum(0, keepdim=True)
            dk.mul_(weights)
            if combine != 'factors':
                torch.ops.aten.sigmoid_backward.grad_input(dk, gate, grad_input=dk)
            # dk is now the gradient of a + b, or of a * b.
            if walk.a is not None:
                write(grad_a[samples], (dk * walk.b[samples, :, rows] if times else dk).sum(2, keepdim=True))
            if walk.b is not None:
                grad_b[samples, :, rows] = (dk * walk.a[samples] if times else dk).sum(3, keepdim=True)
    if not need_kernel:
        return grad_x, *(x.new_empty(0) for _ in range(3))
    terms = ((grad_w, weight), (grad_a, gate_in), (None if grad_b is None else walk.grad_gate_out(grad_b), gate_out))
    return grad_x, *(x.new_empty(0) if g is None else g.reshape(t.shape).to(t.dtype) for g, t in terms)


register(tiled_conv, tiled_conv_backward)
