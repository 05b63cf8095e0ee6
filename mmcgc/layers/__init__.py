"""Layers over :mod:`mmcgc.ops`."""

from .attention import BAM, CBAM
from .conv import CGConv1d, CGConv2d, CGConv3d, GatedConv
from .convert import convert_to_cgc
from .gate import ContextGate
from .gated import Gated, gated_layers
from .light_conv import CGLightweightConv, DynamicConv, LightweightConv

__all__ = [
    'BAM',
    'CBAM',
    'CGConv1d',
    'CGConv2d',
    'CGConv3d',
    'CGLightweightConv',
    'ContextGate',
    'DynamicConv',
    'Gated',
    'GatedConv',
    'LightweightConv',
    'convert_to_cgc',
    'gated_layers',
]
