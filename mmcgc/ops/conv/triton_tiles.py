"""Choose the tile sizes of the Triton kernels by a rule of thumb or, on request, a search among its neighbours."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from typing import NamedTuple, TypeVar

import torch

AUTOTUNE = 'MMCGC_TRITON_AUTOTUNE'

_Result = TypeVar('_Result')
_found: dict[Hashable, Tiles] = {}


class Tiles(NamedTuple):
    """The part that one program works on, and how many warps and stages of prefetching it uses."""

    rows: int  # output channels that it computes
    pixels: int
    channels: int  # these and the taps make up the axis that the kernel has beside its outputs
    taps: int
    warps: int
    stages: int


def conv_tiles(inputs: int, outputs: int, taps: int, pixels: int, size: int, hopper: bool) -> list[Tiles]:
    """Give tiles for the forward pass and the input's gradient; the first is the rule of thumb, measured on an H200.

    The weights of a tile are gated once for all its pixels, so wide tiles are better, up to what registers hold.  That
    is 128 pixels or, on Hopper's tensor cores, 256 if a sample has no more of them or there are at most 64 outputs.

    Args:
        inputs, outputs: Channels that the kernel sums over, and that it writes.
        taps: Elements of the kernel.
        pixels: Pixels of a sample that a launch writes.
        size: Bytes of an element.
        hopper: Whether the products run on tensor cores that keep only their sums in registers.
    """
    tall = 128 if outputs > 64 else 64
    rule = 256 if hopper and (pixels <= 256 or tall == 64) else 128
    sides = [(tall, rule), (192 - tall, rule), (tall, rule // 2), (64, 128)]
    fitted = dict.fromkeys((_power(outputs, 16, rows), _power(pixels, 16, wide)) for rows, wide in sides)
    columns = _columns(inputs, taps, 128 // size)
    return [Tiles(rows, wide, *columns, warps=8 if rows * wide > 128 * 128 else 4, stages=3) for rows, wide in fitted]


def weight_grad_tiles(inputs: int, outputs: int, taps: int, pixels: int, size: int) -> list[Tiles]:
    """Give tiles for the gradients of the weight and the gate; the arguments are those of :func:`conv_tiles`.

    Larger tiles do not fit, because the sum over samples, one sample's gradient and the weight are in registers.
    """
    tall = (128 if pixels > 64 and outputs > 64 else 64) * 2 // size
    sides = [(tall, 64), (192 * 2 // size - tall, 64), (64, 128)]
    fitted = dict.fromkeys((_power(outputs, 16, rows), *_columns(inputs, taps, wide)) for rows, wide in sides)
    wide = _power(pixels, 16, 128 if size == 2 else 2048 // tall)
    return [
        Tiles(rows, wide, channels, together, warps=max(4, rows * channels * together // 1024), stages=3)
        for rows, channels, together in fitted
    ]


def pick(key: Hashable, candidates: list[Tiles], launch: Callable[[Tiles], _Result]) -> _Result:
    """Run ``launch`` with the first of ``candidates`` or, with MMCGC_TRITON_AUTOTUNE=1, with the quickest.

    The search times each candidate once for every ``key`` and process.  Which one wins can differ between processes,
    and with it the rounding of the results, which is why the search must be asked for.
    """
    best = _found.get(key)
    if best is None and _searching():
        best = _found[key] = min(candidates, key=lambda tiles: _milliseconds(lambda: launch(tiles)))
    return launch(best or candidates[0])


def _searching() -> bool:
    """Tell whether to search; nothing is timed while a CUDA graph is captured."""
    wanted = os.environ.get(AUTOTUNE) == '1' and torch.cuda.is_available()
    return wanted and not torch.cuda.is_current_stream_capturing()


def _milliseconds(launch: Callable[[], object]) -> float:
    from triton.runtime.errors import OutOfResources
    from triton.testing import do_bench

    try:
        return do_bench(launch, warmup=10, rep=50, return_mode='median')
    except OutOfResources:
        return float('inf')


def _power(value: int, low: int, high: int) -> int:
    """Return the least power of two that holds ``value``, within bounds."""
    return max(low, min(high, 1 << (value - 1).bit_length()))


def _columns(channels: int, taps: int, most: int) -> tuple[int, int]:
    """Choose the channels and taps of a tile: one tap of 32 channels or more, or as many taps as make up 32."""
    wide = _power(channels, 1, most)
    together = 1 if wide >= 32 else _power(taps, 1, 32 // wide)
    return max(wide, 16 // together), together
