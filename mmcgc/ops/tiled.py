"""Tiles of samples and output channels through the native convolution.

A tile's gated kernels live in one reused, cache-sized scratch; nothing of size B*O*C*K is ever alive, neither in the
forward pass nor saved for the backward pass, which recomputes the gates.  Runs on any device; built for the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from .operators import output_shape, register, result_format
from .views import to_2d

# Of a tile's kernels, and of its activations, for each thread: what the outer caches hold.
_TILE_BYTES = 4 << 20


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

    Kernels are (n, g, m, c, *K) for n samples, g convolution groups, m output and c input channels of a group.
    """

    def __init__(self, x, weight, gate_in, gate_out, groups, combine, y_shape):
        self.batch, self.out, self.groups, self.combine = len(x), len(weight), groups, combine
        self.samples, self.rows = self._plan(x, weight, y_shape)
        terms = [t for t in (gate_in, gate_out) if t is not None]
        dtype = torch.promote_types(torch.float32, terms[0].dtype)
        self.weight = weight.to(dtype).unflatten(0, (groups, -1))[None].contiguous()  # (1, g, O/g, c, *K)
        self.a = self.b = None
        if gate_in is not None:
            self.a = gate_in.to(dtype).unflatten(1, (groups, -1)).unsqueeze(2).contiguous()  # (B, g, 1, c, *K)
        if gate_out is not None:
            self.b = gate_out.to(dtype).unflatten(1, (groups, -1)).unsqueeze(3).contiguous()  # (B, g, O/g, 1, *K)
        self.scratch = self.weight.new_empty(self.samples, groups, self.rows, *self.weight.shape[3:])

    def _plan(self, x, weight, y_shape) -> tuple[int, int]:
        """Samples and output channels a tile: several samples, or one sample and a part of its kernel."""
        budget = torch.get_num_threads() * _TILE_BYTES // x.element_size()
        kernel, active = weight.numel(), x[0].numel() + math.prod(y_shape[1:])
        samples = max(1, min(self.batch, budget // max(kernel, active)))
        parts = 1 if samples > 1 or self.groups > 1 else -(-kernel // budget)
        return samples, -(-(self.out // self.groups) // parts)

    def tiles(self) -> Iterator[tuple[slice, slice]]:
        """Samples and output channels of one group; rows are cut only where there is one group."""
        for j in range(0, self.out // self.groups, self.rows):
            for i in range(0, self.batch, self.samples):
                yield slice(i, min(i + self.samples, self.batch)), slice(j, min(j + self.rows, self.out // self.groups))

    def fold(self, t: Tensor) -> Tensor:
        """(n, C, *S) -> (1, n * C, *S): the samples become convolution groups."""
        return t.reshape(1, -1, *t.shape[2:])

    def channels(self, rows: slice) -> slice:
        """The output channels of ``rows``, over all groups."""
        return rows if self.groups == 1 else slice(0, self.out)

    def gate(self, samples: slice, rows: slice) -> Tensor:
        """The gates of a tile, in the scratch: (n, g, m, c, *K)."""
        out = self.scratch[: samples.stop - samples.start, :, : rows.stop - rows.start]
        a = None if self.a is None else self.a[samples]
        b = None if self.b is None else self.b[samples, :, rows]
        if a is None or b is None:
            return out.copy_(b if a is None else a).sigmoid_()
        if self.combine == 'sum':
            return torch.add(a, b, out=out).sigmoid_()
        torch.mul(a, b, out=out)
        return out if self.combine == 'factors' else out.sigmoid_()

    def kernels(self, gated: Tensor, dtype: torch.dtype) -> Tensor:
        """(n, g, m, c, *K) gated weights -> (n * g * m, c, *K) for a grouped convolution."""
        return gated.flatten(0, 2).to(dtype)


@torch.library.custom_op('mmcgc::tiled_conv', mutates_args=())
def tiled_conv(
    x: Tensor,
    weight: Tensor,
    gate_in: Tensor | None,
    gate_out: Tensor | None,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    combine: str,
) -> Tensor:
    """(B, C, *S) -> (B, O, *S') for two or three spatial axes."""
    shape = output_shape(x, weight, stride, padding, dilation)
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=result_format(x))
    if y.numel() == 0:
        return y
    walk = _Walk(x, weight, gate_in, gate_out, groups, combine, shape)
    conv = torch.conv2d if x.dim() == 4 else torch.conv3d
    for samples, rows in walk.tiles():
        n, channels = samples.stop - samples.start, walk.channels(rows)
        kernels = walk.kernels(walk.gate(samples, rows).mul_(walk.weight[:, :, rows]), x.dtype)
        offsets = None if bias is None else bias[channels].repeat(n)
        out = conv(walk.fold(x[samples]), kernels, offsets, stride, padding, dilation, n * groups)
        y[samples, channels] = out.view(n, -1, *shape[2:])
    return y


@torch.library.custom_op('mmcgc::tiled_conv_backward', mutates_args=())
def tiled_conv_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    gate_in: Tensor | None,
    gate_out: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
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
    grad_x = torch.empty_like(x) if need_x else x.new_empty(0)
    grad_w = torch.zeros_like(walk.weight)
    grad_a = None if walk.a is None else torch.empty_like(walk.a)
    grad_b = None if walk.b is None else torch.empty_like(walk.b)
    gated, nd = torch.empty_like(walk.scratch), x.dim() - 2
    for samples, rows in walk.tiles():
        n, weights = samples.stop - samples.start, walk.weight[:, :, rows]
        gate = walk.gate(samples, rows)  # (n, g, m, c, *K)
        product = torch.mul(gate, weights, out=gated[:n, :, : rows.stop - rows.start])
        dx, dk, _ = torch.ops.aten.convolution_backward(
            walk.fold(grad[samples, walk.channels(rows)]), walk.fold(x[samples]), walk.kernels(product, x.dtype), None,
            stride, padding, dilation, False, [0] * nd, n * groups, [need_x, need_kernel, False],
        )  # fmt: skip
        # Rows beyond the first tile's add to what it wrote.
        write = Tensor.copy_ if rows.start == 0 else Tensor.add_
        if need_x:
            write(grad_x[samples], dx.view(n, *x.shape[1:]))
        if not need_kernel:
            continue
        dk = dk.contiguous().to(gate.dtype).view_as(gate)
        if n == 1:
            grad_w[:, :, rows].addcmul_(dk, gate)
        else:
            grad_w[:, :, rows] += torch.mul(dk, gate, out=product).sum(0, keepdim=True)
        dk.mul_(weights)
        if walk.combine != 'factors':
            torch.ops.aten.sigmoid_backward.grad_input(dk, gate, grad_input=dk)
        # dk is now the gradient of a + b, or of a * b.
        times = walk.combine != 'sum' and walk.a is not None and walk.b is not None
        if walk.a is not None:
            write(grad_a[samples], (dk * walk.b[samples, :, rows] if times else dk).sum(2, keepdim=True))
        if walk.b is not None:
            grad_b[samples, :, rows] = (dk * walk.a[samples] if times else dk).sum(3, keepdim=True)
    pairs = ((grad_w, weight), (grad_a, gate_in), (grad_b, gate_out))
    return grad_x, *(g.reshape(t.shape).to(t.dtype) if need_kernel and g is not None else x.new_empty(0)
                     for g, t in pairs)  # fmt: skip


register(tiled_conv, tiled_conv_backward)
