"""Moving digits: the direction shows in the order of the frames, in nothing else, and the clips are made once."""

from collections import Counter
from itertools import product

import numpy as np
import pytest

from mmcgc.datasets import Digits, MovingDigits, moving_digits
from mmcgc.datasets.moving_digits import DIRECTIONS, FRAMES, SIDE, SPEEDS, positions, render

PIPELINE = [
    dict(type='mmaction.DecordInit'),
    dict(type='mmaction.SampleFrames', clip_len=1, num_clips=FRAMES),
    dict(type='mmaction.DecordDecode'),
]
OPPOSITE = {
    name: next(other for other, (y, x) in DIRECTIONS.items() if (-y, -x) == step) for name, step in DIRECTIONS.items()
}


def build(root, split='test', num_clips=24, **options):
    return MovingDigits(split, str(root), num_clips, pipeline=PIPELINE, serialize_data=False, **options)


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    """Decoded clips, (N, T, H, W), and their labels."""
    samples = list(build(tmp_path_factory.mktemp('clips')))
    return np.stack([sample['imgs'] for sample in samples])[..., 0].astype(float), [s['label'] for s in samples]


@pytest.mark.parametrize('direction', DIRECTIONS)
def test_no_single_frame_tells_the_direction(direction):
    """Over all starts, each frame shows every place exactly once, for every direction and speed."""
    for speed in SPEEDS:
        places = np.array([positions(start, direction, speed) for start in product(range(SIDE), repeat=2)])
        for t in range(FRAMES):
            assert len({tuple(place) for place in places[:, t]}) == SIDE**2


@pytest.mark.parametrize('direction', DIRECTIONS)
def test_the_frames_of_a_clip_without_their_order_do_not_tell_it_from_the_opposite(direction):
    for start, speed in product([(0, 0), (5, 30)], SPEEDS):
        forth = positions(start, direction, speed)
        back = positions(forth[-1], OPPOSITE[direction], speed)
        assert {tuple(p) for p in forth} == {tuple(p) for p in back}
        np.testing.assert_array_equal(forth, back[::-1])


def test_a_decoded_frame_depends_on_that_frame_alone(tmp_path):
    """The same pictures after others: a codec that predicts frames would leave traces of the motion."""
    digit = Digits('test')[0]['img'][..., 0]
    forth = positions((3, 7), 'down-right', 3)
    decoded = []
    for name, places in dict(forth=forth, back=forth[::-1], alone=forth[[4] * FRAMES]).items():
        moving_digits.write_clip(tmp_path / f'{name}.mp4', render(digit, places))
        (tmp_path / 'list.txt').write_text(f'{name}.mp4 0\n')
        data = moving_digits.VideoDataset(
            str(tmp_path / 'list.txt'), PIPELINE, dict(video=str(tmp_path)), serialize_data=False
        )
        decoded.append(np.stack(data[0]['imgs']))
    np.testing.assert_array_equal(decoded[0], decoded[1][::-1])
    np.testing.assert_array_equal(decoded[0][4], decoded[2][0])


def test_the_label_is_the_motion_that_is_seen(clips):
    """The shift from frame to frame, found by circular correlation of the decoded pictures."""
    spectra = np.fft.fft2(clips[0])  # (N, T, H, W)
    correlation = np.fft.ifft2(spectra[:, 1:] * spectra[:, :-1].conj()).real  # (N, T - 1, H, W)
    peaks = correlation.reshape(*correlation.shape[:2], -1).argmax(-1)
    shifts = np.stack(np.divmod(peaks, SIDE), -1)
    shifts = (shifts + SIDE // 2) % SIDE - SIDE // 2  # (N, T - 1, 2)
    for seen, label in zip(shifts, clips[1], strict=True):
        speed = np.abs(seen[0]).max()
        assert speed in SPEEDS
        assert (seen == speed * np.array(list(DIRECTIONS.values())[label])).all()
    assert len({tuple(s) for s in shifts[:, 0]}) > len(DIRECTIONS)  # more than one speed


def test_directions_come_equally_often(clips):
    assert set(Counter(clips[1]).values()) == {24 // 8}


def test_test_clips_show_digits_that_training_clips_do_not(tmp_path):
    shown = {
        split: {plan[1].tobytes() for plan in build(tmp_path, split, 100, lazy_init=True)._plan()}
        for split in ('train', 'test')
    }
    kept = {split: {sample['img'][..., 0].tobytes() for sample in Digits(split)} for split in ('train', 'test')}
    assert shown['train'] <= kept['train'] and shown['test'] <= kept['test'] and not shown['train'] & shown['test']


def test_the_seed_decides(tmp_path):
    first, again = (build(tmp_path / name, num_clips=4) for name in ('a', 'b'))
    other = build(tmp_path / 'a', num_clips=4, seed=1)
    pictures = [[np.stack(sample['imgs']) for sample in data] for data in (first, again, other)]
    assert all((a == b).all() for a, b in zip(*pictures[:2], strict=True))
    assert any((a != b).any() for a, b in zip(pictures[0], pictures[2], strict=True))


def test_clips_are_made_once(tmp_path, monkeypatch):
    build(tmp_path, num_clips=3)
    monkeypatch.setattr(moving_digits, 'write_clip', lambda *_: pytest.fail('made again'))
    assert len(build(tmp_path, num_clips=3)) == 3


def test_a_process_that_comes_second_takes_what_the_first_made(tmp_path, monkeypatch):
    write, started = moving_digits.write_clip, []

    def overtaken(*args):
        if not started:
            started.append(True)
            build(tmp_path, num_clips=3)
        write(*args)

    monkeypatch.setattr(moving_digits, 'write_clip', overtaken)
    assert [sample['label'] for sample in build(tmp_path, num_clips=3)] == [0, 1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ['test-3-seed0']


def test_an_interrupted_making_leaves_nothing(tmp_path, monkeypatch):
    def stop(path, _):
        if path.name == '00001.mp4':
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(moving_digits, 'write_clip', stop)
        build(tmp_path, num_clips=3)
    assert list(tmp_path.iterdir()) == []
    assert len(build(tmp_path, num_clips=3)) == 3


@pytest.mark.parametrize(('options', 'message'), [(dict(split='val'), "'val'"), (dict(num_clips=0), 'at least 1')])
def test_bad_arguments_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        build(tmp_path, **options)
