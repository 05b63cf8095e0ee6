"""Run the loading steps of mmaction2's pipelines, and check that each gives what was asked for."""

import os
from collections.abc import Callable, Sequence

from mmaction.datasets.transforms import DecordInit, OpenCVInit, PyAVInit, RawFrameDecode
from mmengine.fileio import FileClient

from .containers import check_complete
from .pictures import WholePictures
from .played_frames import PlayedFrames, Source, UprightContainer, count_with_pyav, decord_agrees, open_source

UNKNOWN, AGREES = 0, -1  # what is known of a file, unless it is the number of frames that decoding in order gives


def load(transforms: Sequence[Callable[[dict], dict]], sample: dict) -> dict:
    """Return what a pipeline makes of a sample; each step runs as in :func:`load_step`."""
    for transform in transforms:
        sample, _ = load_step(transform, sample)
    return sample


def load_step(transform: Callable[[dict], dict], sample: dict, known: int = UNKNOWN) -> tuple[dict, int]:
    """Run one step of a pipeline, with checks if it opens a video or decodes the frames of a folder.

    A video is examined when it is opened.  If decord's numbers are those of the frames that play, its reader stays;
    else the frames are decoded in order, as they always are with PyAV and OpenCV.  Frames in folders must be whole
    pictures, and their numbers those of the sample.

    Args:
        transform: The step, as built.
        sample: The sample that it gets.
        known: What this function returned for the same file before, which saves the examination.

    Returns:
        What the step makes of the sample, and what is known of the file.

    Raises:
        ValueError: If the file or a frame is cut off, empty or missing, or cannot be decoded.
    """
    if isinstance(transform, RawFrameDecode):
        _check_numbers(sample)
        if transform.file_client is None:
            transform.file_client = WholePictures(transform.io_backend, **transform.kwargs)
    if not isinstance(transform, (DecordInit, OpenCVInit, PyAVInit)):
        return transform(sample), known
    path = sample['filename']
    if isinstance(transform, DecordInit) and not os.path.splitext(path)[1]:
        path = f'{path}.mp4'  # as DecordInit completes names
    if known == UNKNOWN:
        with open_source(_source(transform, path)) as stream:
            check_complete(stream)
    if isinstance(transform, PyAVInit):
        return _with_pyav(transform, sample, known)
    if isinstance(transform, DecordInit):
        sample = _with_decord(transform, sample)
        if known == UNKNOWN and decord_agrees(sample['video_reader'], _source(transform, path)):
            known = AGREES
        if known == AGREES:
            return sample, AGREES
    frames = PlayedFrames(_source(transform, path), known)
    return sample | dict(video_reader=frames, total_frames=len(frames)), len(frames)


def _source(transform: Callable, path: str) -> Source:
    return path if os.path.isfile(path) else FileClient(transform.io_backend, **transform.kwargs).get(path)


def _with_decord(transform: DecordInit, sample: dict) -> dict:
    try:
        return transform(sample)
    except Exception as error:
        reason = (str(error).splitlines() or [''])[0]
        raise ValueError(
            f'decord cannot open it ({reason}); OpenCVInit and OpenCVDecode, or PyAVInit and PyAVDecode, '
            'can if it is a video of a newer kind'
        ) from error


def _with_pyav(transform: PyAVInit, sample: dict, known: int) -> tuple[dict, int]:
    try:
        opened = transform(sample)
        if known == UNKNOWN:
            known = count_with_pyav(opened['video_reader'])
            opened = transform(sample)
    except IndexError as error:
        raise ValueError('there is no video in it') from error
    return opened | dict(video_reader=UprightContainer(opened['video_reader']), total_frames=known), known


def _check_numbers(sample: dict) -> None:
    """Raise ValueError if the first and the last frame of a local folder are not the first and the last of the sample.

    A sample with an offset takes a part of the folder, so that nothing can be said of it.
    """
    folder, template, flow = sample['frame_dir'], sample['filename_tmpl'], sample['modality'] == 'Flow'
    if 'offset' in sample or not os.path.isdir(folder):
        return

    def is_there(number: int) -> bool:
        return os.path.exists(os.path.join(folder, template.format(*['x'][:flow], number)))

    first, total = sample['start_index'], sample['total_frames']
    if first > 0 and is_there(first - 1):
        raise ValueError(f'its frames begin before start_index={first}: set start_index={first - 1} for this data set')
    for number in (first, first + total - 1):
        if not is_there(number):
            raise ValueError(
                f'the list and start_index={first} promise {total} frames, but there is no frame {number} '
                f'that is named {template!r}: set start_index (of the first frame) and filename_tmpl for '
                'this data set as the files are, or make its list anew'
            )
