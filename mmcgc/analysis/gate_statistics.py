"""What the gates of a layer do over a batch: where they stand, and how much they follow their input."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcgc.ops import gate_values

SATURATED = 0.05


@torch.no_grad()
def gate_statistics(
    gate_in: Tensor | None, gate_out: Tensor | None, combine: str = 'sum', frames: int | None = None, most: int = 16
) -> dict[str, float]:
    """Summarise the gates of one layer, on at most ``most`` input and output channels, evenly spaced.

    Args:
        gate_in: (B, C, *K), as :class:`ContextGate` returns it, or None.
        gate_out: (B, O, *K), or None.
        combine: how the two meet.
        frames: T where B = N * T frames of clips.
        most: channels to look at on each side.

    Returns:
        ``mean`` and ``spread`` (standard deviation) over everything; ``saturated``, the share within 0.05 of 0 or 1;
        ``over_samples``, the standard deviation over the batch, averaged over kernel elements (0: a plain convolution
        would do); with ``frames``, ``over_frames``, the same over the frames of a clip.
    """
    gate_in, gate_out = (None if t is None else _thin(t.detach().float(), most) for t in (gate_in, gate_out))
    gates = gate_values(gate_in, gate_out, 1 if gate_out is None else gate_out.shape[1], 1, combine)  # (B, O, C, *K)
    statistics = {
        'mean': gates.mean(),
        'spread': gates.std(correction=0),
        'saturated': ((gates < SATURATED) | (gates > 1 - SATURATED)).float().mean(),
        'over_samples': gates.std(0, correction=0).mean(),
    }
    if frames is not None:
        statistics['over_frames'] = gates.unflatten(0, (-1, frames)).std(1, correction=0).mean()
    return {name: value.item() for name, value in statistics.items()}


def _thin(term: Tensor, most: int) -> Tensor:
    """(B, C, *K) -> (B, <= most, *K)."""
    return term[:, :: -(-term.shape[1] // most)]
