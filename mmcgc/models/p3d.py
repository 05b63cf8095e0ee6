"""P3D-A (paper, appendix A.2) is a ResNet on clips, with temporal convolutions between its spatial ones.

The design is that of Qiu et al., "Learning Spatio-Temporal Representation with Pseudo-3D Residual Networks" (block A),
with temporal convolutions where the paper puts them.
"""

import torch.nn as nn
import torch.utils.checkpoint as cp
from mmaction.models import ResNet3d
from mmaction.models.backbones.resnet3d import Bottleneck3d
from mmcv.cnn import ConvModule
from torch import Tensor

from ..registry import MODELS
from ..signatures import shows_arguments


class P3DBottleneck(Bottleneck3d):
    """mmaction2's bottleneck with a 1x3x3 convolution and, if ``inflate`` says so, a 3x1x1 one after it.

    It takes the arguments of Bottleneck3d, and ``temporal_conv_cfg`` for the 3x1x1 convolution.
    """

    def __init__(self, inplanes: int, planes: int, *, inflate: bool, temporal_conv_cfg: dict, **kwargs) -> None:
        super().__init__(inplanes, planes, inflate=False, **kwargs)
        self.temporal = None
        if inflate:
            self.temporal = ConvModule(
                planes, planes, (3, 1, 1), padding=(1, 0, 0), bias=False,
                conv_cfg=temporal_conv_cfg, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T, H, W) to (B, 4 * planes, T, H / stride, W / stride)."""
        out = cp.checkpoint(self._residual, x, use_reentrant=False) if self.with_cp else self._residual(x)
        out = self.relu(out)
        return self.non_local_block(out) if self.non_local else out

    def _residual(self, x: Tensor) -> Tensor:
        out = self.conv2(self.conv1(x))  # (B, planes, T, H', W')
        if self.temporal is not None:
            out = self.temporal(out)
        return self.conv3(out) + (x if self.downsample is None else self.downsample(x))


@MODELS.register_module()
@shows_arguments('conv1_kernel', 'inflate', 'with_pool2')
class ResNetP3DA(ResNet3d):
    """A ResNet of 1xkxk convolutions with temporal ones between them, on (B, 3, T, H, W).

    A stride-2 5x1x1 convolution follows the stem, and a 3x1x1 one every second 1x3x3 of a stage, each with batch norm
    and ReLU; the max pool reaches over 3 frames with stride 2.  The output is (B, 2048, ceil(T / 4), H / 32, W / 32).

    Both kinds of convolutions can be gated.  ``conv_cfg=dict(type='CGConv3d', num_frames=T)`` is the paper's 3D form
    for clips of T frames (ceil(T / 4) in the blocks), and ``temporal_conv_cfg=dict(type='CGConv3d')`` is its 1D form.

    Args:
        depth: 50, 101 or 152.
        num_stages: 1 to 4.
        conv_cfg: The convolutions in space, all those of the 2D network.
        temporal_conv_cfg: The convolutions over time.
        **kwargs: ``pretrained`` (2D weights by torchvision's names, for the convolutions in space), ``non_local``,
            ``non_local_cfg``, ``norm_cfg``, ``norm_eval``, ``frozen_stages``, ``with_cp``, ... of mmaction2's ResNet3d.

    Raises:
        ValueError: If ``depth`` is none of these; at the call, if the clip does not have the T frames of ``conv_cfg``.
    """

    arch_settings = {depth: (P3DBottleneck, ResNet3d.arch_settings[depth][1]) for depth in (50, 101, 152)}

    def __init__(
        self,
        depth: int = 50,
        conv_cfg: dict | None = None,
        temporal_conv_cfg: dict | None = None,
        num_stages: int = 4,
        **kwargs,
    ) -> None:
        if depth not in self.arch_settings:
            raise ValueError(f'ResNetP3DA has 50, 101 or 152 layers, those with bottlenecks, got depth={depth!r}')
        self.temporal_conv_cfg = temporal_conv_cfg or dict(type='Conv3d')
        blocks = kwargs.get('stage_blocks') or self.arch_settings[depth][1][:num_stages]
        super().__init__(
            depth,
            num_stages=num_stages,
            conv_cfg=conv_cfg or dict(type='Conv3d'),
            temporal_conv_cfg=self.temporal_conv_cfg,
            conv1_kernel=(1, 7, 7),
            inflate=tuple(tuple(i % 2 for i in range(n)) for n in blocks),
            with_pool2=False,
            **kwargs,
        )

    def _make_stem_layer(self) -> None:
        super()._make_stem_layer()
        width = self.base_channels
        self.temporal = ConvModule(
            width, width, (5, 1, 1), stride=(2, 1, 1), padding=(2, 0, 0), bias=False,
            conv_cfg=self.temporal_conv_cfg, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)  # fmt: skip
        self.maxpool = nn.MaxPool3d(3, stride=2, padding=1)
        frames = self.conv_cfg.get('num_frames')
        if frames is not None:  # the stages, which are built next, see a quarter of them
            self.conv_cfg = dict(self.conv_cfg, num_frames=-(-frames // 4))

    def _freeze_stages(self) -> None:
        super()._freeze_stages()
        if self.frozen_stages >= 0:
            self.temporal.eval()
            self.temporal.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Map (B, 3, T, H, W) to the stages ``out_indices``, (B, C, ceil(T / 4), H', W') each, or to the only one."""
        x = self.maxpool(self.temporal(self.conv1(x)))  # (B, 64, ceil(T / 4), H / 4, W / 4)
        stages = []
        for i, name in enumerate(self.res_layers):
            x = getattr(self, name)(x)
            if i in self.out_indices:
                stages.append(x)
        return stages[0] if len(stages) == 1 else tuple(stages)
