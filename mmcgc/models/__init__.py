"""Networks that mmpretrain and mmaction2 lack."""

from ..extras import optional
from ..registry import MODELS
from .stages import gated_stages
from .translation import TranslationModel

__all__ = ['CIFARResNet', 'PluginResNet', 'ResNetP3DA', 'TranslationModel', 'gated_stages']

with optional(MODELS, 'mmpretrain', 'CIFARResNet', 'PluginResNet'):
    from .cifar_resnet import CIFARResNet
    from .resnet import PluginResNet

with optional(MODELS, 'mmaction', 'ResNetP3DA'):
    from .p3d import ResNetP3DA
