"""Build the network of a config, ready to be called on one sample, and find the shape of that sample."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn


def build_network(cfg: Config) -> nn.Module:
    """Build the config's model in eval mode; called on an input of :func:`input_shape`, it runs from stem to logits."""
    with MODELS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
        model = registry.build(cfg.model)
    if _is_video(cfg):  # mmaction2 stops after the backbone by default
        model.forward = functools.partial(model.forward, stage='head')
    model.eval()
    return model


def input_shape(cfg: Config, size: Sequence[int] | None = None) -> tuple[int, ...]:
    """Return the shape of one sample, as the model takes it after the data preprocessor.

    Args:
        cfg: Config of an image or video classifier.
        size: S, (H, W), or for video (T, H, W); what it leaves out is read from the training pipeline.

    Returns:
        (1, 3, H, W) for an image; for video (1, T, 3, H, W) or (1, 1, 3, T, H, W), as the network takes it.

    Raises:
        ValueError: If the size does not fit the config, or the training pipeline does not tell it.
    """
    size, steps = tuple(size or ()), _pipeline(cfg)
    video = _is_video(cfg)
    if len(size) > 2 + video or any(n < 1 for n in size):
        forms = 'S, H W, or T H W for this video config' if video else 'S or H W for this image config'
        raise ValueError(f'--shape takes positive numbers, {forms}; got {size}')
    space = size[-2:] if len(size) > 1 else 2 * size or _space(steps)
    channels = cfg.model.backbone.get('in_channels', 3) if 'backbone' in cfg.model else 3
    if not video:
        return 1, channels, *space
    frames = size[0] if len(size) == 3 else _frames(steps)
    if any(step.get('input_format') == 'NCTHW' for step in steps):
        return 1, 1, channels, frames, *space
    return 1, frames, channels, *space


def _pipeline(cfg: Config) -> list[dict]:
    """Return the training pipeline, which is empty if there is none."""
    dataset = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    while 'dataset' in dataset:  # as a repeated data set wraps another
        dataset = dataset['dataset']
    return list(dataset.get('pipeline') or [])


def _is_video(cfg: Config) -> bool:
    return any(step['type'].split('.')[-1] == 'FormatShape' for step in _pipeline(cfg))


def _space(steps: list[dict]) -> tuple[int, int]:
    """Return the (H, W) that the last crop or resize of a pipeline leaves."""
    for step in reversed(steps):
        for key in ('crop_size', 'scale', 'size'):
            size = step.get(key)
            if isinstance(size, int):
                return size, size
            if isinstance(size, (tuple, list)) and len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size):
                return (size[1], size[0]) if key == 'scale' else tuple(size)
    raise ValueError(
        'no crop or resize in the training pipeline tells the size of the input; for an image or video '
        'config give it, --shape H W; other networks are not counted'
    )


def _frames(steps: list[dict]) -> int:
    for step in steps:
        if 'clip_len' in step:
            return step['clip_len'] * step.get('num_clips', 1)
    raise ValueError('the training pipeline does not tell the number of frames; give it: --shape T H W')
