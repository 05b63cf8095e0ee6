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

# Per thread.  A tile of samples keeps kernels and activations within the outer caches; a tile of output channels keeps
# its kernels within about one L2 cache; past this many multiply-adds a larger tile no longer hides any overhead.
_WORKING_SET_BYTES = 2 << 20
_KERNEL_BYTES = 5 << 18
_ENOUGH_MACS = 32_000_000


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

    Kernels are (n, g, m, c, *K) for n samples, g convolution groups, m output and c input channels of a group; or
    (n, g, m, *K, c) where the convolution runs channels-last, so that the broadcast runs along rows.
    """

    def __init__(self, x, weight, gate_in, gate_out, groups, combine, y_shape):
        self.batch, self.out, self.groups, self.combine = len(x), len(weight), groups, combine
        self.samples, self.rows, self.last = self._plan(x, weight, y_shape)
        self.format = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
        terms = [t for t in (gate_in, gate_out) if t is not None]
        dtype = torch.promote_types(torch.float32, terms[0].dtype)
        self.weight = self._lay(weight.unflatten(0, (groups, -1))).to(dtype)[None]  # (1, g, O/g, c, *K)
        self.a = self.b = None
        if gate_in is not None:
            self.a = self._lay(gate_in.to(dtype).unflatten(1, (groups, -1)).unsqueeze(2))  # (B, g, 1, c, *K)
        if gate_out is not None:
            self.b = self._lay(gate_out.to(dtype).unflatten(1, (groups, -1)).unsqueeze(3))  # (B, g, O/g, 1, *K)
        self.scratch = self.weight.new_empty(self.samples, groups, self.rows, *self.weight.shape[3:])
        self.reduce = -1 if self.last else 3

    def _plan(self, x, weight, y_shape) -> tuple[int, int, bool]:
        """Samples and output channels a tile, and whether a tile's convolution runs channels-last."""
        size, threads = x.element_size(), torch.get_num_threads()
        kernel, active = weight.numel(), x[0].numel() + math.prod(y_shape[1:])
        macs = kernel * math.prod(y_shape[2:])
        budget = min(threads * _WORKING_SET_BYTES // (size * (kernel + active)), threads * _ENOUGH_MACS // macs)
        samples = max(1, min(self.batch, budget))
        parts = 1 if samples > 1 or self.groups > 1 else -(-kernel * size // (_KERNEL_BYTES * threads))
        rows = -(-(self.out // self.groups) // parts)
        single = samples == 1 and result_format(x) != torch.contiguous_format
        last = weight.shape[1] > 1 and (kernel > active or single)
        return samples, rows, last

    def _lay(self, t: Tensor) -> Tensor:
        """(…, c, *K) -> (…, *K, c) where channels go last."""
        nd = 2 if self.format == torch.channels_last else 3
        return (t.movedim(-1 - nd, -1) if self.last else t).contiguous()

    def unlay(self, t: Tensor) -> Tensor:
        """The inverse of the layout."""
        nd = 2 if self.format == torch.channels_last else 3
        return t.movedim(-1, -1 - nd) if self.last else t

    def tiles(self) -> Iterator[tuple[slice, slice]]:
        """Samples and output channels of one group; rows are cut only where there is one group."""
        for j in range(0, self.out // self.groups, self.rows):
            for i in range(0, self.batch, self.samples):
                yield slice(i, min(i + self.samples, self.batch)), slice(j, min(j + self.rows, self.out // self.groups))

    def fold(self, t: Tensor) -> Tensor:
        """(n, C, *S) -> (1, n * C, *S): the samples become convolution groups."""
        t = t.reshape(1, -1, *t.shape[2:])
        return t.contiguous(memory_format=self.format) if self.last and self.samples == 1 else t

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
        return self.unlay(gated.flatten(0, 2)).to(dtype)


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
        dk = walk._lay(dk).to(gate.dtype).view_as(gate)
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
            grad_b[samples, :, rows] = (dk * walk.a[samples] if times else dk).sum(walk.reduce, keepdim=True)
    # The layout keeps a 1 where G1 has no output channel and G2 no input channel; the shapes of the inputs drop it.
    pairs = ((grad_w, weight), (grad_a, gate_in), (grad_b, gate_out))
    grads = (
        walk.unlay(g).reshape(t.shape).to(t.dtype).contiguous() if need_kernel and g is not None else x.new_empty(0)
        for g, t in pairs
    )
    return grad_x, *grads


register(tiled_conv, tiled_conv_backward)
