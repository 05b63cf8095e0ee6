"""The loading benchmark: the same clips from video files and from frames, timed in passes."""

import numpy as np
import pytest
from mmengine.registry import init_default_scope

from mmcgc.analysis.speed import benchmark_video_loading as video_loading
from mmcgc.datasets.clip_writer import write_clip


@pytest.fixture(autouse=True)
def scope(own_scope):
    """The benchmark sets a default scope."""


@pytest.fixture
def videos(tmp_path):
    for i in range(2):
        frames = np.repeat(np.linspace(60 * i, 60 * i + 50, 9)[:, None], 32 * 64 * 3, axis=1)
        write_clip(tmp_path / f'{i}.mp4', frames.reshape(9, 32, 64, 3).astype(np.uint8))
    (tmp_path / 'notes.txt').write_text('no video')
    return tmp_path


def test_both_sources_hold_the_same_clips(videos, tmp_path):
    (tmp_path / 'scratch').mkdir()
    init_default_scope('mmaction')
    sources = video_loading._datasets(sorted(videos.glob('*.mp4')), tmp_path / 'scratch', 3, 4, 28)
    for i in range(4):
        pair = [sources[name][i]['inputs'].float() for name in (list(sources)[0], list(sources)[-1])]
        assert pair[0].shape == (3, 3, 28, 28)
        brightness = [clip.mean((1, 2, 3)) for clip in pair]  # 6.25 from frame to frame, 60 from video to video
        assert (brightness[0] - brightness[1]).abs().max() < 20
        assert abs(brightness[0].mean() - 60 * (i % 2) - 25) < 15


def test_a_row_for_each_source_and_number_of_workers(videos):
    rows = video_loading.benchmark(videos, frames=2, clips=3, workers=(0, 1), repeats=2, crop=28)
    assert [(row['source'][:6], row['workers']) for row in rows] == [
        ('video ', 0),
        ('video ', 1),
        ('video ', 0),
        ('video ', 1),
        ('frames', 0),
        ('frames', 1),
    ]
    assert all(0 < row['p20'] <= row['p50'] <= row['p80'] for row in rows)
    lines = video_loading.table(rows).splitlines()
    assert len(lines) == 2 + 6 + 2 and '2 videos, clips of 2 frames' in lines[-1]
    assert [f'{row["p50"]:.1f}' in line for row, line in zip(rows, lines[2:], strict=False)] == [True] * 6


@pytest.mark.parametrize('options', [dict(repeats=1), dict(workers=()), dict(workers=(-1,)), dict(frames=0)], ids=str)
def test_bad_numbers_are_refused(videos, options):
    with pytest.raises(ValueError, match='repeats'):
        video_loading.benchmark(videos, **options)


def test_a_folder_without_videos_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='no videos'):
        video_loading.benchmark(tmp_path)
