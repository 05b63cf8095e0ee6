"""Make libraries that ask for the compiled operators of the full mmcv importable beside mmcv-lite."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType


def stand_in_for_operators() -> None:
    """Let ``mmcv.ops`` be imported if its compiled part is missing; an operator that is called raises ImportError.

    mmdet and mmseg import all operators, and many of their networks call none in a training on a CPU: RetinaNet, FCOS,
    YOLOX, FCN and UPerNet do not.  Detectors call one in prediction, to drop boxes that overlap.
    """
    name = 'mmcv._ext'
    if name in sys.modules or not find_spec('mmcv') or find_spec(name):
        return
    sys.modules[name] = _Operators(name)
    # mmcv.cnn takes one layer from mmcv.ops, and may have been imported before.
    layer = import_module('mmcv.ops.multi_scale_deform_attn').MultiScaleDeformableAttention
    import_module('mmcv.cnn.bricks.transformer').MultiScaleDeformableAttention = layer


class _Operators(ModuleType):
    """A module that has an operator of every name, and runs none."""

    def __init__(self, name: str):
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)

    def __getattr__(self, name: str) -> Callable:
        if name.startswith('__'):
            raise AttributeError(name)

        def missing(*args, **kwargs):
            raise ImportError(f'{name} is an operator of the full mmcv, and mmcv-lite is installed: pip install mmcv')

        return missing
