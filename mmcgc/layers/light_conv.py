"""Light convolutions for sequences: with fixed, dynamic or gated kernels (paper, Sec. 3.4; arXiv:1901.10430)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmcgc.ops.band_conv import light_conv
from mmcgc.registry import MODELS

from .gated import Gated


class _LightConv(nn.Module):
    """The base of light convolutions: heads, padding, DropConnect on the kernels, and states for decoding step by step.

    Args:
        channels: C.
        heads: H, which divides C; the C / H consecutive channels of a head share a kernel.
        kernel_size: k.
        weight_dropout: Probability that a position leaves out an element of its kernel in training (DropConnect).
        causal: See no later position (decoder), instead of k // 2 positions on either side (encoder).

    Raises:
        ValueError: If H does not divide C.
    """

    def __init__(self, channels: int, heads: int, kernel_size: int, weight_dropout: float = 0.0, causal: bool = False):
        super().__init__()
        if channels % heads:
            raise ValueError(f'{heads} heads do not divide {channels} channels')
        self.channels, self.heads, self.kernel_size = channels, heads, kernel_size
        self.weight_dropout, self.causal = weight_dropout, causal
        self.add_weights()

    def add_weights(self) -> None:
        """Add the parameters from which the kernels are made."""
        raise NotImplementedError

    def kernels(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """Give the kernels, (H, k), (B, H, k) or (B, T, H, k), for the masked input."""
        raise NotImplementedError

    def forward(self, x: Tensor, padding: Tensor | None = None, state: dict[str, Tensor] | None = None) -> Tensor:
        """Convolve over time.

        Args:
            x: (B, T, C).
            padding: (B, T), True where a position is padding; those are read as zeros.
            state: What a causal layer keeps from one call to the next: the last k - 1 inputs, under 'inputs'.  It is
                empty at the first call; the calls together give what one call on the whole sequence gives.

        Returns:
            (B, T, C).
        """
        if padding is not None:
            x = x.masked_fill(padding.unsqueeze(2), 0)
        weight = self.kernels(x, padding)
        if self.training and self.weight_dropout:
            batch, steps, _ = x.shape
            weight = weight.unsqueeze(-3) if weight.dim() < 4 else weight
            weight = weight.expand(batch, steps, self.heads, self.kernel_size)
            weight = F.dropout(weight, self.weight_dropout)
        before = self.kernel_size - 1 if self.causal else (self.kernel_size - 1) // 2
        after = self.kernel_size - 1 - before
        if state is not None:
            past = state.get('inputs', x[:, :0])  # (B, up to k - 1, C)
            before -= past.shape[1]
            x = torch.cat([past, x], dim=1)
            state['inputs'] = x[:, max(0, x.shape[1] - self.kernel_size + 1) :]
        return light_conv(x, weight, (before, after))

    def extra_repr(self) -> str:
        return (
            f'{self.channels}, heads={self.heads}, kernel_size={self.kernel_size}, '
            f'weight_dropout={self.weight_dropout}, causal={self.causal}'
        )


@MODELS.register_module()
class LightweightConv(_LightConv):
    """A light convolution with one kernel a head (Wu et al., 2019, Sec. 3), the softmax of ``weight`` (H, k)."""

    def add_weights(self) -> None:
        self.weight = nn.Parameter(torch.empty(self.heads, self.kernel_size))
        nn.init.xavier_uniform_(self.weight.unsqueeze(1))  # as if for a depthwise convolution with H channels

    def kernels(self, x: Tensor, padding: Tensor | None) -> Tensor:
        return self.weight.softmax(dim=-1)  # (H, k)


@MODELS.register_module()
class DynamicConv(_LightConv):
    """A light convolution whose kernel at each position is made from the input there (Wu et al., 2019, Sec. 4)."""

    def add_weights(self) -> None:
        self.weight_linear = nn.Linear(self.channels, self.heads * self.kernel_size, bias=False)

    def kernels(self, x: Tensor, padding: Tensor | None) -> Tensor:
        return self.weight_linear(x).unflatten(2, (self.heads, -1)).softmax(dim=-1)  # (B, T, H, k)


@MODELS.register_module()
class CGLightweightConv(Gated, LightweightConv):
    """A light convolution whose kernels are gated by the whole sentence (paper, Sec. 3.4).

    The gate lies under ``gate``, so that the state of a :class:`LightweightConv` loads with the gate's keys missing and
    nothing else.  A kernel with one element is not gated and has no gate.

    Args:
        channels, heads, kernel_size, weight_dropout: As for :class:`LightweightConv`.
        causal: Must stay False.
        gate_before_softmax: Gate the weights before the softmax instead of after it; the paper leaves this open.

    Raises:
        ValueError: If ``causal`` is set, because the context holds the words that a decoder has yet to write.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        kernel_size: int,
        weight_dropout: float = 0.0,
        causal: bool = False,
        *,
        gate_before_softmax: bool = False,
    ):
        super().__init__(channels, heads, kernel_size, weight_dropout, causal)
        if self.causal:
            raise ValueError('CGLightweightConv reads the whole sentence: use it in the encoder, not with causal=True')
        self.gate_before_softmax = gate_before_softmax
        self.gate = SentenceGate(self.heads, self.kernel_size) if self.kernel_size > 1 else None

    def kernels(self, x: Tensor, padding: Tensor | None) -> Tensor:
        if self.gate is None:
            return super().kernels(x, padding)
        gate = self.gate(x, padding)  # (B, H, k)
        if self.gate_before_softmax:
            return (self.weight * gate).softmax(dim=-1)
        return self.weight.softmax(dim=-1) * gate


class SentenceGate(nn.Module):
    r"""Read a sentence and gate each head's kernel; as channels share weights, they do not interact (Sec. 3.4).

    With d = int(k / 2 + 1)::

        P = the sentence averaged over the channels of a head and pooled to 3k positions   # (B, H, 3k)
        gate = sigmoid(D ReLU(LayerNorm(E P)))                                             # (B, H, k)

    Each sentence is pooled over its own length, so that padding has no influence; one shorter than 3k gets zeros at its
    end.  The linear layers have no bias and are initialised as Glorot and Bengio (2010) propose.

    Args:
        heads: H.
        kernel_size: k.
    """

    def __init__(self, heads: int, kernel_size: int):
        super().__init__()
        self.heads, self.pool_size = heads, 3 * kernel_size
        latent = int(kernel_size / 2 + 1)
        self.context_encoding = nn.Linear(self.pool_size, latent, bias=False)
        self.context_norm = nn.LayerNorm(latent)
        self.decode_in = nn.Linear(latent, kernel_size, bias=False)
        for linear in (self.context_encoding, self.decode_in):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """Give the gates (B, H, k) of x (B, T, C), which is zero where ``padding`` (B, T) is True."""
        if padding is None:
            lengths = x.new_full((x.shape[0],), x.shape[1], dtype=torch.long)  # (B,)
        else:
            lengths = padding.logical_not().sum(dim=1)  # (B,)
        heads = x.unflatten(2, (self.heads, -1)).mean(dim=3)  # (B, T, H)
        pool = sentence_averaging(lengths, x.shape[1], self.pool_size, heads)  # (B, 3k, T)
        context = (pool @ heads).transpose(1, 2)  # (B, H, 3k)
        latent = torch.relu(self.context_norm(self.context_encoding(context)))  # (B, H, d)
        return torch.sigmoid(self.decode_in(latent))


def sentence_averaging(lengths: Tensor, size: int, target: int, like: Tensor) -> Tensor:
    """Give adaptive average pooling of sentences of different lengths, as one matrix for each sentence.

    Args:
        lengths: (B,), the sentences' own lengths, each up to ``size``; one below ``target`` counts as ``target``.
        size: T, the padded length.
        target: P, the pooled length.
        like: Gives dtype and device.

    Returns:
        (B, P, T): row i of a sentence of length n averages the positions from floor(i n / P) to ceil((i + 1) n / P).
    """
    n = lengths.clamp(min=target)[:, None]  # (B, 1)
    row = torch.arange(target, device=like.device)  # (P,)
    start, stop = row * n // target, ((row + 1) * n + target - 1) // target  # (B, P)
    position = torch.arange(size, device=like.device)  # (T,)
    window = (position >= start[..., None]) & (position < stop[..., None])  # (B, P, T)
    return window.to(like.dtype) / (stop - start)[..., None].to(like.dtype)
