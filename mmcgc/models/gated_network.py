"""Any network by one line of a config: built as usual, then gated."""

from __future__ import annotations

from torch import nn

from ..layers import convert_to_cgc
from ..registry import MODELS


@MODELS.register_module(name='GatedNetwork')
def gated_network(network: str, cgc: dict | None = None, **options) -> nn.Module:
    """Build a network of any library and gate its convolutions, for networks that take no ``conv_cfg``.

    Over an inherited config, whose arguments of the network stay where they are::

        model = dict(backbone=dict(type='mmcgc.GatedNetwork', network='mmpretrain.ConvNeXt'))

    A whole model, with all its parts, can be ``network`` too.  Plain checkpoints load, as its keys are those of the
    network and, below ``gate``, of the gates.

    Args:
        network: registered name of the network, with its library as prefix.
        cgc: what :func:`mmcgc.convert_to_cgc` takes: ``include``, ``gate``, ``num_segments``, ``backend``.
        options: what the network itself takes.

    Returns:
        The network itself, gated.

    Raises:
        TypeError, ValueError: as :func:`mmcgc.convert_to_cgc`.
    """
    return convert_to_cgc(MODELS.build(dict(type=network, **options)), **(cgc or {}))
