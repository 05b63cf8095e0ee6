"""Write clips as MP4 files in which every frame is coded on its own."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ..whole_file import whole_file


def write_clip(path: str | Path, frames: np.ndarray, fps: float = 8) -> None:
    """Write Motion JPEG into an MP4 file, under a temporary name until it is complete.

    A codec that predicts frames from earlier ones leaves traces of them, so that a single decoded frame tells which way
    things move.  Here a decoded frame depends on nothing but that frame.

    Args:
        path: The file, ``*.mp4``; one that is there is replaced.
        frames: uint8 (T, H, W, 3), RGB; H and W are even, as the codec needs them.
        fps: Frames a second.

    Raises:
        ValueError: If ``frames`` is no such array, or OpenCV cannot write Motion JPEG here.
        OSError: If the file could not be written in full.
    """
    path = Path(path)
    shape = frames.shape
    if len(shape) != 4 or shape[3] != 3 or frames.dtype != np.uint8 or 0 in shape or shape[1] % 2 or shape[2] % 2:
        raise ValueError(f'{path}: frames must be uint8 (T, H, W, 3), T > 0, H and W even, got {frames.dtype} {shape}')
    with whole_file(path) as part:
        with _quiet_stderr():
            writer = cv2.VideoWriter(str(part), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*'mjpg'), fps, shape[2:0:-1])
        if not writer.isOpened():
            raise ValueError(
                f'{path}: OpenCV {cv2.__version__} cannot write Motion JPEG into MP4 here; is the folder '
                'writable, and was OpenCV built with FFmpeg, as the wheels of opencv-python are?'
            )
        for frame in frames:
            writer.write(frame[..., ::-1])
        writer.release()
        if _count_frames(part) != len(frames):
            raise OSError(f'{path} could not be written in full: is the disk full?')


def _count_frames(path: Path) -> int:
    return int(cv2.VideoCapture(str(path), cv2.CAP_FFMPEG).get(cv2.CAP_PROP_FRAME_COUNT))


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Hold back what OpenCV prints for every MP4 with Motion JPEG, namely that it takes the tag MP4 prescribes."""
    sys.stderr.flush()
    saved, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nothing)
