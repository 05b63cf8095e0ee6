"""Stages of a network, by the names of its children (``conv1``, ``layer1``, ...), and gates in some of them only."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..layers import ContextGate
from ..registry import MODELS


def check_stages(stages: str | Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The stages as a tuple; ValueError, listing those that there are, for one that is not among them."""
    stages = (stages,) if isinstance(stages, str) else tuple(stages)
    for stage in stages:
        if stage not in known:
            raise ValueError(f'the network has no stage {stage!r}; its stages are {", ".join(known)}')
    return stages


@MODELS.register_module(name='GatedStages')
def gated_stages(network: str, stages: str | Sequence[str], **options) -> nn.Module:
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
        ValueError: a stage that the network does not have, or that holds no gated convolution.
    """
    model = MODELS.build(dict(type=network, **options))
    known = [name for name, child in model.named_children() if any(True for _ in child.parameters())]
    stages = check_stages(stages, known)
    gated = [(name, m) for name, m in model.named_modules() if isinstance(getattr(m, 'gate', None), ContextGate)]
    for stage in stages:
        if not any(name.split('.')[0] == stage for name, _ in gated):
            raise ValueError(
                f"stage {stage!r} of {network} holds no gated convolution to keep; set conv_cfg=dict(type='CGConv')"
            )
    for name, module in gated:
        if name.split('.')[0] not in stages:
            module.gate = None
    return model
