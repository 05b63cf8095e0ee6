"""Turn tokens and their positions into vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .vocabulary import PAD


class Embedding(nn.Embedding):
    """A token embedding, scaled by sqrt(C), plus sinusoidal positions (Vaswani et al., 2017, Sec. 3.4 and 3.5).

    Args:
        size: V, rows of the table.
        channels: C, even.
        dropout: Of the sum.
    """

    def __init__(self, size: int, channels: int, dropout: float) -> None:
        super().__init__(size, channels, padding_idx=PAD)
        self.dropout = dropout
        nn.init.normal_(self.weight, std=channels**-0.5)
        self.weight.data[PAD] = 0

    def forward(self, tokens: Tensor, first: int = 0) -> Tensor:
        """Embed (B, T) as (B, T, C); ``first`` is the position of the first of the T tokens."""
        x = super().forward(tokens) * self.embedding_dim**0.5  # (B, T, C)
        x = x + sinusoids(first, tokens.shape[1], x)  # (B, T, C)
        return nn.functional.dropout(x, self.dropout, self.training)


def sinusoids(first: int, steps: int, like: Tensor) -> Tensor:
    """Give positions ``first`` to ``first + steps - 1`` as (T, C), with sines in the first half of the channels."""
    half = like.shape[-1] // 2
    dtype = torch.promote_types(like.dtype, torch.float32)
    octaves = torch.arange(half, device=like.device, dtype=dtype) / max(1, half - 1)
    rates = torch.exp(-math.log(10000) * octaves)  # (C/2,)
    angles = torch.arange(first, first + steps, device=like.device, dtype=dtype)[:, None] * rates  # (T, C/2)
    return torch.cat([angles.sin(), angles.cos()], dim=1).to(like.dtype)
