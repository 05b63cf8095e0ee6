"""Layers that compute with the functions of :mod:`mmcgc.ops`, and functions that gate those of a network."""

from .attention import BAM, CBAM
from .conv import CGConv1d, CGConv2d, CGConv3d, GatedConv
from .convert import conversion_plan, convert_to_cgc, describe_gates, refuse_folding
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
    'conversion_plan',
    'convert_to_cgc',
    'describe_gates',
    'gated_layers',
    'refuse_folding',
]
