"""Networks that mmpretrain and mmaction2 lack."""

from ..extras import optional
from ..registry import MODELS
from .gated_network import gated_network
from .stages import gated_stages
from .translation import TranslationModel

__all__ = [
    'CIFARResNet',
    'PluginResNet',
    'ResNetP3DA',
    'ShiftedResNet',
    'TranslationModel',
    'gated_network',
    'gated_stages',
]

with optional(MODELS, 'mmpretrain', 'CIFARResNet', 'PluginResNet'):
    from .cifar_resnet import CIFARResNet
    from .resnet import PluginResNet

with optional(MODELS, 'mmaction', 'ResNetP3DA', 'ShiftedResNet'):
    from .p3d import ResNetP3DA
    from .shifted_resnet import ShiftedResNet
