"""ResNet of depth 6n+2 for 32x32 images (He et al., "Deep Residual Learning for Image Recognition", section 4.2)."""

import torch.nn as nn
import torch.nn.functional as F
from mmpretrain.models import ResNet_CIFAR
from mmpretrain.models.backbones.resnet import BasicBlock
from torch import Tensor

from ..registry import MODELS
from ..signatures import shows_arguments


class ZeroPadShortcut(nn.Module):
    """Shortcut A, which takes every ``stride``-th pixel, adds zeros for missing channels and has no parameters."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.extra_channels = out_channels - in_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]  # (B, C, ceil(H / stride), ceil(W / stride))
        return F.pad(x, (0, 0, 0, 0, 0, self.extra_channels))  # (B, O, ceil(H / stride), ceil(W / stride))


@MODELS.register_module()
@shows_arguments('num_stages', 'strides', 'dilations')
class CIFARResNet(ResNet_CIFAR):
    """A 3x3 stem and three stages of n basic blocks with 16, 32 and 64 channels.

    The input is (B, 3, H, W); the output is a tuple with one tensor per entry of ``out_indices``, by default the last
    stage, (B, 64, H / 4, W / 4).

    Args:
        depth: 6n+2 layers: 20, 32, 44, 56, 110, ...
        shortcut: What carries the input across a stage that halves the size: ``'B'``, a 1x1 convolution with batch
            norm, or ``'A'``, strided identity padded with zero channels.
        stem_channels, base_channels: Channels of the stem and of the first stage.
        out_indices: The stages (0, 1, 2) to return.
        zero_init_residual: Start every block as the identity.  By default it is off, as for the networks of the paper.
        **kwargs: ``conv_cfg``, ``norm_cfg``, ``norm_eval``, ``frozen_stages``, ``with_cp``, ... of mmpretrain's ResNet.

    Raises:
        ValueError: If ``depth`` is not 6n+2 with n >= 1, or ``shortcut`` is neither ``'A'`` nor ``'B'``.
    """

    def __init__(
        self,
        depth: int,
        shortcut: str = 'B',
        stem_channels: int = 16,
        base_channels: int = 16,
        out_indices: tuple = (2,),
        zero_init_residual: bool = False,
        **kwargs,
    ) -> None:
        if not isinstance(depth, int) or depth < 8 or depth % 6 != 2:
            raise ValueError(f'CIFARResNet has 6n+2 layers (8, 14, 20, 32, 44, 56, 110, ...), got depth={depth!r}')
        if shortcut not in ('A', 'B'):
            raise ValueError(f"shortcut must be 'A' (zero padding) or 'B' (projection), got {shortcut!r}")
        self.arch_settings = {depth: (BasicBlock, (depth // 6,) * 3)}
        self.shortcut = shortcut
        super().__init__(
            depth,
            stem_channels=stem_channels,
            base_channels=base_channels,
            num_stages=3,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=out_indices,
            zero_init_residual=zero_init_residual,
            **kwargs,
        )

    def make_res_layer(self, **kwargs) -> nn.Sequential:
        layer = super().make_res_layer(**kwargs)
        first = layer[0]
        if self.shortcut == 'A' and first.downsample is not None:
            first.downsample = ZeroPadShortcut(first.in_channels, first.out_channels, first.stride)
        return layer
