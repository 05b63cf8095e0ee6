"""Data sets that mmpretrain and mmaction2 lack."""

from ..extras import optional
from ..registry import DATASETS
from .translation import ParallelText

__all__ = [
    'CIFAR10',
    'DecodeOnce',
    'Digits',
    'Imagenette',
    'MovingDigits',
    'ParallelText',
    'RawframeDataset',
    'VideoDataset',
]

with optional(DATASETS, 'mmpretrain', 'CIFAR10', 'Digits', 'Imagenette'):
    from .cifar10 import CIFAR10
    from .digits import Digits
    from .imagenette import Imagenette

with optional(DATASETS, 'mmaction', 'DecodeOnce', 'MovingDigits', 'RawframeDataset', 'VideoDataset'):
    from .decode_once import DecodeOnce
    from .moving_digits import MovingDigits
    from .video import RawframeDataset, VideoDataset
