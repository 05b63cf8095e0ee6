"""Stages of a network, by the names of its children (``conv1``, ``layer1``, ...), and gates in some of them only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ..layers import gated_layers
from ..registry import MODELS


def check_stages(stages: str | Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The stages as a tuple; ValueError, listing those that there are, for one that is not among them."""
    stages = (stages,) if isinstance(stages, str) else tuple(stages)
    for stage in stages:
        if stage not in known:
            raise ValueError(f'the network has no stage {stage!r}; its stages are {", ".join(known)}')
    return stages


@MODELS.register_module(name='GatedStages')
def gated_stages(network: str, stages: str | Sequence[str], **options: Any) -> nn.Module:
    """Build a network whose ``conv_cfg`` gates every convolution, and leave the gates of some stages only.

    Over a config whose backbone has ``conv_cfg=dict(type='CGConv')``, in any library (Table 2, last three rows)::

        backbone=dict(type='mmcgc.GatedStages', network='mmcgc.CIFARResNet', stages=('layer2', 'layer3'))

    Args:
        network: registered name of the network.
        stages: names of the children that stay gated.
        options: what the network itself takes.

    Returns:
        The network itself: outside ``stages`` its gated convolutions are plain.

    Raises:
        ValueError: the network has no gated convolution at all, or none in a stage of that name.
    """
    model = MODELS.build(dict(type=network, **options))
    gated = [(name.split('.')[0], layer) for name, layer in gated_layers(model).items()]
    if not gated:
        raise ValueError(f"{network} has no gated convolution to keep; set conv_cfg=dict(type='CGConv')")
    stages = check_stages(stages, list(dict.fromkeys(stage for stage, _ in gated)))
    for stage, module in gated:
        if stage not in stages:
            module.gate = None
    return model
