"""Every odd video is read as it plays, by each reader of mmaction2, or refused by name; none goes wrong silently."""

import gc
import io
import shutil
from types import SimpleNamespace

import av
import numpy as np
import pytest
from mmaction.datasets.transforms import DecordDecode, DecordInit, PyAVDecode, PyAVInit
from mmengine.dataset import pseudo_collate
from odd_videos import FRAMES, HEIGHT, ODD, READERS, WIDTH, encode, number_in, picture
from torch.utils.data import DataLoader

from mmcgc.datasets import VideoDataset, containers, loading
from mmcgc.datasets.loading import AGREES, load, load_step
from mmcgc.datasets.played_frames import PlayedFrames

PLAY = [odd for odd in ODD if odd.plays is not None]
BROKEN = [odd for odd in ODD if odd.plays is None]


class AllFrames:
    """A sampler that takes every frame, in an order in which jumping readers go wrong."""

    def __call__(self, sample):
        order = np.random.default_rng(0).permutation(sample['total_frames'])
        return sample | dict(frame_inds=order)


AllFrames.__module__ = 'mmaction.datasets.transforms.loading'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with all of them."""
    folder = tmp_path_factory.mktemp('odd')
    for odd in ODD:
        odd.make(folder / odd.name)
    return folder


@pytest.fixture
def build(folder, tmp_path):
    def build(odds, reader, **options):
        (tmp_path / 'list.txt').write_text(''.join(f'{odd.name};{i}\n' for i, odd in enumerate(odds)))
        pipeline = [dict(type=f'mmaction.{reader}Init'), AllFrames(), dict(type=f'mmaction.{reader}Decode')]
        return VideoDataset(
            str(tmp_path / 'list.txt'),
            pipeline,
            dict(video=str(folder)),
            serialize_data=False,
            delimiter=';',
            **options,
        )

    return build


def numbers(sample):
    """Which frames the sample holds, in the order of their indices."""
    return [
        number_in(image)
        for _, image in sorted(zip(sample['frame_inds'], sample['imgs'], strict=True), key=lambda pair: pair[0])
    ]


def test_there_are_enough_of_them():
    assert len(ODD) >= 40 and len({odd.name for odd in ODD}) == len(ODD)


@pytest.mark.parametrize('odd', [pytest.param(odd, id=odd.name) for odd in PLAY if 'turned' not in odd.name])
def test_the_frames_stated_are_those_of_a_sequential_decode(folder, odd):
    with av.open(str(folder / odd.name)) as container:
        assert [number_in(frame.to_ndarray(format='rgb24')) for frame in container.decode(video=0)] == odd.plays


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('odd', [pytest.param(odd, id=odd.name) for odd in PLAY])
def test_every_frame_is_the_one_asked_for(build, odd, reader):
    dataset = build([odd], reader)
    if reader in odd.not_by:
        with pytest.raises(ValueError, match=f'{odd.name}.*({odd.refused}).*OpenCVInit'):
            dataset[0]
        return
    for _ in range(2):  # what is known of the file is used the second time
        sample = dataset[0]
        images = sample['imgs']
        if 'turned' in odd.name and 'round' not in odd.name:
            assert images[0].shape == sample['img_shape'] + (3,) == (WIDTH, HEIGHT, 3)
            back = 1 if 'right' in odd.name else -1  # counter-clockwise
            sample['imgs'] = [np.rot90(image, back) for image in images]
        elif 'turned' in odd.name:
            sample['imgs'] = [image[::-1, ::-1] for image in images]
        assert numbers(sample) == odd.plays


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('odd', [pytest.param(odd, id=odd.name) for odd in BROKEN])
def test_what_is_broken_is_named(build, odd, reader):
    with pytest.raises(ValueError, match=f'cannot read the clip .*{odd.name}: .*({odd.refused}).*Mend it or take it'):
        build([odd], reader)[0]


@pytest.mark.parametrize('reader', READERS)
def test_what_is_broken_is_skipped_and_counted(build, reader):
    dataset = build(ODD, reader, broken='skip', test_mode=True)
    good = [odd for odd in PLAY if reader not in odd.not_by]
    assert (len(dataset), dataset.skipped) == (len(good), len(ODD) - len(good))
    assert [dataset.get_data_info(i)['filename'].rpartition('/')[2] for i in range(len(dataset))] == [
        odd.name for odd in good
    ]


def test_workers_examine_a_file_once(build, monkeypatch):
    """What one pass has found stays known to the workers of the next."""
    gc.collect()  # a worker must not free coders that other tests have opened here, with threads
    odds = [odd for odd in ODD if odd.name in ('open groups.mp4', 'h264.ts', 'closed groups.mp4')]
    dataset = build(odds, 'Decord')
    for _ in DataLoader(dataset, num_workers=2, timeout=60, collate_fn=pseudo_collate):
        pass
    assert dict(zip([odd.name for odd in odds], dataset._known.tolist(), strict=True)) == {
        'open groups.mp4': FRAMES,
        'h264.ts': FRAMES,
        'closed groups.mp4': AGREES,
    }
    monkeypatch.setattr(loading, 'decord_agrees', lambda *_: pytest.fail('examined again'))
    monkeypatch.setattr(loading, 'check_complete', lambda *_: pytest.fail('examined again'))
    assert [numbers(sample) for sample in dataset] == [list(range(FRAMES))] * 3


@pytest.mark.parametrize(
    'name',
    [
        'closed groups.mp4',
        'one group.mp4',
        'motion jpeg.avi',
        'vp9.webm',
        'lossless.mkv',
        'header first.mp4',
        'uneven times.mp4',
        'mpeg4 in order.avi',
        'turned right.mp4',
    ],
)
def test_good_files_stay_with_decord(folder, name):
    _, known = load_step(DecordInit(), dict(filename=str(folder / name)))
    assert known == AGREES


@pytest.mark.parametrize('mode', ['accurate', 'efficient'])
def test_both_modes_of_decord_get_exact_frames_from_the_reader_in_its_place(folder, mode):
    sample, known = load_step(DecordInit(), dict(filename=str(folder / 'h264.ts')))
    assert known == FRAMES and isinstance(sample['video_reader'], PlayedFrames)
    sample = DecordDecode(mode)(sample | dict(frame_inds=np.array([30, 2, 2, 59])))
    assert [number_in(image) for image in sample['imgs']] == [30, 2, 2, 59]


def test_the_jumping_mode_of_pyav_is_refused(folder):
    sample = load([PyAVInit()], dict(filename=str(folder / 'closed groups.mp4')))
    with pytest.raises(ValueError, match="mode='efficient'"):
        PyAVDecode(mode='efficient')(sample | dict(frame_inds=np.array([3])))


def test_a_name_without_suffix_is_completed(folder, tmp_path):
    shutil.copy(folder / 'trimmed.mp4', tmp_path / 'clip.mp4')
    sample = load([DecordInit()], dict(filename=str(tmp_path / 'clip')))
    assert sample['total_frames'] == 43


@pytest.mark.parametrize('name', ['h264.ts', 'trimmed.mp4', 'closed groups.mp4', 'cut.ts'])
def test_files_of_other_backends_are_checked_by_their_bytes(folder, name, monkeypatch):
    transform = DecordInit()
    monkeypatch.setattr(loading, 'FileClient', lambda *_, **__: transform.file_client)
    transform.file_client = SimpleNamespace(get=lambda path: (folder / path.rpartition('/')[2]).read_bytes())
    if name == 'cut.ts':
        with pytest.raises(ValueError, match='truncated'):
            load([transform], dict(filename=f's3://bucket/{name}'))
        return
    sample = load([transform], dict(filename=f's3://bucket/{name}'))
    plays = next(odd.plays for odd in ODD if odd.name == name)
    assert sample['total_frames'] == len(plays)
    images = sample['video_reader'].get_batch(range(len(plays))).asnumpy()
    assert [number_in(image) for image in images] == plays


@pytest.mark.parametrize(
    ('name', 'packet'),
    [
        ('closed groups.mp4', None),
        ('header first.mp4', None),
        ('mpeg4 reordered.avi', None),
        ('trimmed.mkv', None),
        ('h264.flv', None),
        ('windows.wmv', None),
        ('h264.ts', 188),
        ('camera.m2ts', 192),
        ('mpeg2.mpg', 2048),
    ],
    ids=str,
)
def test_a_cut_is_seen_wherever_it_is(folder, name, packet):
    """But not between packets of an MPEG stream, where nothing shows it."""
    data = (folder / name).read_bytes()
    containers.check_complete(io.BytesIO(data))
    for size in range(700, len(data), 37):
        if packet is None or size % packet:
            with pytest.raises(ValueError, match='truncated'):
                containers.check_complete(io.BytesIO(data[:size]))


def test_pictures_tell_their_number(tmp_path):
    """The ruler of this file: every number, and a frame that is not upright, are told apart."""
    assert [number_in(picture(number)) for number in range(256)] == list(range(256))
    with pytest.raises(AssertionError):
        number_in(picture(7)[::-1])
    encode(tmp_path / 'clip.mp4', numbers=[250, 3])
    with av.open(str(tmp_path / 'clip.mp4')) as container:
        assert [number_in(frame.to_ndarray(format='rgb24')) for frame in container.decode(video=0)] == [250, 3]
