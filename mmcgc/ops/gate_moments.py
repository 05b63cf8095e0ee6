"""Measure what the gates of a layer do over a batch: where they stand, and how much they follow their input."""

from __future__ import annotations

import torch
from torch import Tensor

from .gating import gate_values

SATURATED = 0.05


def thin_gates(
    gate_in: Tensor | None, gate_out: Tensor | None, combine: str = 'sum', groups: int = 1, most: int = 16
) -> Tensor:
    """Return the gates of at most ``most`` input and output channels, evenly spaced, so that looking costs little.

    Args:
        gate_in: (B, C, *K), as :class:`ContextGate` returns it, or None.
        gate_out: (B, O, *K), or None.
        combine: How the two terms meet.
        groups: Of the convolution.
        most: How many channels are kept on each side.

    Returns:
        (B, O', C' / groups', *K).
    """
    kept = len(range(0, groups, -(-groups // most)))
    gate_in, gate_out = (None if t is None else _thin(t.detach().float(), groups, most) for t in (gate_in, gate_out))
    return gate_values(gate_in, gate_out, kept if gate_out is None else gate_out.shape[1], kept, combine)


def _thin(term: Tensor, groups: int, most: int) -> Tensor:
    """Keep at most ``most`` groups, and of each the channels that there is room for: (B, C, *K) -> (B, <= most, *K)."""
    grouped = term.unflatten(1, (groups, -1))  # (B, g, C / g, *K)
    grouped = grouped[:, :: -(-groups // most)]  # (B, <= most, C / g, *K)
    room = max(1, most // grouped.shape[1])
    return grouped[:, :, :: -(-grouped.shape[2] // room)].flatten(1, 2)


@torch.no_grad()
def gate_statistics(gates: Tensor, frames: int | None = None, gain: float = 1) -> dict[str, Tensor]:
    """Summarise gates.

    Args:
        gates: (B, ...), the gates of each sample, from 0 to ``gain``.
        frames: T, if the batch holds B = N * T frames of N clips.
        gain: The largest value of a gate, which is 1 unless the layer starts as the plain convolution.

    Returns:
        Scalar tensors: ``mean`` and ``spread`` (standard deviation) over everything; ``saturated``, the share within
        5% of shut (0) or open (``gain``); ``over_samples``, the standard deviation over the samples, averaged over
        kernel elements: if it is 0, a plain convolution would do.  With ``frames``, ``over_samples`` compares clips
        frame by frame, and ``over_frames`` compares the frames of a clip, averaged over the clips.
    """
    clips = gates.unflatten(0, (-1, frames or 1))  # (N, T, ...)
    statistics = {
        'mean': gates.mean(),
        'spread': gates.std(correction=0),
        'saturated': ((gates < SATURATED * gain) | (gates > (1 - SATURATED) * gain)).float().mean(),
        'over_samples': clips.std(0, correction=0).mean(),
    }
    if frames is not None:
        statistics['over_frames'] = clips.std(1, correction=0).mean()
    return statistics
