"""Networks that mmpretrain and mmaction2 lack."""

from .cifar_resnet import CIFARResNet

__all__ = ['CIFARResNet']
