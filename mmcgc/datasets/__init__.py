"""Data sets that mmpretrain and mmaction2 lack."""

from importlib.util import find_spec

from .cifar10 import CIFAR10
from .digits import Digits
from .imagenette import Imagenette
from .translation import ParallelText

__all__ = ['CIFAR10', 'Digits', 'Imagenette', 'ParallelText']

if find_spec('mmaction'):  # left out where decord, which it needs, has no wheel
    from .decode_once import DecodeOnce
    from .moving_digits import MovingDigits
    from .video import RawframeDataset, VideoDataset

    __all__ += ['DecodeOnce', 'MovingDigits', 'RawframeDataset', 'VideoDataset']
