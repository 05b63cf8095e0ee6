"""Camera motion: the picture moves as the label says, photographs are not shared, and a run can be broken off."""

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS

from mmcgc.datasets import camera_motion as module
from mmcgc.datasets.camera_motion import CLASSES, film, make_camera_motion, plan

NAMES = [name.split(' while')[0].split(' something')[0] for name in CLASSES]


def photograph(seed, height=160, width=214):
    """Smooth noise: detail everywhere, as matching needs."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def photos(tmp_path):
    """A folder with ten photographs, some of them in a folder of their own."""
    for i in range(10):
        path = tmp_path / 'photos' / ('deep' if i % 3 else '.') / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), photograph(i))
    return tmp_path / 'photos'


def make(photos, out='out', **options):
    options = dict(dict(train_clips=6, val_clips=2, frames=3, size=80), **options)
    return make_camera_motion(photos, photos.parent / out, **options)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}


def seen_motion(first, last):
    """(right, down, closer, clockwise) of the camera between two frames, from matched points: pixels, log2, radians."""
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (first, last)]
    points = cv2.goodFeaturesToTrack(grey[0], 200, 0.01, 4)
    moved, found, _ = cv2.calcOpticalFlowPyrLK(*grey, points, None, winSize=(31, 31), maxLevel=4)
    found = found.ravel() == 1
    matrix, _ = cv2.estimateAffinePartial2D(points[found], moved[found])
    centre = np.array([first.shape[1] / 2, first.shape[0] / 2])
    shift = matrix[:, :2] @ centre + matrix[:, 2] - centre  # of the picture, against the camera's
    return np.array([-shift[0], -shift[1], np.log2(np.hypot(*matrix[:, 0])), -np.arctan2(matrix[1, 0], matrix[0, 0])])


@pytest.mark.parametrize('label', range(len(CLASSES)), ids=NAMES)
def test_the_picture_moves_as_the_label_says(label):
    expected = np.array(list(CLASSES.values())[label])
    for seed in range(3):
        frames = film(photograph(seed), label, 9, 128, np.random.default_rng(seed))
        seen = np.sum([seen_motion(a, b) for a, b in zip(frames[:-1], frames[1:], strict=True)], axis=0)
        units = seen / [128, 128, 1, np.pi / 2]  # as in CLASSES
        assert np.abs(units).argmax() == np.abs(expected).argmax()
        assert np.sign(units[np.abs(expected).argmax()]) == expected.sum()


@pytest.mark.parametrize('size', [(160, 213), (500, 333), (80, 400), (64, 64)], ids=str)
@pytest.mark.parametrize('label', range(0, len(CLASSES), 2), ids=NAMES[::2])
def test_the_crop_never_leaves_the_photograph(label, size):
    """What lies outside would be black."""
    for seed in range(5):
        frames = film(np.full((*size, 3), 200, np.uint8), label, 8, 96, np.random.default_rng(seed))
        assert frames.shape == (8, 96, 96, 3) and frames.min() >= 199


@pytest.mark.parametrize('label', range(0, len(CLASSES), 2), ids=NAMES[::2])
def test_a_class_backwards_is_the_opposite_class(label):
    """Forwards and backwards have the same average path: without the order of the frames nothing tells them apart."""
    forth, back = (
        np.mean([plan(i, 8, np.random.default_rng([seed, i])) for seed in range(3000)], axis=0)
        for i in (label, label + 1)
    )
    np.testing.assert_allclose(forth, back[::-1], atol=0.01)
    assert np.abs(forth - back).max() > 0.1


def test_the_lists_are_what_mmaction_reads(photos):
    assert make(photos, train_clips=16, val_clips=8) == {}
    root = photos.parent / 'out'
    assert (root / 'label_map.txt').read_text().splitlines() == list(CLASSES)
    for split, count in dict(train=16, val=8).items():
        pipeline = [
            dict(type='DecordInit'),
            dict(type='SampleFrames', clip_len=1, num_clips=3),
            dict(type='DecordDecode'),
        ]
        config = Config(
            dict(
                type='mmcgc.VideoDataset',
                ann_file=f'{root}/{split}_list_videos.txt',
                data_prefix=dict(video=str(root)),
                pipeline=pipeline,
                serialize_data=False,
            )
        )
        with DATASETS.switch_scope_and_registry('mmaction') as registry:
            samples = list(registry.build(config))
        assert sorted({sample['label'] for sample in samples}) == list(range(8))
        assert len(samples) == count and all(len(sample['imgs']) == 3 for sample in samples)
        assert {image.shape for sample in samples for image in sample['imgs']} == {(80, 80, 3)}


@pytest.mark.parametrize('folders', [False, True], ids=['one-folder', 'train-and-val'])
def test_train_and_val_show_different_photographs(photos, folders):
    if folders:
        for i, path in enumerate(sorted(photos.rglob('*.png'))):
            target = photos / ('val' if i < 4 else 'train') / path.name
            target.parent.mkdir(exist_ok=True)
            path.rename(target)
    found = module.find_photos(photos, 0)
    assert len(found['train']) + len(found['val']) == 10 and not {*found['train']} & {*found['val']}
    assert len(found['val']) == (4 if folders else 2)
    if folders:
        assert {path.parent.name for path in found['val']} == {'val'}


def test_the_seed_decides(photos):
    for out, seed in dict(a=0, b=0, c=1).items():
        make(photos, out, seed=seed)
    a, b, c = (contents(photos.parent / out) for out in 'abc')
    assert a == b and a['train/00000.mp4'] != c['train/00000.mp4']


def test_an_interrupted_run_goes_on(photos, monkeypatch):
    make(photos, 'whole')
    write, written = module.write_clip, []

    def stop(path, frames):
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append(path.name)
        write(path, frames)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, 'write_clip', stop)
        make(photos)
    monkeypatch.setattr(module, 'write_clip', lambda path, frames: written.append(path.name) or write(path, frames))
    make(photos)
    assert written == [f'{i:05d}.mp4' for i in [*range(6), *range(2)]]
    assert contents(photos.parent / 'out') == contents(photos.parent / 'whole')


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        pytest.param(b'no picture', 'not readable', id='text'),
        pytest.param(b'', 'not readable', id='empty'),
        pytest.param(cv2.imencode('.png', photograph(0))[1].tobytes()[:5000], 'not readable', id='truncated'),
        pytest.param(cv2.imencode('.png', photograph(0, 40, 200))[1].tobytes(), 'only 200x40', id='too-small'),
    ],
)
def test_a_photograph_that_cannot_be_used_is_named(photos, content, reason):
    bad = module.find_photos(photos, 0)['train'][2]
    bad.write_bytes(content)
    skipped = make(photos, train_clips=8)
    assert list(skipped) == [str(bad)] and reason in skipped[str(bad)]
    assert str(bad) in (photos.parent / 'out/skipped_images.txt').read_text()
    assert len(list((photos.parent / 'out/train').glob('*.mp4'))) == 8


def test_nothing_but_unreadable_photographs_is_an_error(photos):
    for path in photos.rglob('*.png'):
        path.write_bytes(b'')
    with pytest.raises(ValueError, match='none of the 8 photographs can be used.*not readable'):
        make(photos)


def test_clips_made_otherwise_are_not_mixed(photos):
    make(photos)
    with pytest.raises(ValueError, match="made with {'size': 80}"):
        make(photos, size=96)


@pytest.mark.parametrize('options', [dict(size=79), dict(size=48), dict(frames=1), dict(val_clips=0)], ids=str)
def test_bad_numbers_are_refused(photos, options):
    with pytest.raises(ValueError, match=f'{next(iter(options))}=?|clips'):
        make(photos, **options)


@pytest.mark.parametrize('empty', [True, False], ids=['empty', 'missing'])
def test_a_folder_without_photographs_is_named(tmp_path, empty):
    if empty:
        (tmp_path / 'photos').mkdir()
    with pytest.raises(FileNotFoundError, match='photographs'):
        make(tmp_path / 'photos')
