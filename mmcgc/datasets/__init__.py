"""Data sets that mmpretrain and mmaction2 lack."""

from .cifar10 import CIFAR10

__all__ = ['CIFAR10']
