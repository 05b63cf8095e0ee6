"""Count what the operators cost, for ``mmcgc.analysis`` and, by its own rules, for ``torch.utils.flop_counter``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.flop_counter import register_flop_formula

from .conv import tiled, triton_conv  # noqa: F401  they define the operators


def multiply_adds(x: Sequence[int], weight: Sequence[int], y: Sequence[int]) -> tuple[int, int]:
    """Count the multiply-adds of a gated convolution from the shapes of x, weight and y.

    Returns:
        The convolution's own, as many as the plain one has, and those of ``weight * gate``: one for each of the
        B * O * C / g * K elements.  Making the gate from its two terms is an activation, which counts as nothing.
    """
    return math.prod(y) * math.prod(weight[1:]), x[0] * math.prod(weight)


@register_flop_formula([torch.ops.mmcgc.tiled_conv, torch.ops.mmcgc.triton_conv])
def _forward(x: Any, weight: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 2 * sum(multiply_adds(x, weight, out_shape))


@register_flop_formula([torch.ops.mmcgc.tiled_conv_backward, torch.ops.mmcgc.triton_conv_backward])
def _backward(grad: Any, x: Any, weight: Any, *args: Any, out_shape: Any = None) -> int:
    """Count a convolution for each gradient, the gated kernel that is made again, and its two gradients."""
    *_, need_x, need_weight_or_gate = args
    conv, product = multiply_adds(x, weight, grad)
    return 2 * ((need_x + need_weight_or_gate) * conv + (1 + 2 * need_weight_or_gate) * product)
