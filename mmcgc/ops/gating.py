"""Compute the gate as a tensor: the two terms of Eq. 1 become one factor for each kernel element."""

from __future__ import annotations

import torch
from torch import Tensor

COMBINES = ('sum', 'product', 'sigmoid_product')


def gate_values(
    gate_in: Tensor | None, gate_out: Tensor | None, out_channels: int, groups: int = 1, combine: str = 'sum'
) -> Tensor:
    """Materialise the gate of every sample (paper, Eq. 1).

    With convolution groups the full (O, C) gate is cut block-diagonally: an output channel sees its group's inputs.

    Args:
        gate_in: (B, C, *K), the term shared over output channels, or None.
        gate_out: (B, O, *K), the term shared over input channels, or None.
        out_channels: O.
        groups: Convolution groups g.
        combine: ``'sum'`` is sigmoid(a + b), ``'product'`` sigmoid(a * b), ``'sigmoid_product'`` sigmoid(a) *
            sigmoid(b), and ``'factors'``, which only backends use, a * b of terms that are sigmoids already.

    Returns:
        (B, O, C / g, *K).
    """
    a = b = None
    if gate_in is not None:
        a = gate_in.unflatten(1, (groups, -1)).repeat_interleave(out_channels // groups, dim=1)  # (B, O, C/g, *K)
    if gate_out is not None:
        b = gate_out.unsqueeze(2)  # (B, O, 1, *K)
    if a is None or b is None:
        (alone,) = (term for term in (a, b) if term is not None)
        return torch.sigmoid(alone)
    if combine == 'sum':
        return torch.sigmoid(a + b)
    if combine == 'product':
        return torch.sigmoid(a * b)
    if combine == 'factors':
        return a * b
    return torch.sigmoid(a) * torch.sigmoid(b)
