"""Data sets that mmpretrain and mmaction2 lack."""

from .cifar10 import CIFAR10
from .digits import Digits
from .imagenette import Imagenette

__all__ = ['CIFAR10', 'Digits', 'Imagenette']
