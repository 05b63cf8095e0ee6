"""Let MMEngine and fvcore count the operations of gated convolutions: they know no operators of other packages.

``torch.utils.flop_counter`` learns of them in :mod:`mmcgc.ops`.  The libraries are not imported for this.
"""

from __future__ import annotations

import math
from collections import Counter
from types import ModuleType
from typing import Any

from .after_import import after_import
from .ops import multiply_adds

OPERATORS = ('mmcgc::tiled_conv', 'mmcgc::triton_conv')


def register() -> None:
    """Give the libraries a handle for each operator; it is safe to call this more than once."""
    after_import('mmengine.analysis.complexity_analysis', _extend_mmengine)
    after_import('fvcore.nn.flop_count', _extend_flop_count)
    after_import('fvcore.nn.activation_count', _extend_activation_count)


def gated_conv(inputs: list[Any], outputs: list[Any]) -> Counter:
    """Count the multiply-adds of the operator in a trace, from the values (``torch._C.Value``) that it takes and gives.

    Those of the plain convolution count as ``conv``, and one for every element of a gated kernel as ``gate_product``.
    """
    conv, product = multiply_adds(*(value.type().sizes() for value in (inputs[0], inputs[1], outputs[0])))
    return Counter(conv=conv, gate_product=product)


def _activations(inputs: list[Any], outputs: list[Any]) -> Counter:
    return Counter(conv=math.prod(outputs[0].type().sizes()))


def _extend_mmengine(module: ModuleType) -> None:
    module._DEFAULT_SUPPORTED_FLOP_OPS.update(dict.fromkeys(OPERATORS, gated_conv))
    module._DEFAULT_SUPPORTED_ACT_OPS.update(dict.fromkeys(OPERATORS, _activations))


def _extend_flop_count(module: ModuleType) -> None:
    module._DEFAULT_SUPPORTED_OPS.update(dict.fromkeys(OPERATORS, gated_conv))


def _extend_activation_count(module: ModuleType) -> None:
    module._DEFAULT_SUPPORTED_OPS.update(dict.fromkeys(OPERATORS, _activations))
