"""Decode clips once and keep them in memory, for data sets that fit in it."""

from __future__ import annotations

import mmcv
import numpy as np
from mmaction.datasets.transforms import DecordInit
from mmcv.transforms import BaseTransform

from ..registry import TRANSFORMS
from .loading import load_step


@TRANSFORMS.register_module()
class DecodeOnce(BaseTransform):
    """Give the whole clip as ``array``, uint8 (T, size, size, 3), for SampleFrames and ArrayDecode to pick from.

    A clip is opened and decoded the first time that it is asked for, and kept.  Each worker of a data loader has a
    memory of its own, which ends with it, so use this in loaders with ``num_workers=0``.

    Args:
        size: Height and width that the frames are resized to.
        **kwargs: Arguments of mmaction2's DecordInit.

    Raises:
        ValueError: If ``size`` is not positive; when a clip is read, if that fails (:func:`.loading.load_step`).
    """

    def __init__(self, size: int, **kwargs) -> None:
        if size < 1:
            raise ValueError(f'size must be at least 1 pixel, got {size}')
        self.opening, self.size = DecordInit(**kwargs), size
        self.clips: dict[str, np.ndarray] = {}

    def transform(self, results: dict) -> dict:
        name = results['filename']
        if name not in self.clips:
            reader = load_step(self.opening, results)[0]['video_reader']
            frames = reader.get_batch(range(len(reader))).asnumpy()  # (T, H, W, 3)
            self.clips[name] = np.stack([mmcv.imresize(frame, (self.size, self.size)) for frame in frames])
        results.update(array=self.clips[name], total_frames=len(self.clips[name]))
        return results
