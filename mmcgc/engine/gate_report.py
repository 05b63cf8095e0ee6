"""Say in the log of a training or a test whether the network has the gates that its config asks for."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from mmengine.logging import print_log
from torch import nn

from ..layers import GatedConv, describe_gates, gated_layers, refuse_folding


def report_gates(model: nn.Module, cfg: dict) -> None:
    """Log how many convolutions of a network are gated, and warn if its config asks for gates and none is there.

    A network may build all of its convolutions with ``conv_cfg``, some or none, and only these become gated.  Modules
    that fold kernels are made to refuse to (:func:`mmcgc.layers.refuse_folding`).

    Args:
        model: The network.
        cfg: The config that it was built from.
    """
    if gated_layers(model, GatedConv):
        print_log(describe_gates(model), logger='current')
        refuse_folding(model)
        return
    asked = sorted({kind for kind in _types(cfg) if kind.rpartition('.')[2].startswith(('CGConv', 'GatedNetwork'))})
    if asked:
        print_log(
            f'the config asks for {", ".join(asked)}, but no convolution of the network is gated: it does not hand '
            "conv_cfg on, or all its kernels have one element; use type='mmcgc.GatedNetwork' with network=... in the "
            'place of its type',
            logger='current',
            level=logging.WARNING,
        )


def _types(node) -> Iterator[str]:
    """Yield the values of ``type`` anywhere in a config."""
    for value in node.values() if isinstance(node, dict) else node:
        if isinstance(value, (dict, list, tuple)):
            yield from _types(value)
    kind = node.get('type') if isinstance(node, dict) else None
    if isinstance(kind, str):
        yield kind
