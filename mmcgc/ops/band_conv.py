"""Depthwise convolution over time with kernels shared by the channels of a head (Wu et al., 2019, arXiv:1901.10430)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Rows of a band at a time: the band of n positions is n by n + k - 1, so long inputs go in blocks.
_BLOCK = 512


def light_conv(x: Tensor, weight: Tensor, padding: tuple[int, int] = (0, 0)) -> Tensor:
    """Convolve over time; head h covers the consecutive channels h C/H to (h + 1) C/H - 1.

    ``y[b, t, c] = sum_j weight[..., h(c), j] * x[b, t + j - padding[0], c]``, with zeros outside the input.

    The kernels of consecutive positions form a band matrix, one for each head, and a matrix product applies it: on
    short sequences that is quicker than a depthwise convolution, and it takes a kernel for each position as well.

    Args:
        x: (B, T, C).
        weight: (H, k), shared; (B, H, k), one a sentence; or (B, T', H, k), one a position.  H divides C.
        padding: zeros before and after the input.

    Returns:
        (B, T', C) with T' = T + sum(padding) - k + 1.

    Raises:
        ValueError: shapes that do not fit together.
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
        band = _band(rows)[..., low - first : high - first]  # ([B], H, n, m), m of n + k - 1 places hold an input
        blocks.append(band @ values[:, :, low:high])  # (B, H, n, R)
    return torch.cat(blocks, dim=2).transpose(1, 2).flatten(2)  # (B, T', C)


def _band(rows: Tensor) -> Tensor:
    """Put row i of (…, n, k) at column i of (…, n, n + k - 1), zeros elsewhere."""
    n, size = rows.shape[-2:]
    flat = F.pad(rows, (0, n)).flatten(-2)[..., : n * (n + size - 1)]
    return flat.unflatten(-1, (n, n + size - 1))
