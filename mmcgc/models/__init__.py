"""Networks that mmpretrain and mmaction2 lack."""

from contextlib import suppress

from .cifar_resnet import CIFARResNet
from .gated_network import gated_network
from .resnet import PluginResNet
from .stages import gated_stages
from .translation import TranslationModel

__all__ = ['CIFARResNet', 'PluginResNet', 'TranslationModel', 'gated_network', 'gated_stages']

with suppress(ImportError, AssertionError):  # no mmaction2, or one that refuses the installed mmcv: images go on
    from .p3d import ResNetP3DA  # noqa: F401
    from .shifted_resnet import ShiftedResNet  # noqa: F401
