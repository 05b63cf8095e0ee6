"""Context-Gated Convolution for OpenMMLab."""

from . import compat
from .version import __version__

compat.apply()

from .layers import CGConv1d, CGConv2d, CGConv3d, ContextGate, convert_to_cgc  # noqa: E402

__all__ = ['CGConv1d', 'CGConv2d', 'CGConv3d', 'ContextGate', 'convert_to_cgc', '__version__']
