"""BAM and CBAM, the attention modules of Table 1 that mmcv and mmpretrain lack."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmcgc.registry import MODELS


def _squeezed(in_channels: int, ratio: int) -> int:
    if not 1 <= ratio <= in_channels:
        raise ValueError(f'ratio={ratio!r} must lie between 1 and the {in_channels} input channels that it divides')
    return in_channels // ratio


@MODELS.register_module()
class BAM(nn.Module):
    """Bottleneck attention (Park et al., "BAM: Bottleneck Attention Module", 2018, Sec. 3).

    It gives ``x * (1 + sigmoid(channel(x) * spatial(x)))`` for x (B, C, H, W).  Norms stand between the layers and the
    two branches multiply, as in the authors' code (https://github.com/Jongchan/attention-module), whose parameters
    Table 1 counts; their text has one norm at the end of each branch, and adds.  Training needs a batch larger than 1.

    Args:
        in_channels: C.
        ratio: C over the channels inside both branches.
        dilation: Of the two 3x3 convolutions of the spatial branch.

    Raises:
        ValueError: If ``ratio`` leaves no channel.
    """

    def __init__(self, in_channels: int, ratio: int = 16, dilation: int = 4):
        super().__init__()
        mid = _squeezed(in_channels, ratio)
        self.channel = nn.Sequential(
            nn.Linear(in_channels, mid), nn.BatchNorm1d(mid), nn.ReLU(inplace=True), nn.Linear(mid, in_channels)
        )
        convs = [nn.Conv2d(in_channels, mid, 1)]
        convs += [nn.Conv2d(mid, mid, 3, padding=dilation, dilation=dilation) for _ in range(2)]
        hidden = [layer for conv in convs for layer in (conv, nn.BatchNorm2d(mid), nn.ReLU(inplace=True))]
        self.spatial = nn.Sequential(*hidden, nn.Conv2d(mid, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        channel = self.channel(x.mean((2, 3)))[:, :, None, None]  # (B, C, 1, 1)
        spatial = self.spatial(x)  # (B, 1, H, W)
        return x * (1 + torch.sigmoid(channel * spatial))  # (B, C, H, W)


@MODELS.register_module()
class CBAM(nn.Module):
    """Channel attention, then spatial attention (Woo et al., "CBAM: Convolutional Block Attention Module", 2018).

    It takes x (B, C, H, W) to ``y = x * sigmoid(mlp(mean(x)) + mlp(max(x)))``, by statistics over space, and y to
    ``y * sigmoid(norm(conv([max(y), mean(y)])))``, by statistics over channels (their Eqs. 2 and 3).  The norm is in
    the authors' code (https://github.com/Jongchan/attention-module) and in Table 1's parameters.

    Args:
        in_channels: C.
        ratio: C over the channels inside the MLP.
        kernel_size: Of the spatial convolution, odd.

    Raises:
        ValueError: If ``ratio`` leaves no channel, or ``kernel_size`` is even.
    """

    def __init__(self, in_channels: int, ratio: int = 16, kernel_size: int = 7):
        super().__init__()
        mid = _squeezed(in_channels, ratio)
        if kernel_size % 2 == 0:
            raise ValueError(f'kernel_size={kernel_size} must be odd, to keep the size of the map')
        self.channel = nn.Sequential(nn.Linear(in_channels, mid), nn.ReLU(inplace=True), nn.Linear(mid, in_channels))
        self.spatial = nn.Sequential(
            nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False), nn.BatchNorm2d(1)
        )

    def forward(self, x: Tensor) -> Tensor:
        channel = self.channel(x.mean((2, 3))) + self.channel(x.amax((2, 3)))  # (B, C)
        x = x * torch.sigmoid(channel)[:, :, None, None]  # (B, C, H, W)
        maps = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)  # (B, 2, H, W)
        return x * torch.sigmoid(self.spatial(maps))  # (B, C, H, W)
