"""Build any network by one line of a config, and gate it."""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import nn

from ..layers import convert_to_cgc, gated_layers
from ..registry import MODELS


@MODELS.register_module(name='GatedNetwork')
def gated_network(network: str, cgc: dict | None = None, **options: Any) -> nn.Module:
    """Build a network of any library and gate its convolutions, for networks that take no ``conv_cfg``.

    Over an inherited config, whose arguments of the network stay where they are, write::

        model = dict(backbone=dict(type='mmcgc.GatedNetwork', network='mmpretrain.ConvNeXt'))

    A whole model, with all its parts, can be ``network`` too.  Plain checkpoints load, because the keys are those of
    the network and, below ``gate``, of the gates.

    Args:
        network: Registered name of the network, with its library as prefix.
        cgc: What :func:`mmcgc.convert_to_cgc` takes: ``include``, ``gate``, ``num_segments``, ``backend``.
        options: What the network itself takes.

    Returns:
        The network itself, gated.

    Raises:
        TypeError, ValueError: As from :func:`mmcgc.convert_to_cgc`.
    """
    model = convert_to_cgc(MODELS.build(dict(type=network, **options)), **(cgc or {}))
    if hasattr(model, 'init_weights'):
        model.__class__ = _keeping_gates(type(model))
    return model


class _KeepsGates:
    """A network whose ``init_weights`` may write into every linear layer that it finds, but not into gates."""

    def init_weights(self, *args, **kwargs) -> None:
        before = {name: _copied(layer.gate) for name, layer in gated_layers(self).items()}
        super().init_weights(*args, **kwargs)
        if not _loads(self):
            for name, layer in gated_layers(self).items():
                layer.gate.load_state_dict(before[name])

    def __reduce__(self):
        return _empty, (self._plain_class,), vars(self)


@cache
def _keeping_gates(kind: type) -> type:
    names = dict(__doc__=kind.__doc__, __module__=kind.__module__, __qualname__=kind.__qualname__, _plain_class=kind)
    return type(kind.__name__, (_KeepsGates, kind), names)


def _empty(kind: type) -> nn.Module:
    gated = _keeping_gates(kind)
    return gated.__new__(gated)


def _copied(gate: nn.Module) -> dict:
    return {key: value.clone() for key, value in gate.state_dict().items()}


def _loads(model: nn.Module) -> bool:
    """Tell whether ``init_weights`` of the model loads a checkpoint, which may hold gates."""
    given = getattr(model, 'init_cfg', None)
    kinds = [cfg.get('type') for cfg in (given if isinstance(given, (list, tuple)) else [given]) if cfg]
    return 'Pretrained' in kinds or isinstance(getattr(model, 'pretrained', None), str)
