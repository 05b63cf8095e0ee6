"""Data sets that mmpretrain and mmaction2 lack."""

from ..extras import optional
from ..registry import DATASETS, TRANSFORMS
from .translation import ParallelText

__all__ = [
    'CIFAR10',
    'DecodeOnce',
    'Digits',
    'Imagenette',
    'LoadImageFromFile',
    'MovingDigits',
    'ObjectNet',
    'ParallelText',
    'RawframeDataset',
    'VideoDataset',
]

with optional(DATASETS, 'mmpretrain', 'CIFAR10', 'Digits', 'Imagenette', 'ObjectNet'):
    from .cifar10 import CIFAR10
    from .digits import Digits
    from .imagenette import Imagenette
    from .objectnet import ObjectNet

with optional(DATASETS, 'mmaction', 'MovingDigits', 'RawframeDataset', 'VideoDataset'):
    from .moving_digits import MovingDigits
    from .video import RawframeDataset, VideoDataset

with optional(TRANSFORMS, 'mmaction', 'DecodeOnce'):
    from .decode_once import DecodeOnce

with optional(TRANSFORMS, 'mmcv', 'LoadImageFromFile'):
    from .whole_image import LoadImageFromFile
