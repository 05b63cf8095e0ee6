"""Read the frames of a video as they play: decode them one after the other, turn them upright, count them by decoding.

Readers that jump to a frame by its number (decord, OpenCV) give other frames if the container's index does not say what
plays, as in MPEG transport and program streams, in MP4 files cut without coding them anew, and in streams that store
frames behind a key frame that play before it.  PyAV decodes in order, but believes the container's count and leaves
rotated videos lying on their side.
"""

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import cv2
import numpy as np

from .containers import container_family, hides_frames

Source = str | Path | bytes  # the path of a video file, or what is in it
_FEWER = 0.9  # the part of a header's frames that must be there: some headers estimate, some count dropped frames


def open_source(source: Source) -> BinaryIO:
    """Open a video for reading its bytes."""
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, 'rb')


class PlayedFrames:
    """A reader for the decoding steps of mmaction2, in place of the readers of decord and OpenCV.

    Args:
        source: The path of the video file, or its bytes.
        count: How many frames play; if it is 0, they are counted.

    Raises:
        ValueError: If OpenCV cannot decode it.
    """

    def __init__(self, source: Source, count: int = 0) -> None:
        self._source, self._count = source, count or count_frames(source)
        self._capture, self._at, self._image = None, -1, None

    def __len__(self) -> int:
        return self._count

    def frame(self, index: int) -> np.ndarray:
        """Return a frame as uint8 (H, W, 3), BGR; for one before the last that was asked for, decoding starts anew."""
        if not 0 <= index < self._count:
            raise IndexError(f'no frame {index} in a video of {self._count} frames')
        if self._capture is None or index < self._at:
            self._capture, self._at = _open(self._source), -1
        if index > self._at:
            for _ in range(index - self._at):
                if not self._capture.grab():
                    raise ValueError(f'frame {index} of {self._count} cannot be decoded')
            self._at, self._image = index, self._capture.retrieve()[1]
        return self._image

    __getitem__ = frame  # as OpenCVDecode asks

    def get_batch(self, indices: Sequence[int]) -> SimpleNamespace:
        """Return what DecordDecode asks for: an object whose ``asnumpy`` gives uint8 (N, H, W, 3), RGB."""
        frames = {index: self.frame(index) for index in sorted(int(i) for i in indices)}
        batch = np.stack([frames[int(i)][..., ::-1] for i in indices])
        return SimpleNamespace(asnumpy=lambda: batch)

    def seek(self, index: int) -> None:
        """Choose the frame that :meth:`next` gives, as DecordDecode does in its mode ``efficient``."""
        self._next = int(index)

    def next(self) -> SimpleNamespace:
        """Return the frame that was sought, in the way of :meth:`get_batch`."""
        frame = self.frame(self._next)[..., ::-1]
        return SimpleNamespace(asnumpy=lambda: frame)


class UprightContainer:
    """A container of PyAV whose frames stand upright, for the decoding steps of mmaction2.

    Args:
        container: What ``av.open`` gave.
    """

    def __init__(self, container) -> None:
        self._container, self.streams = container, container.streams
        _without_threads(container)

    def decode(self, video: int = 0) -> Iterator:
        """Yield the frames in the order in which they play."""
        from av import VideoFrame

        for frame in self._container.decode(video=video):
            if frame.rotation:
                frame = VideoFrame.from_ndarray(
                    np.ascontiguousarray(np.rot90(frame.to_ndarray(format='rgb24'), round(frame.rotation / 90)))
                )
            yield frame

    def seek(self, *args, **kwargs) -> None:
        """Refuse the mode of PyAVDecode that jumps.

        Raises:
            ValueError: Always.
        """
        raise ValueError("PyAVDecode(mode='efficient') takes other frames than those asked for: leave out the mode")


def play(source: Source) -> Iterator[np.ndarray]:
    """Yield all frames in the order in which they play, each as uint8 (H, W, 3), BGR.

    Raises:
        ValueError: If OpenCV cannot decode the file.
    """
    capture = _open(source)
    while (read := capture.read())[0]:
        yield read[1]


def frame_rate(source: Source) -> float:
    """Return the average number of frames a second that the file states."""
    return _open(source).get(cv2.CAP_PROP_FPS)


def count_frames(source: Source) -> int:
    """Count the frames that play; each is decoded, none is turned into a picture.

    Raises:
        ValueError: If OpenCV cannot decode the file, or stops before its end.
    """
    capture, count, last = _open(source), 0, 0.0
    while capture.grab():
        count, last = count + 1, max(last, capture.get(cv2.CAP_PROP_POS_MSEC))
    if not count:
        raise ValueError('no frame of it can be decoded')
    times, _ = _packets(source)
    step = float(np.median(np.diff(np.sort(times)))) if count > 1 else 0.0
    family, hidden = _structure(source, step / 1000)
    if family in ('mp4', 'riff') and not hidden:
        _check_header(capture.get(cv2.CAP_PROP_FRAME_COUNT), len(times))
    if not hidden and last < times.max() - 1.5 * step:
        raise ValueError(f'damaged: decoding stops at {last / 1000:.2f} s of {times.max() / 1000:.2f} s')
    return count


def count_with_pyav(container) -> int:
    """Count the frames that play, with a container that PyAV has opened and that cannot be read afterwards.

    Raises:
        ValueError: If packets are missing; errors of PyAV for damaged ones are ValueErrors, too.
    """
    _without_threads(container)
    frames = packets = 0
    for packet in container.demux(video=0):
        packets += packet.size > 0
        frames += len(packet.decode())
    if container.format.name == 'avi':
        _check_header(container.streams.video[0].frames, packets)
    return frames


def _without_threads(container) -> None:
    """Decode without threads: a forked worker that frees a decoder waits for ever for its threads, left behind."""
    container.streams.video[0].thread_type = 'NONE'


def _check_header(promised: float, found: int) -> None:
    if found < _FEWER * promised:
        raise ValueError(f'damaged: its header counts {promised:.0f} frames, {found} can be read')


def decord_agrees(reader, source: Source) -> bool:
    """Tell whether decord finds each frame by its number, judging by the packets of the file; nothing is decoded.

    It does if the container has an index, nothing is hidden by an edit list, the time stamps rise from the first frame
    on, decord and OpenCV see the same key frames, and no frame that plays before a key frame is stored behind it (as
    in open groups of pictures, which encoders of HEVC and MPEG-4 make unless told otherwise).

    Args:
        reader: A ``decord.VideoReader`` of the file.
        source: The path of the file, or its bytes.

    Raises:
        ValueError: If packets are damaged.
    """
    starts = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype(float)  # (T,), seconds
    steps = np.diff(starts)
    if len(starts) < 2 or not np.isfinite(starts).all() or abs(starts[0]) > steps.min() / 2 or steps.min() <= 0:
        return False
    family, hidden = _structure(source, float(np.median(steps)))
    if hidden or family not in ('mp4', 'matroska', 'riff'):
        return False
    times, keys = _packets(source)
    if len(times) < len(reader):
        raise ValueError(f'damaged: {len(times)} of the packets of {len(reader)} frames can be read')
    before = np.maximum.accumulate(times)
    after = np.minimum.accumulate(times[::-1])[::-1]
    closed = all(after[key] == times[key] and (key == 0 or before[key - 1] < times[key]) for key in keys)
    return list(keys) == reader.get_key_indices() and keys[:1] == [0] and closed


def _structure(source: Source, step: float) -> tuple[str | None, bool]:
    """Return the kind of container, and whether it hides frames; see :mod:`.containers`."""
    with open_source(source) as stream:
        family = container_family(stream.read(4096))
        return family, family == 'mp4' and hides_frames(stream, step)


def _packets(source: Source) -> tuple[np.ndarray, list[int]]:
    """Return when each packet plays, in the order of the file, (T,) in milliseconds, and which are key frames."""
    capture, times, keys = _open(source, cv2.CAP_PROP_FORMAT, -1), [], []  # -1 asks for packets as they are
    while capture.grab():
        if capture.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME):
            keys.append(len(times))
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
    return np.array(times), keys


def _open(source: Source, *options: int) -> cv2.VideoCapture:
    place = io.BytesIO(source) if isinstance(source, bytes) else os.fspath(source)
    capture = cv2.VideoCapture(place, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1, *options])
    if not capture.isOpened():
        raise ValueError('it is no video that OpenCV can open')
    return capture
