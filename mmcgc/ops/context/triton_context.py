"""Run the context network on a GPU, after the pooling, in few launches.

Training takes three small kernels forward, and three and a sum backward; inference takes one.  In networks of many
small layers the launches decide, not the arithmetic.  What the kernels do not take, and whatever is being compiled or
exported, goes through the modules one by one; compilers fuse those by themselves.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from ..modes import differentiated, is_plain, traced, transformed
from ..triton_device import no_device
from .triton_pool import block

# Beyond these sizes the padded blocks of a program would not fit its registers.
_MOST_CHANNELS, _MOST_POOLED, _MOST_LATENT, _MOST_DECODED = 64, 64, 32, 128
_SAMPLES = 128  # The statistics of so many samples are joined at once.
_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def can_run(context: Tensor, linears: Sequence[nn.Module], norms: Sequence[nn.Module], groups: int) -> str | None:
    """Tell why :func:`run` cannot take its arguments, or return None if it can."""
    if traced():
        return 'a program is being traced'
    if type(context) is not Tensor or is_in_torch_dispatch_mode() or transformed():
        return 'tensors are being watched'
    if not all(is_plain(m, nn.Linear) for m in linears) or not all(is_plain(m, nn.BatchNorm1d) for m in norms):
        return 'it takes nn.Linear and nn.BatchNorm1d alone, as they are and without hooks'
    if any(not m.affine or m.running_mean is None or m.momentum is None for m in norms):
        return 'a norm lacks scale, running statistics or momentum'
    training = norms[0].training
    if any(m.training != training for m in norms) or (not training and torch.is_grad_enabled()):
        return 'norms with running statistics are not differentiated'
    tensors = [t for m in (*linears, *norms) for t in m.parameters()]
    if context.dtype not in _DTYPES or any(t.dtype != torch.float32 or not t.is_contiguous() for t in tensors):
        return 'it takes contiguous float32 weights'
    encoding, interacting, decode_in, decode_out = linears
    wide = max(interacting.in_features, interacting.out_features)
    sizes = (wide, encoding.in_features, encoding.out_features, decode_in.out_features)
    if any(a > b for a, b in zip(sizes, (_MOST_CHANNELS, _MOST_POOLED, _MOST_LATENT, _MOST_DECODED), strict=True)):
        return f'groups of {wide} channels, pooled, latent or decoded size {sizes[1:]} are too large'
    if decode_in.out_features != decode_out.out_features or not 0 < len(context) < 2**31 or groups >= 2**16:
        return 'sizes do not fit'
    if training and len(context) * encoding.out_features < 2:
        return 'a variance needs two values'
    return no_device(context.device.type, context.device.index, torch.float32)


def run(
    context: Tensor, linears: Sequence[nn.Linear], norms: Sequence[nn.BatchNorm1d], groups: int
) -> tuple[Tensor, Tensor]:
    """Compute what the modules compute, in float32; in training the running statistics follow.

    Args:
        context: P (N, C, p), pooled.
        linears: The encoding E (d, p), channel interacting I (O/m, C/m), and the decoders of G1 and G2, (n, d) each.
        norms: That over C of the branch of G1, and those over C and over O of the branch of G2.
        groups: The number m of groups of the channel interacting module.

    Returns:
        G1 (N, n, C) and G2 (N, n, O).
    """
    weights = [linear.weight for linear in linears]
    affine = [t for norm in norms for t in (norm.weight, norm.bias)]
    with torch.cuda.device_of(context):
        if norms[0].training:
            return _Context.apply(norms, groups, context, *weights, *affine)
        return _infer(context, weights, norms, groups)


class _Sizes:
    """The sizes of a context network, as the kernels take them."""

    def __init__(self, context: Tensor, encoding: Tensor, interacting: Tensor, decoding: Tensor, groups: int):
        (outputs, inputs), (self.latent, self.pooled) = interacting.shape, encoding.shape
        self.samples, self.channels, self.groups, self.decoded = *context.shape[:2], groups, len(decoding)
        self.outputs, self.grid = outputs * groups, (self.samples, groups)
        self.inputs = dict(C=self.channels, GC=inputs, BC=block(inputs))
        self.mixed = dict(OUT=self.outputs, GO=outputs, BO=block(outputs))
        self.encode = dict(P=self.pooled, BP=block(self.pooled))
        self.hidden = dict(D=self.latent, BD=block(self.latent))
        self.decode = dict(N=self.decoded, BN=block(self.decoded))
        self.join = dict(BS=min(_SAMPLES, block(self.samples)))
        # The sizes of each program's part of the gradients: of E, of I and of both decoders.
        self.parts = (self.latent * self.pooled, outputs * inputs, *[self.decoded * self.latent] * 2)


def _infer(
    context: Tensor, weights: Sequence[Tensor], norms: Sequence[nn.BatchNorm1d], groups: int
) -> tuple[Tensor, Tensor]:
    from . import triton_context_kernels as kernels

    encoding, interacting, decode_in, decode_out = weights
    sizes = _Sizes(context, encoding, interacting, decode_in, groups)
    statistics = [(n.weight, n.bias, n.running_mean, n.running_var, n.eps) for n in norms]
    gate_in = encoding.new_empty(sizes.samples, sizes.decoded, sizes.channels)
    gate_out = encoding.new_empty(sizes.samples, sizes.decoded, sizes.outputs)
    kernels.infer[sizes.grid](
        context, encoding, *statistics[0], *statistics[1], *statistics[2], decode_in, decode_out, interacting,
        gate_in, gate_out, *context.stride(), **sizes.inputs, **sizes.mixed, **sizes.encode, **sizes.hidden,
        **sizes.decode,
    )  # fmt: skip
    return gate_in, gate_out


class _Context(torch.autograd.Function):
    """Norms by statistics of the batch; saves its arguments, Z, the mixed channels and the statistics of both."""

    @staticmethod
    def forward(ctx, norms, groups, context, encoding, interacting, decode_in, decode_out, *affine):
        from . import triton_context_kernels as kernels

        sizes, empty = _Sizes(context, encoding, interacting, decode_in, groups), encoding.new_empty
        n, c, o, d = sizes.samples, sizes.channels, sizes.outputs, sizes.latent
        latent, statistics, saved = empty(n, d, c), empty(2, n, c), empty(2, c)
        mixed, mixed_statistics, mixed_saved = empty(n, d, o), empty(2, n, o), empty(2, o)
        gate_in, gate_out = empty(n, sizes.decoded, c), empty(n, sizes.decoded, o)
        running = [(m.running_mean, m.running_var, m.num_batches_tracked, m.eps, m.momentum) for m in norms]
        kernels.encode[sizes.grid](
            context, encoding, latent, statistics, *context.stride(), n, **sizes.inputs, **sizes.encode, **sizes.hidden
        )
        kernels.interact[sizes.grid](
            latent,
            statistics,
            saved,
            *affine[:2],
            *running[0],
            *affine[2:4],
            *running[1],
            decode_in,
            interacting,
            gate_in,
            mixed,
            mixed_statistics,
            n,
            **sizes.inputs,
            **sizes.mixed,
            **sizes.hidden,
            **sizes.decode,
            **sizes.join,
        )
        kernels.decode[sizes.grid](
            mixed,
            mixed_statistics,
            mixed_saved,
            *affine[4:],
            *running[2],
            decode_out,
            gate_out,
            n,
            **sizes.mixed,
            **sizes.hidden,
            **sizes.decode,
            **sizes.join,
        )
        ctx.sizes, ctx.eps = sizes, [m.eps for m in norms]
        ctx.save_for_backward(
            context, encoding, interacting, decode_in, decode_out, *affine, latent, saved, mixed, mixed_saved
        )
        return gate_in, gate_out

    @staticmethod
    def backward(ctx, grad_in, grad_out):
        from . import triton_context_kernels as kernels

        context, encoding, interacting, decode_in, decode_out, *affine, latent, saved, mixed, mixed_saved = (
            ctx.saved_tensors
        )
        if differentiated(grad_in):
            inputs = context, encoding, interacting, decode_in, decode_out, *affine
            _, gradients = torch.func.vjp(functools.partial(_formula, ctx.sizes.groups, ctx.eps), *inputs)
            return None, None, *gradients((grad_in, grad_out))
        scale_in, shift_in, scale, shift, mixed_scale, mixed_shift = affine
        sizes, empty, (eps_in, eps, mixed_eps) = ctx.sizes, encoding.new_empty, ctx.eps
        n, c, o, d = sizes.samples, sizes.channels, sizes.outputs, sizes.latent
        at_interact, at_decode, at_decode_out, part_size = (sum(sizes.parts[:k]) for k in range(1, 5))
        parts = empty(n * sizes.groups, part_size)
        mixed_grad, mixed_sums, mixed_affine = empty(n, d, o), empty(2, n, o), empty(2, o)
        latent_grad, sums, latent_affine = empty(n, d, c), empty(4, n, c), empty(4, c)
        grad_context = torch.empty(n, sizes.pooled, c, dtype=context.dtype, device=context.device)
        with torch.cuda.device_of(context):
            kernels.decode_grad[sizes.grid](
                grad_out,
                mixed,
                mixed_saved,
                mixed_scale,
                mixed_shift,
                mixed_eps,
                decode_out,
                mixed_grad,
                mixed_sums,
                parts,
                *_strides(grad_out),
                n,
                at_decode_out,
                part_size,
                **sizes.mixed,
                **sizes.hidden,
                **sizes.decode,
            )
            kernels.interact_grad[sizes.grid](
                grad_in,
                latent,
                saved,
                scale_in,
                shift_in,
                eps_in,
                scale,
                shift,
                eps,
                decode_in,
                interacting,
                mixed,
                mixed_saved,
                mixed_scale,
                mixed_eps,
                mixed_grad,
                mixed_sums,
                mixed_affine,
                latent_grad,
                sums,
                parts,
                *_strides(grad_in),
                n,
                at_decode,
                at_interact,
                part_size,
                **sizes.inputs,
                **sizes.mixed,
                **sizes.hidden,
                **sizes.decode,
                **sizes.join,
            )
            kernels.encode_grad[sizes.grid](
                context,
                latent,
                saved,
                scale_in,
                eps_in,
                scale,
                eps,
                encoding,
                latent_grad,
                sums,
                latent_affine,
                grad_context,
                parts,
                *context.stride(),
                n,
                part_size,
                **sizes.inputs,
                **sizes.encode,
                **sizes.hidden,
                **sizes.join,
            )
        linears = (encoding, interacting, decode_in, decode_out)
        grads = [t.view_as(w) for t, w in zip(parts.sum(0).split(sizes.parts), linears, strict=True)]
        return (None, None, grad_context.transpose(1, 2), *grads, *latent_affine[2:], *latent_affine[:2], *mixed_affine)


def _formula(groups, eps, context, encoding, interacting, decode_in, decode_out, *affine) -> tuple[Tensor, Tensor]:
    """Compute G1 and G2 of training by PyTorch's own operators, whose derivatives can be differentiated again."""

    def normalise(rows: Tensor, i: int) -> Tensor:
        scale, shift = affine[2 * i : 2 * i + 2]
        return F.batch_norm(rows, None, None, scale, shift, True, eps=eps[i]).relu()

    encoded = (encoding @ context.float().transpose(1, 2)).flatten(0, 1)  # (N*d, C)
    mixed = (normalise(encoded, 1).unflatten(1, (groups, -1)) @ interacting.T).flatten(1)  # (N*d, O)
    rows, latent = ((normalise(encoded, 0), decode_in), (normalise(mixed, 2), decode_out)), (-1, len(encoding))
    return tuple(decoder @ t.unflatten(0, latent) for t, decoder in rows)


def _strides(grad: Tensor) -> tuple[int, int, int]:
    """Give the strides of (N, n, C) over samples, channels and kernel elements."""
    sample, element, channel = grad.stride()
    return sample, channel, element
