"""Broken clips: named in the error or skipped with a count, in the main process and in decoding workers."""

import io
import os

import cv2
import numpy as np
import pytest
from mmengine.dataset import pseudo_collate
from PIL import Image
from torch.utils.data import DataLoader

from mmcgc.datasets import RawframeDataset, VideoDataset, video
from mmcgc.datasets.clip_writer import write_clip
from mmcgc.datasets.pictures import check_picture

FRAMES = np.random.default_rng(0).integers(0, 256, (12, 32, 64, 3), dtype=np.uint8)
SAMPLE = dict(type='mmaction.SampleFrames', clip_len=1, num_clips=4)
VIDEO = [dict(type='mmaction.DecordInit'), SAMPLE, dict(type='mmaction.DecordDecode')]
RAW = [SAMPLE, dict(type='mmaction.RawFrameDecode')]


def write_with_opencv(path, frames):
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*'mp4v'), 8, (64, 32))
    for frame in frames:
        writer.write(frame)
    writer.release()


def make(path, fault):
    """A clip with the fault, under a name with the suffix that the fault asks for."""
    suffix, _, kind = fault.partition('-')
    path = path.with_suffix(f'.{suffix}')
    if suffix == 'mp4':
        write_clip(path, FRAMES[:1] if kind == 'one-frame' else FRAMES)
    else:
        write_with_opencv(path, FRAMES)
    if kind == 'truncated':
        os.truncate(path, path.stat().st_size * 2 // 3)
    elif kind == 'zero-bytes':
        os.truncate(path, 0)
    elif kind == 'text':
        path.write_text('no video ' * 100)
    elif kind == 'no-frames':
        write_with_opencv(path, [])
    elif kind == 'missing':
        path.unlink()
    return path.name


FAULTS = [
    'mp4-truncated',
    'avi-truncated',
    'mkv-truncated',
    'mp4-zero-bytes',
    'mp4-one-frame',
    'mp4-no-frames',
    'mp4-text',
    'mp4-missing',
]


@pytest.fixture
def build(tmp_path):
    """Builds a data set of five good clips, and a broken one for each fault in their middle."""

    def build(*faults, good=5, **options):
        names = []
        for i in range(good):
            names.append(f'good{i}.mp4')
            write_clip(tmp_path / names[-1], FRAMES)
        names[2:2] = [make(tmp_path / f'bad{i}', fault) for i, fault in enumerate(faults)]
        (tmp_path / 'list.txt').write_text(''.join(f'{name} {i}\n' for i, name in enumerate(names)))
        return VideoDataset(
            str(tmp_path / 'list.txt'), VIDEO, dict(video=str(tmp_path)), serialize_data=False, **options
        )

    return build


def samples_of(dataset, workers):
    loader = DataLoader(
        dataset, batch_size=2, num_workers=workers, timeout=60 if workers else 0, collate_fn=pseudo_collate
    )
    try:
        return [name for batch in loader for name in batch['filename']]
    except ValueError as error:
        # The traceback keeps the workers alive until a garbage collection, which waits five seconds for each of them.
        raise error.with_traceback(None) from None


@pytest.mark.parametrize('workers', [0, 2], ids=['main', 'workers'])
@pytest.mark.parametrize('fault', FAULTS)
def test_a_broken_clip_is_named(build, fault, workers):
    with pytest.raises(ValueError, match='cannot read the clip .*bad0.*list.txt'):
        samples_of(build(fault), workers)


@pytest.fixture
def log(tmp_path, monkeypatch):
    """A file with what is logged, by workers too."""
    path = tmp_path / 'log.txt'

    def print_log(message, *_):
        with path.open('a') as file:
            file.write(f'{message}\n')

    monkeypatch.setattr(video, 'print_log', print_log)
    return path


@pytest.mark.parametrize('workers', [0, 2], ids=['main', 'workers'])
def test_training_skips_and_counts(build, workers, log):
    dataset = build(*FAULTS, broken='skip')
    names = samples_of(dataset, workers)
    assert len(names) == 5 + len(FAULTS) and all('good' in name for name in names)
    assert dataset.skipped == len(FAULTS)
    assert all(f'bad{i}.' in log.read_text() for i in range(len(FAULTS)))
    assert f'{len(FAULTS)} of {len(dataset)} clips skipped so far' in log.read_text()


@pytest.mark.parametrize('workers', [0, 2], ids=['main', 'workers'])
def test_a_test_leaves_broken_clips_out(build, workers):
    dataset = build(*FAULTS, broken='skip', test_mode=True)
    assert (len(dataset), dataset.skipped) == (5, len(FAULTS))
    names = samples_of(dataset, workers)
    assert [os.path.basename(name) for name in names] == [f'good{i}.mp4' for i in range(5)]


def test_nothing_but_broken_clips_is_an_error(build):
    with pytest.raises(ValueError, match='none of the 2 clips'):
        build('mp4-text', 'mp4-zero-bytes', good=0, broken='skip')[0]


def test_a_clip_of_one_frame_passes_where_the_config_says_so(build):
    dataset = build('mp4-one-frame', min_frames=1)
    images = dataset[2]['imgs']
    assert len(images) == 4 and all((image == images[0]).all() for image in images)


def test_errors_of_later_transforms_are_not_taken_for_broken_clips(build):
    dataset = build(broken='skip')
    dataset.pipeline.transforms.append(lambda sample: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        dataset[0]
    assert dataset.skipped == 0


def test_an_unknown_choice_is_refused(build):
    with pytest.raises(ValueError, match="'ignore'"):
        build(broken='ignore')


FRAME_FAULTS = {
    'missing': 'No such file',
    'no-image': '',
    'empty': 'the picture is empty',
    'jpg-cut': 'truncated',
    'jpg-cut-at-the-last-byte': 'truncated',
    'progressive-cut': 'truncated',
    'thumbnail-cut': 'truncated',
    'png-cut': 'truncated',
    'webp-cut': 'truncated',
    'bmp-cut': 'truncated',
}


def faulty_frame(fault):
    """The bytes of a picture with the fault."""
    kind, _, at_the_end = fault.partition('-cut')
    form = dict(png='PNG', webp='WEBP', bmp='BMP').get(kind, 'JPEG')
    options = dict(progressive=True) if kind == 'progressive' else {}
    if kind == 'thumbnail':
        options = dict(exif=b'Exif\0\0' + faulty_frame('jpg'))
    buffer = io.BytesIO()
    Image.fromarray(FRAMES[2]).save(buffer, form, **options)
    data = buffer.getvalue()
    if '-cut' not in fault:
        return data
    return data[: -1 if at_the_end else len(data) * 4 // 5]


@pytest.mark.parametrize(('fault', 'message'), FRAME_FAULTS.items(), ids=FRAME_FAULTS)
def test_a_broken_frame_is_named(tmp_path, fault, message):
    for name in ('good', 'bad'):
        (tmp_path / name).mkdir()
        for i, frame in enumerate(FRAMES[:4]):
            cv2.imwrite(str(tmp_path / name / f'{i + 1:05d}.jpg'), frame)
    frame = tmp_path / 'bad' / '00003.jpg'
    if fault == 'missing':
        frame.unlink()
    else:
        frame.write_bytes({'no-image': b'no image', 'empty': b''}.get(fault, faulty_frame(fault)))
    (tmp_path / 'list.txt').write_text('good 4 0\nbad 4 1\n')
    options = dict(data_prefix=dict(img=str(tmp_path)), filename_tmpl='{:05}.jpg', serialize_data=False)
    dataset = RawframeDataset(str(tmp_path / 'list.txt'), RAW, **options)
    assert len(dataset[0]['imgs']) == 4
    with pytest.raises(ValueError, match=f'/bad: .*{message}'):
        dataset[1]
    dataset = RawframeDataset(str(tmp_path / 'list.txt'), RAW, broken='skip', **options)
    assert [sample['label'] for sample in dataset] == [0, 0] and dataset.skipped == 1
    dataset = RawframeDataset(str(tmp_path / 'list.txt'), RAW, broken='skip', test_mode=True, **options)
    assert (len(dataset), dataset.skipped) == (1, 1)


@pytest.mark.parametrize('kind', ['jpg', 'progressive', 'thumbnail', 'png', 'webp', 'bmp'])
def test_whole_pictures_pass(kind):
    check_picture(faulty_frame(kind))
    check_picture(faulty_frame(kind) + bytes(100))  # some cameras fill up


@pytest.mark.parametrize(
    ('line', 'first', 'message'),
    [
        ('clip 4 0', 1, None),
        ('clip 3 0', 1, None),
        ('clip 5 0', 1, 'no frame 5'),
        ('clip 4 0', 2, 'set start_index=1'),
        ('clip 4 0', 0, 'no frame'),
        ('clip 1 3 0', 1, None),
    ],
    ids=str,
)
def test_the_numbers_in_a_folder_are_those_of_the_list(tmp_path, line, first, message):
    """A list or a config that is one off would give every clip's neighbours without a word."""
    (tmp_path / 'clip').mkdir()
    for i, frame in enumerate(FRAMES[:4], 1):
        cv2.imwrite(str(tmp_path / 'clip' / f'{i:05d}.jpg'), frame)
    (tmp_path / 'list.txt').write_text(f'{line}\n')
    dataset = RawframeDataset(
        str(tmp_path / 'list.txt'),
        RAW,
        dict(img=str(tmp_path)),
        filename_tmpl='{:05}.jpg',
        with_offset=line.count(' ') > 2,
        start_index=first,
        serialize_data=False,
    )
    if message is None:
        assert len(dataset[0]['imgs']) == 4
    else:
        with pytest.raises(ValueError, match=message):
            dataset[0]


@pytest.mark.parametrize(
    'kind, lines, bad',
    [
        (VideoDataset, ['a.mp4 0', 'my clip.mp4 3'], r"line 2, 'my clip\.mp4 3'"),
        (VideoDataset, ['a.mp4 0', 'b.mp4 cat'], r"line 2, 'b\.mp4 cat'"),
        (RawframeDataset, ['my clip 12 3', 'a 12 0'], r"line 1, 'my clip 12 3'"),
        (RawframeDataset, ['a 12 0', 'b 12 0 1'], r"line 2, 'b 12 0 1'"),
    ],
    ids=['video', 'label', 'frames', 'labels'],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, kind, lines, bad):
    (tmp_path / 'list.txt').write_text(''.join(f'{line}\n' for line in lines))
    with pytest.raises(ValueError, match=f"list.txt cannot be read, see {bad}.*delimiter=';'"):
        kind(str(tmp_path / 'list.txt'), [])


def test_paths_with_spaces_are_read_with_another_delimiter(tmp_path):
    (tmp_path / 'list.txt').write_text('my clip.mp4;3\n')
    dataset = VideoDataset(str(tmp_path / 'list.txt'), [], delimiter=';')
    assert dataset.get_data_info(0)['filename'] == 'my clip.mp4' and dataset.get_data_info(0)['label'] == 3
