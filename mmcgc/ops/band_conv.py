"""Convolve over time, depthwise, with one kernel for all channels of a head (Wu et al., 2019, arXiv:1901.10430)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Long inputs go in blocks of so many positions, because the band matrix of n positions is n by n + k - 1.
_BLOCK = 512


def light_conv(x: Tensor, weight: Tensor, padding: tuple[int, int] = (0, 0)) -> Tensor:
    """Convolve over time with a kernel for each head; head h covers the channels h C/H to (h + 1) C/H - 1.

    It gives ``y[b, t, c] = sum_j weight[..., h(c), j] * x[b, t + j - padding[0], c]``, with zeros outside the input.

    The kernels of consecutive positions form one band matrix for each head, which a matrix product applies: on short
    sequences that is quicker than a depthwise convolution, and each position can have a kernel of its own.

    Args:
        x: (B, T, C).
        weight: (H, k), shared; (B, H, k), one for each sentence; or (B, T', H, k), one for each position.  H divides C.
        padding: Zeros before and after the input.

    Returns:
        (B, T', C) with T' = T + sum(padding) - k + 1.

    Raises:
        ValueError: If the shapes do not fit together.
    """
    heads, size = weight.shape[-2:]
    steps = x.shape[1] + sum(padding) - size + 1
    shapes = {2: (heads, size), 3: (x.shape[0], heads, size), 4: (x.shape[0], steps, heads, size)}
    if x.dim() != 3 or tuple(weight.shape) != shapes.get(weight.dim()) or x.shape[2] % heads or steps < 1:
        raise ValueError(
            f"light_conv takes x (B, T, C) and weight (H, k), (B, H, k) or (B, T', H, k), with H dividing C and "
            f"T' = T + {sum(padding)} - k + 1 positive; got {tuple(x.shape)} and {tuple(weight.shape)}"
        )
    kernels = weight.transpose(1, 2) if weight.dim() == 4 else weight.unsqueeze(-2)  # ([B], H, T' or 1, k)
    kernels = kernels.expand(*kernels.shape[:-2], steps, size)  # ([B], H, T', k)
    values = x.unflatten(2, (heads, -1)).transpose(1, 2)  # (B, H, T, R)
    blocks = []
    for start in range(0, steps, _BLOCK):
        rows = kernels[..., start : start + _BLOCK, :]  # ([B], H, n, k)
        first = start - padding[0]
        low = max(0, first)
        high = max(low, min(first + rows.shape[-2] + size - 1, x.shape[1]))
        band = _band(rows)[..., low - first : high - first]  # ([B], H, n, m), m of the n + k - 1 places hold an input
        blocks.append(band @ values[:, :, low:high])  # (B, H, n, R)
    return torch.cat(blocks, dim=2).transpose(1, 2).flatten(2)  # (B, T', C)


def _band(rows: Tensor) -> Tensor:
    """Put row i of (…, n, k) at column i of (…, n, n + k - 1), with zeros elsewhere."""
    n, size = rows.shape[-2:]
    flat = F.pad(rows, (0, n)).flatten(-2)[..., : n * (n + size - 1)]
    return flat.unflatten(-1, (n, n + size - 1))
