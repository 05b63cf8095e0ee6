"""Measure how many clips a second the data path gives, from videos through decord, checked or not, and from frames."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from pathlib import Path

import cv2
from mmaction.datasets import VideoDataset as _VideoDataset
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader

from ...datasets import RawframeDataset, VideoDataset
from ...progress import tracked
from ..tables import markdown_table
from .percentiles import percentiles

SUFFIXES = ('.avi', '.mkv', '.mp4', '.webm')
JPEG_QUALITY = 95


def benchmark(
    videos: str | Path,
    frames: int = 8,
    clips: int = 48,
    workers: tuple[int, ...] = (0, 2),
    repeats: int = 5,
    crop: int = 224,
) -> list[dict]:
    """Time the training pipeline of the Something-Something configs without their augmentation.

    Args:
        videos: A folder of video files; they are also written out as frames, to a temporary folder.
        frames: Frames of a clip, spread over the video.
        clips: Clips of a pass; the videos come round as often as it takes.
        workers: Numbers of decoding processes; 0 stands for the main process.
        repeats: Passes that are timed, after one that is not.
        crop: Pixels of the centre crop; the shorter side is first made 256 / 224 of it.

    Returns:
        A row for each source and number of workers: clips a second at the 20th, 50th and 80th percentile of the passes.

    Raises:
        FileNotFoundError: If the folder holds no videos.
        ValueError: If a number is out of range, or a video cannot be read.
    """
    if min(frames, clips, crop) < 1 or repeats < 2 or not workers or min(workers) < 0:
        raise ValueError(
            f'frames={frames}, clips={clips} and crop={crop} must be positive, workers={workers} not '
            f'negative, and repeats={repeats} at least 2'
        )
    paths = sorted(path for path in Path(videos).glob('*') if path.suffix in SUFFIXES)
    if not paths:
        raise FileNotFoundError(f'no videos ({", ".join(SUFFIXES)}) in {videos}')
    init_default_scope('mmaction')
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        sources = _datasets(paths[:clips], Path(folder), frames, clips, crop)
        for name, count in tracked(list(itertools.product(sources, workers))):
            p20, median, p80 = percentiles(_speeds(sources[name], count, repeats))
            rows.append(
                dict(
                    source=name,
                    videos=min(len(paths), clips),
                    frames=frames,
                    workers=count,
                    p20=p20,
                    p50=median,
                    p80=p80,
                )
            )
    return rows


def table(rows: list[dict]) -> str:
    """Return the rows as a Markdown table, and a line on where they were measured."""
    lines = [
        [
            row['source'],
            'none' if row['workers'] == 0 else str(row['workers']),
            f'{row["p50"]:.1f}',
            f'{row["p20"]:.1f} to {row["p80"]:.1f}',
        ]
        for row in rows
    ]
    how = f'{rows[0]["videos"]} videos, clips of {rows[0]["frames"]} frames, {os.cpu_count()} cores'
    header = ['source', 'workers', 'clips/s (median)', 'p20 to p80']
    return f'{markdown_table(header, lines, right=(1, 2, 3))}\n\n{how}'


def _datasets(paths: list[Path], folder: Path, frames: int, clips: int, crop: int) -> dict:
    sample = dict(type='SampleFrames', clip_len=1, num_clips=frames)
    after = [
        dict(type='Resize', scale=(-1, crop * 256 // 224)),
        dict(type='CenterCrop', crop_size=crop),
        dict(type='FormatShape', input_format='NCHW'),
        dict(type='PackActionInputs'),
    ]
    counts = [_write_frames(path, folder / str(i)) for i, path in enumerate(paths)]
    order = [i % len(paths) for i in range(clips)]
    (folder / 'videos.txt').write_text(''.join(f'{paths[i].resolve()};0\n' for i in order))
    (folder / 'frames.txt').write_text(''.join(f'{folder / str(i)} {counts[i]} 0\n' for i in order))
    videos = [dict(type='DecordInit'), sample, dict(type='DecordDecode'), *after]
    return {
        'video files, decord': VideoDataset(str(folder / 'videos.txt'), videos, delimiter=';'),
        'video files, decord unchecked': _VideoDataset(str(folder / 'videos.txt'), videos, delimiter=';'),
        f'frames, JPEG quality {JPEG_QUALITY}': RawframeDataset(
            str(folder / 'frames.txt'), [sample, dict(type='RawFrameDecode'), *after], filename_tmpl='{:05}.jpg'
        ),
    }


def _write_frames(video: Path, folder: Path) -> int:
    folder.mkdir()
    reader, count = cv2.VideoCapture(str(video)), 0
    while (read := reader.read())[0]:
        count += 1
        cv2.imwrite(str(folder / f'{count:05}.jpg'), read[1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return count


def _speeds(dataset, workers: int, repeats: int) -> list[float]:
    """Measure the clips a second of each pass but the first."""
    loader = DataLoader(
        dataset, batch_size=8, num_workers=workers, persistent_workers=workers > 0, collate_fn=pseudo_collate
    )
    speeds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        for _ in loader:
            pass
        speeds.append(len(dataset) / (time.perf_counter() - start))
    return speeds[1:]
