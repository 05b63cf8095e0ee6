"""Compute the gate of a convolution: context encoding, channel interacting and gate decoding (paper, Sec. 2.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmcgc.ops.modes import is_plain, without_autocast

from ..ops.context.network import Parts, fused_terms
from ..ops.context.norm import Norm
from ..ops.context.pooling import POOLS
from .gate_norms import frozen_norms, in_eval_mode, new_norm
from .gate_options import check_choices, check_positive, choose_groups


class ContextGate(nn.Module):
    r"""Read the whole input of a convolution and give the two terms inside the sigmoid of Eq. 1, for every sample.

    With pool target P, latent size d, kernel size n = prod(K) and the default switches::

        Z  = E pool(x)                       # (B, C, P) -> (B, C, d), context encoding
        G1 = D_c ReLU(norm(Z))               # (B, C, n), shared over output channels
        G2 = D_o ReLU(norm(I ReLU(norm'(Z))))  # (B, O, n), shared over input channels; I mixes channels in groups

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: K, the kernel of the gated convolution, 1 to 3 axes and more than one element.
        num_frames: T.  The context is then the clip that T consecutive samples form, pooled over time too (to the
            larger side of the kernel), and every frame gets a gate of its own (paper, Sec. 3.3).
        channel_groups: Groups of the channel interacting module.  None makes groups of 16 channels (paper, Sec. 3.1) or
            the next smaller number that fits; 1 makes one full linear layer (Table 2, g = 1).
        latent: 'half' for d = int(m / 2 + 1), 'full' for d = m + 1 (Table 2, d = k1 k2), or d itself.  m counts the
            elements of the pool target at ``pool_scale=1``.
        pool: 'avg' or 'max' (Table 2, MaxPool).
        pool_scale: Side of the pool target over the kernel's (Table 2: 2 is h' = 2 k1, w' = 2 k2).
        branches: 'both', 'in' (Table 2, only G1) or 'out' (only G2).
        combine: 'sum', 'product' or 'sigmoid_product' of the two terms (Table 2, G1 * G2; the paper leaves open which
            product).
        shared_norm: Use one norm for both branches (Table 2, Shared Norm).
        separate_encoding: Add a second context encoding for the branch of G2 (Table 2, Two Es).
        shared_decoder: Use one decoder for both branches (Table 2, Shared D).
        temporal_decoder: With ``num_frames``, 'joint' is d -> T n, as Sec. 3.3 reads; 'additive' is d -> n plus d -> T.
        init: How linear layers start: 'torch' (PyTorch's default, as in the authors' code; gates start near 1/2),
            'kaiming' (paper, Sec. 3.1, vision; gates start twice as spread, and learn slower in short schedules),
            'xavier' (language), or 'preserve', which is short for 'torch' with ``plain_start``.
        plain_start: Start as the plain convolution: the gate is ``gain`` times the sigmoid, with a gain of 2, or of 4
            for the product of two sigmoids, and the decoders are zeros, so that it is 1 at first and learns from there;
            with ``combine='product'`` only the decoder of G1 is.
        norm: Of the latent context: 'batch' (the paper's) or, for batches of one or two and if the running statistics
            are never filled (``norm_eval``), one over each sample alone: 'group' (over the channels that are mixed with
            each other, and the latent positions), 'layer' (over all channels and positions), or 'none'.

    Raises:
        ValueError: If an option is out of range, or options exclude each other.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sequence[int],
        num_frames: int | None = None,
        *,
        channel_groups: int | None = None,
        latent: str | int = 'half',
        pool: str = 'avg',
        pool_scale: int = 1,
        branches: str = 'both',
        combine: str = 'sum',
        shared_norm: bool = False,
        separate_encoding: bool = False,
        shared_decoder: bool = False,
        temporal_decoder: str = 'joint',
        init: str = 'torch',
        plain_start: bool = False,
        norm: str = 'batch',
    ):
        super().__init__()
        given = dict(latent=latent, pool=pool, branches=branches, combine=combine, temporal_decoder=temporal_decoder)
        check_choices(**given, init=init, norm=norm)
        plain_start = plain_start or init == 'preserve'
        check_positive(pool_scale=pool_scale, num_frames=num_frames, channel_groups=channel_groups)
        both = branches == 'both'
        if not both and (combine != 'sum' or shared_norm or separate_encoding or shared_decoder):
            raise ValueError(
                f'branches={branches!r} leaves one term, so combine, shared_norm, separate_encoding and shared_decoder '
                "must stay at their defaults; use branches='both' with them"
            )
        if plain_start and combine == 'product' and shared_decoder:
            raise ValueError(
                "plain_start (init='preserve') with combine='product' and shared_decoder=True could never learn: both "
                'factors start at zero; leave it out, or give each branch a decoder'
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.num_frames = tuple(kernel_size), num_frames
        self.pool, self.branches, self.combine = pool, branches, combine
        self.separate_encoding, self.temporal_decoder, self.norm = separate_encoding, temporal_decoder, norm
        self.init, self.plain_start = init, plain_start
        sigmoids = 2 if combine == 'sigmoid_product' else 1
        self.gain = 2**sigmoids if plain_start else 1
        self.norms_checked = False

        context = self.kernel_size if num_frames is None else (max(self.kernel_size), *self.kernel_size)
        self.pool_size = tuple(pool_scale * k for k in context)
        elements = math.prod(context)
        named = {'half': int(elements / 2 + 1), 'full': elements + 1}
        self.latent = named[latent] if isinstance(latent, str) else latent
        self.channel_groups = self._check_groups(channel_groups)

        pooled = math.prod(self.pool_size)
        self.context_encoding = nn.Linear(pooled, self.latent, bias=False)
        if branches != 'out':
            self.context_norm = new_norm(norm, in_channels, self.channel_groups)
        if branches != 'in':
            if separate_encoding:
                self.interact_encoding = nn.Linear(pooled, self.latent, bias=False)
            if not shared_norm:
                self.interact_norm = new_norm(norm, in_channels, self.channel_groups)
            groups = self.channel_groups
            self.channel_interacting = nn.Linear(in_channels // groups, out_channels // groups, bias=False)
            self.interacted_norm = new_norm(norm, out_channels, self.channel_groups)
        if branches != 'out':
            self._add_decoder('decode_in')
        if branches != 'in' and not shared_decoder:
            self._add_decoder('decode_out')
        self.reset_parameters()

    def _check_groups(self, groups: int | None) -> int:
        if groups is None:
            return choose_groups(self.in_channels, self.out_channels)
        if self.in_channels % groups or self.out_channels % groups:
            raise ValueError(
                f'channel_groups={groups} must divide the {self.in_channels} input and {self.out_channels} output '
                'channels; leave it None to have a fitting number chosen'
            )
        return groups

    def _add_decoder(self, name: str) -> None:
        elements = math.prod(self.kernel_size)
        if self.num_frames is None:
            self.add_module(name, nn.Linear(self.latent, elements, bias=False))
        elif self.temporal_decoder == 'joint':
            self.add_module(name, nn.Linear(self.latent, self.num_frames * elements, bias=False))
        else:
            self.add_module(name, nn.Linear(self.latent, elements, bias=False))
            self.add_module(f'{name}_time', nn.Linear(self.latent, self.num_frames, bias=False))

    def reset_parameters(self) -> None:
        """Initialise the linear layers as ``init`` and ``plain_start`` say."""
        linears = {name: module for name, module in self.named_modules() if isinstance(module, nn.Linear)}
        for linear in linears.values():
            if self.init == 'kaiming':
                nn.init.kaiming_normal_(linear.weight, nonlinearity='relu')
            elif self.init == 'xavier':
                nn.init.xavier_uniform_(linear.weight)
            else:
                linear.reset_parameters()
        if self.plain_start:
            # A product of two zeros has no gradient, so one factor keeps its values.
            keep = 'decode_out' if self.combine == 'product' else None
            for name, linear in linears.items():
                if name.startswith('decode') and (keep is None or not name.startswith(keep)):
                    nn.init.zeros_(linear.weight)

    def forward(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Give the two terms inside the sigmoid.

        Args:
            x: (B, C, *S), the convolution's input before padding, with as many axes S as the kernel has; B = N * T with
                ``num_frames``.

        Returns:
            G1 (B, C, *K) and G2 (B, O, *K); None for a branch that is switched off.  Under autocast they keep the dtype
            of the weights, because casting these small tensors costs more than it spares.
        """
        context, frozen = self._pool(x), frozen_norms(self)  # (N, C, P)
        with without_autocast(x.device):
            if not frozen:
                return self._terms(context)
            with in_eval_mode(frozen):
                return self._terms(context)

    def _terms(self, context: Tensor) -> tuple[Tensor | None, Tensor | None]:
        terms = fused_terms(context, self._parts, self.channel_groups)  # (N, n, C), (N, n, O)
        if terms is not None:
            return self._as_kernels(terms[0].transpose(1, 2)), self._as_kernels(terms[1].transpose(1, 2))
        context = context.transpose(1, 2)
        weight = getattr(self.context_encoding, 'weight', None)
        if isinstance(weight, Tensor):  # a quantised or replaced layer takes its input as it is
            context = context.to(weight.dtype)  # which pooling does not know
        # Channels lie last from here on: a normalisation of (rows, C), and a product for each sample instead of one
        # with a few columns, run several times faster on a CPU.
        encoded = _linear(self.context_encoding, context)  # (N, d, C)
        gate_in = gate_out = None
        if self.branches != 'out':
            gate_in = self._decode('decode_in', self._activate(self.context_norm, encoded.flatten(0, 1)))  # (B, C, *K)
        if self.branches != 'in':
            if self.separate_encoding:
                encoded = _linear(self.interact_encoding, context)  # (N, d, C)
            norm = self.interact_norm if hasattr(self, 'interact_norm') else self.context_norm
            mixed = self._interact(self._activate(norm, encoded.flatten(0, 1)))  # (N*d, O)
            name = 'decode_out' if hasattr(self, 'decode_out') else 'decode_in'
            gate_out = self._decode(name, self._activate(self.interacted_norm, mixed))  # (B, O, *K)
        return gate_in, gate_out

    def _pool(self, x: Tensor) -> Tensor:
        """Pool (B, C, *S) to (N, C, P), a clip's frames over space first, so that no clip is copied."""
        pool = POOLS[self.pool]
        if self.num_frames is None:
            return pool(x, self.pool_size)
        frames = pool(x, self.pool_size[1:])  # (N*T, C, P2)
        frames = frames.unflatten(0, (-1, self.num_frames)).movedim(1, -1)  # (N, C, P2, T)
        clips = pool(frames.flatten(1, 2), self.pool_size[:1])  # (N, C*P2, t)
        return clips.unflatten(1, frames.shape[1:3]).transpose(2, 3).flatten(2)  # (N, C, t*P2)

    def _activate(self, norm: nn.Module, rows: Tensor) -> Tensor:
        """Return the ReLU of ``norm``: (N*d, C) -> (N*d, C)."""
        if self.norm not in ('group', 'layer'):
            return _normalise(norm, rows)
        latent = rows.unflatten(0, (-1, self.latent)).transpose(1, 2)  # (N, C, d)
        return torch.relu(norm(latent)).transpose(1, 2).flatten(0, 1)

    def _interact(self, rows: Tensor) -> Tensor:
        """Mix channels within consecutive groups, the same way in each: (N*d, C) -> (N*d, O)."""
        grouped = rows.reshape(-1, self.in_channels // self.channel_groups)  # (N*d*m, C/m)
        return self.channel_interacting(grouped).reshape(-1, self.out_channels)

    def _decode(self, name: str, rows: Tensor) -> Tensor:
        """Decode (N*d, C) to (B, C, *K), a kernel for each frame if there are frames."""
        latent = rows.reshape(-1, self.latent, rows.shape[1])  # (N, d, C)
        decoded = _linear(getattr(self, name), latent)  # (N, n, C) or (N, T*n, C)
        if self.num_frames is not None and self.temporal_decoder == 'additive':
            times = _linear(getattr(self, f'{name}_time'), latent)  # (N, T, C)
            decoded = (decoded.unsqueeze(1) + times.unsqueeze(2)).flatten(1, 2)  # (N, T*n, C)
        return self._as_kernels(decoded.transpose(1, 2))

    def _as_kernels(self, decoded: Tensor) -> Tensor:
        """Shape decoded terms as kernels: (N, C, n) -> (B, C, *K), or (N, C, T*n) -> (N*T, C, *K)."""
        if self.num_frames is not None:
            decoded = decoded.unflatten(2, (self.num_frames, -1)).transpose(1, 2).flatten(0, 1)  # (N*T, C, n)
        return decoded.view(*decoded.shape[:2], *self.kernel_size)

    def _parts(self) -> Parts | None:
        """Give the weights and norms of the paper's network, or of a variant of the same form, if all are plain.

        None stands for a network of another form, and for one with a layer that has to be called.
        """
        usual = self.branches == 'both' and hasattr(self, 'interact_norm') and hasattr(self, 'decode_out')
        if not usual or self.separate_encoding or (self.num_frames and self.temporal_decoder == 'additive'):
            return None
        linears: Any = self.context_encoding, self.channel_interacting, self.decode_in, self.decode_out
        norms: Any = self.context_norm, self.interact_norm, self.interacted_norm
        plain = all(is_plain(layer, nn.Linear) and layer.bias is None for layer in linears)
        if not plain or not all(is_plain(norm, nn.BatchNorm1d) for norm in norms):
            return None
        return [layer.weight for layer in linears], [Norm(*(getattr(n, key) for key in Norm._fields)) for n in norms]

    def extra_repr(self) -> str:
        return (
            f'{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, num_frames={self.num_frames}, '
            f'pool={self.pool!r} to {self.pool_size}, channel_groups={self.channel_groups}, '
            f'branches={self.branches!r}, combine={self.combine!r}, gain={self.gain}, norm={self.norm!r}'
        )


def _linear(layer: nn.Linear, t: Tensor) -> Tensor:
    """Apply ``layer`` over the second axis of three: (N, p, C) -> (N, q, C)."""
    if is_plain(layer, nn.Linear) and layer.bias is None:  # the call would cost as much as the product
        return torch.bmm(layer.weight.expand(t.shape[0], -1, -1), t)
    return layer(t.transpose(1, 2)).transpose(1, 2)


def _normalise(norm: nn.Module, rows: Tensor) -> Tensor:
    """Return the ReLU of ``norm`` over (n, C)."""
    if not is_plain(norm, nn.BatchNorm1d) or norm.training or norm.running_mean is None:
        return torch.relu(norm(rows))
    mean, variance = norm.running_mean, norm.running_var
    return F.batch_norm(rows, mean, variance, norm.weight, norm.bias, eps=norm.eps).relu_()
