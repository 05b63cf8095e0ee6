"""Multi-head attention (Vaswani et al., 2017, Sec. 3.2), over a sequence itself and over the source."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...registry import MODELS


class _Attention(nn.Module):
    def __init__(self, channels: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f'{heads} heads do not divide {channels} channels')
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(channels, channels) for _ in range(4))
        for linear in (self.query, self.key, self.value):
            nn.init.xavier_uniform_(linear.weight, gain=2**-0.5)
        nn.init.xavier_uniform_(self.out.weight)
        for linear in (self.query, self.key, self.value, self.out):
            nn.init.zeros_(linear.bias)

    def split(self, x: Tensor) -> Tensor:
        """Split the channels into heads: (B, T, C) -> (B, H, T, C / H)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Attend with query (B, H, T, R) to key and value (B, H, S, R) where mask (…, T, S) is True -> (B, T, C)."""
        dropout = self.dropout if self.training else 0.0
        x = F.scaled_dot_product_attention(query, key, value, mask, dropout)  # (B, H, T, R)
        return self.out(x.transpose(1, 2).flatten(2))


@MODELS.register_module()
class SelfAttention(_Attention):
    """A token mixer in which every position looks at its whole sequence or, if ``causal``, up to itself.

    Args:
        channels, heads: C, and H, which divides C.
        dropout: Of the attention weights.
        causal: See no later position (decoder).
    """

    def __init__(self, channels: int, heads: int, dropout: float = 0.0, causal: bool = False) -> None:
        super().__init__(channels, heads, dropout)
        self.causal = causal

    def forward(self, x: Tensor, padding: Tensor | None = None, state: dict[str, Tensor] | None = None) -> Tensor:
        """Attend to the sequence itself: (B, T, C) -> (B, T, C).

        Args:
            x: (B, T, C).
            padding: (B, T), True where a position is padding; nothing looks there.
            state: What a causal layer keeps: the keys and values of earlier calls, under 'key' and 'value'.
        """
        query, key, value = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        mask = None if padding is None else padding.logical_not()[:, None, None]  # (B, 1, 1, T)
        if state is not None:
            if state:
                key = torch.cat([state['key'], key], dim=2)  # (B, H, S, R)
                value = torch.cat([state['value'], value], dim=2)
            state.update(key=key, value=value)
        if self.causal:
            steps, seen = x.shape[1], key.shape[2]
            causal = torch.ones(steps, seen, dtype=torch.bool, device=x.device).tril(seen - steps)  # (T, S)
            mask = causal if mask is None else causal & mask
        return self.attend(query, key, value, mask)


class CrossAttention(_Attention):
    """Attention by which every target position looks at the whole source sentence."""

    def project(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the keys and values (B, H, S, R) of an encoded source (B, S, C), once for each sentence."""
        return self.split(self.key(memory)), self.split(self.value(memory))

    def forward(self, x: Tensor, projected: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """Attend to the source: (N, T, C) -> (N, T, C); N is B, or B times the width of a beam that shares its source.

        Args:
            x: (N, T, C).
            projected: From :meth:`project`.
            mask: (B, 1, 1, S), True where the source is not padding.
        """
        query = x.reshape(len(mask), -1, x.shape[2])  # (B, N / B * T, C)
        return self.attend(self.split(self.query(query)), *projected, mask).view_as(x)
