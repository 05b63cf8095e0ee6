"""A ResNet with slots for further modules, such as attention blocks, inside its blocks or after its stages."""

from __future__ import annotations

from collections.abc import Sequence

from mmpretrain.models import ResNet
from mmpretrain.models.backbones.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..registry import MODELS
from ..signatures import shows_arguments
from .stages import check_stages

AFTER_STAGE = 'after_stage'
PLUGIN_KEYS = ('cfg', 'position', 'stages')


class _PluginBlock:
    """A residual block with an ``nn.Sequential`` after every convolution; it stands before mmpretrain's block."""

    convs: int

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for position in self.positions():
            self.add_module(position, nn.Sequential())

    @classmethod
    def positions(cls) -> list[str]:
        return [f'after_conv{i}' for i in range(1, cls.convs + 1)]

    def forward(self, x: Tensor) -> Tensor:
        recompute = self.with_cp and x.requires_grad
        y = checkpoint(self._add, x, use_reentrant=False) if recompute else self._add(x)
        return self.relu(y)  # (B, O, H', W')

    def _add(self, x: Tensor) -> Tensor:
        """Add shortcut and residual, before the last activation: (B, C, H, W) -> (B, O, H', W')."""
        y = x
        for i, position in enumerate(self.positions(), 1):
            y = getattr(self, f'norm{i}')(getattr(self, f'conv{i}')(y))
            if i < self.convs:
                y = self.relu(y)
            y = getattr(self, position)(y)
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.drop_path(y) + shortcut


class PluginBasicBlock(_PluginBlock, BasicBlock):
    convs = 2


class PluginBottleneck(_PluginBlock, Bottleneck):
    convs = 3


_BLOCKS = {BasicBlock: PluginBasicBlock, Bottleneck: PluginBottleneck}


@MODELS.register_module()
@shows_arguments()
class PluginResNet(ResNet):
    """mmpretrain's ResNet with plugins, as mmdet's has them.

    A plain ResNet's checkpoint loads with the plugins' keys missing and nothing else.

    Args:
        depth: 18, 34, 50, 101 or 152.
        plugins: A list of ``dict(cfg=..., position=..., stages=...)``: ``cfg`` builds a module that is given
            ``in_channels`` and keeps the shape of its input; ``position`` is ``'after_conv1'``, ``'after_conv2'`` or
            ``'after_conv3'`` in every block (after the norm, and after the activation if there is one) or
            ``'after_stage'``; ``stages`` are names, by default all of them.
        **kwargs: Of mmpretrain's ResNet.

    Raises:
        ValueError: If the network lacks a position or stage, or a key of a plugin is unknown or missing.
    """

    arch_settings = {depth: (_BLOCKS[block], blocks) for depth, (block, blocks) in ResNet.arch_settings.items()}

    def __init__(self, depth: int, plugins: Sequence[dict] = (), **kwargs):
        super().__init__(depth, **kwargs)
        self._plugins = [module for plugin in plugins for module in self._plug_in(**_checked(plugin))]
        self._freeze_stages()

    def _plug_in(self, cfg: dict, position: str, stages: Sequence[str] | None = None) -> list[nn.Module]:
        known = [*self.block.positions(), AFTER_STAGE]
        if position not in known:
            raise ValueError(f'a plugin cannot stand at {position!r}; the positions are {", ".join(known)}')
        added = []
        for stage in check_stages(self.res_layers if stages is None else stages, self.res_layers):
            layer = getattr(self, stage)
            inner = position not in known[-2:]
            channels = layer[0].mid_channels if inner else layer[0].out_channels
            blocks = [block for block in layer if isinstance(block, self.block)]
            for place in [layer] if position == AFTER_STAGE else [getattr(block, position) for block in blocks]:
                added.append(MODELS.build(cfg, default_args=dict(in_channels=channels)))
                place.append(added[-1])
        return added

    def init_weights(self) -> None:
        """Initialise as mmpretrain does, then let plugins reset themselves (mmcv's ContextBlock, to the identity)."""
        super().init_weights()
        if isinstance(self.init_cfg, dict) and self.init_cfg['type'] == 'Pretrained':
            return
        for plugin in self._plugins:
            if hasattr(plugin, 'reset_parameters'):
                plugin.reset_parameters()


def _checked(plugin: dict) -> dict:
    unknown = sorted(set(plugin) - set(PLUGIN_KEYS))
    if unknown or 'cfg' not in plugin or 'position' not in plugin:
        raise ValueError(f'a plugin is dict(cfg=..., position=..., stages=...) with optional stages, got {plugin}')
    return dict(plugin)
