"""Context-Gated Convolution for OpenMMLab."""

from . import compat, library_counts, library_names, moved
from .version import __version__

compat.apply()
library_names.register()
library_counts.register()
moved.install()

from .layers import CGConv1d, CGConv2d, CGConv3d, ContextGate, convert_to_cgc  # noqa: E402

__all__ = ['CGConv1d', 'CGConv2d', 'CGConv3d', 'ContextGate', 'convert_to_cgc', '__version__']
