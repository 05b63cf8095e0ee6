"""Gate only some stages of a network, which are its children by name (``conv1``, ``layer1``, ...)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ..layers import gated_layers
from ..registry import MODELS


def check_stages(stages: str | Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return the stages as a tuple; if one is unknown, raise a ValueError that lists those that there are."""
    stages = (stages,) if isinstance(stages, str) else tuple(stages)
    for stage in stages:
        if stage not in known:
            raise ValueError(f'the network has no stage {stage!r}; its stages are {", ".join(known)}')
    return stages


@MODELS.register_module(name='GatedStages')
def gated_stages(network: str, stages: str | Sequence[str], **options: Any) -> nn.Module:
    """Build a network whose ``conv_cfg`` gates every convolution, and keep the gates of some stages only.

    Over a config of any library with ``conv_cfg=dict(type='CGConv')``, write (Table 2, last three rows)::

        backbone=dict(type='mmcgc.GatedStages', network='mmcgc.CIFARResNet', stages=('layer2', 'layer3'))

    Args:
        network: Registered name of the network.
        stages: Names of the children that stay gated.
        options: What the network itself takes.

    Returns:
        The network itself, in which gated convolutions outside ``stages`` are plain.

    Raises:
        ValueError: If the network has no gated convolution at all, or none in a stage of that name.
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
