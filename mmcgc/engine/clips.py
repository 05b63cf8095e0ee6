"""Check that frames reach a network clip by clip; a gate that reads two clips at once would mix them."""

from collections.abc import Iterator

import torch
from mmengine.hooks import Hook
from torch import nn

from ..layers import CGConv2d, gated_layers
from ..registry import HOOKS


@HOOKS.register_module()
class ClipsHook(Hook):
    """Refuse frames that the gates of a 2D network would read across clips, crops or videos.

    ``CGConv2d(num_segments=T)`` takes every T consecutive frames of the batch for a clip.  The pipeline decides whether
    they are one, so the hook checks each pipeline before its first batch (:func:`check_clips`), and counts the frames
    of every video.  Networks without such gates pass.

    Raises:
        ValueError: If frames and gates do not go together.
    """

    def _before_epoch(self, runner, mode: str = 'train') -> None:
        self.frames = clip_length(runner.model)
        if self.frames is None:
            return
        for pipeline in _pipelines(getattr(runner, f'{mode}_loop').dataloader.dataset):
            check_clips(runner.model, pipeline)

    def _before_iter(self, runner, batch_idx: int, data_batch=None, mode: str = 'train') -> None:
        if self.frames is None:
            return
        for video in data_batch['inputs']:
            if torch.is_tensor(video) and video.dim() == 4 and len(video) % self.frames:  # (M, 3, H, W)
                raise ValueError(
                    f'a video comes with {len(video)} frames, but the gates read clips of '
                    f'num_segments={self.frames}: sample a multiple of {self.frames} frames'
                )


def clip_length(model: nn.Module) -> int | None:
    """Return the frames T of a clip that the gates of a 2D network read, or None if no gate reads clips.

    Raises:
        ValueError: If gates, temporal shift, head, ... were built for clips of different lengths.
    """
    segments = {
        name: module.num_segments
        for name, module in model.named_modules()
        if isinstance(getattr(module, 'num_segments', None), int)
    }
    gated = [name for name in gated_layers(model, CGConv2d) if name in segments]
    if not gated:
        return None
    frames = segments[gated[0]]
    other = next((name for name, length in segments.items() if length != frames), None)
    if other is not None:
        raise ValueError(
            f'num_segments={frames} in {gated[0]}, but {segments[other]} in {other}: give conv_cfg, '
            'backbone and cls_head the same (and no temporal_pool, which halves it on the way)'
        )
    return frames


def check_clips(model: nn.Module, pipeline) -> None:
    """Check that a pipeline samples the clips that the gates of a model read.

    Args:
        model: The network.
        pipeline: The transforms, already built; those with ``num_clips`` and ``clip_len`` sample frames.

    Raises:
        ValueError: If a view of the pipeline is not a clip of ``num_segments`` frames.
    """
    frames = clip_length(model)
    if frames is None:
        return
    for transform in pipeline:
        clips, length = getattr(transform, 'num_clips', None), getattr(transform, 'clip_len', None)
        if clips is not None and length is not None and frames not in (clips * length, length):
            raise ValueError(
                f'{type(transform).__name__} takes num_clips={clips} times clip_len={length} frames, but the gates '
                f'read clips of num_segments={frames} and would mix clips, crops or videos: set num_clips={frames} '
                'with clip_len=1, and for several views of a video twice_sample=True, ThreeCrop or TenCrop'
            )


def _pipelines(dataset) -> Iterator[list]:
    """Yield the transforms of a data set and of those that it wraps."""
    if hasattr(dataset, 'pipeline'):
        yield dataset.pipeline.transforms
    elif hasattr(dataset, 'dataset'):
        yield from _pipelines(dataset.dataset)
    for part in getattr(dataset, 'datasets', ()):
        yield from _pipelines(part)
