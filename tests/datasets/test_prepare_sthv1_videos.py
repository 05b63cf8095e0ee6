"""Something-Something v1 can be prepared as videos, and every broken video is named."""

import os

import numpy as np
import pytest
from odd_videos import ODD, cut, sound_only
from stand_ins import STHV1_FRAMES as FRAMES
from sthv1 import prepare

from mmcgc.datasets import VideoDataset
from mmcgc.datasets.clip_writer import write_clip


def test_videos(tree):
    (tree / 'videos').mkdir()
    for i in FRAMES:
        write_clip(tree / 'videos' / f'{i}.mp4', np.zeros((3, 32, 32, 3), np.uint8))
    assert prepare(tree, source='videos', kind='videos') == dict(train=4, val=2, test=1)
    dataset = VideoDataset(
        str(tree / 'out/sthv1_train_list_videos.txt'),
        [dict(type='mmaction.DecordInit')],
        dict(video=str(tree / 'out/videos')),
        serialize_data=False,
    )
    assert [dataset[i]['total_frames'] for i in range(4)] == [3] * 4
    os.truncate(tree / 'videos/31.mp4', 0)
    (tree / 'out/.checked_videos').unlink()
    with pytest.raises(ValueError, match='31: the file is empty'):
        prepare(tree, source='videos', kind='videos')


BAD_VIDEOS = {
    'html.mp4': 'no video',
    'sound.mp4': 'no video',
    'cut.mp4': 'truncated',
    'cut.webm': 'truncated',
    'cut.avi': 'truncated',
    'hole.mkv': 'damaged',
    'one frame.mp4': '1 frames',
}


@pytest.mark.parametrize(('name', 'message'), BAD_VIDEOS.items(), ids=BAD_VIDEOS)
def test_a_broken_video_is_named(tree, name, message):
    (tree / 'videos').mkdir()
    for i in FRAMES:
        write_clip(tree / f'videos/{i}.mp4', np.zeros((3, 32, 32, 3), np.uint8))
    (tree / 'videos/31.mp4').unlink()
    kind, _, suffix = name.rpartition('.')
    path = tree / f'videos/31.{suffix}'
    if kind == 'html':
        path.write_text('<html>Not found</html>' * 50)
    elif kind == 'sound':
        sound_only(path, 'mp4', 'aac')
    elif kind == 'cut':
        cut(codec=dict(mp4='libx264', webm='libvpx', avi='mpeg4')[suffix])(path)
    else:
        next(odd for odd in ODD if odd.name == name).make(path)
    with pytest.raises(ValueError, match=f'1 of 7 clips.*31: .*{message}'):
        prepare(tree, source='videos', kind='videos')
    assert prepare(tree, source='videos', kind='videos', skip_broken=True) == dict(train=3, val=2, test=1)
