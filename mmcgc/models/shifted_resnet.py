"""Add TSM's temporal shift to a ResNet of any width; the width of mmaction2's ResNetTSM is fixed."""

from __future__ import annotations

from mmaction.models.backbones.resnet_tsm import TemporalShift
from mmpretrain.models import ResNet
from torch import Tensor

from ..registry import MODELS
from ..signatures import shows_arguments


@MODELS.register_module()
@shows_arguments()
class ShiftedResNet(ResNet):
    """mmpretrain's 2D ResNet, which shifts the input of the first convolution of every residual block over time.

    ``forward`` gives the map of the last stage, (N * T, O, H', W'), as mmaction2's recognisers want it, or a tuple of
    maps if ``out_indices`` asks for several.

    Args:
        depth: Of the ResNet.
        num_segments: T, the frames of a clip; the input is (N * T, C, H, W).
        shift_div: One channel in so many comes from the next frame, and one from the frame before.
        **kwargs: Of mmpretrain's ResNet: ``base_channels``, ``stem_channels``, ``conv_cfg``, ...
    """

    def __init__(self, depth: int, num_segments: int, shift_div: int = 8, **kwargs) -> None:
        super().__init__(depth, **kwargs)
        for stage in self.res_layers:
            for block in getattr(self, stage):
                block.conv1 = TemporalShift(block.conv1, num_segments, shift_div)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        maps = super().forward(x)
        return maps if len(maps) > 1 else maps[0]
