"""Something-Something v1: every folder is checked, what is missing is named, a second run goes on from there."""

import os
import re
from argparse import ArgumentParser

import numpy as np
import pytest
from mmengine.config import Config, DictAction
from stand_ins import STHV1_CLASSES as CLASSES
from stand_ins import STHV1_FRAMES as FRAMES
from stand_ins import STHV1_MEMBERS as MEMBERS
from stand_ins import picture
from sthv1 import prepare

from mmcgc.datasets import RawframeDataset
from mmcgc.datasets import prepare_sthv1 as module


def break_(tree, kind):
    if kind == 'missing-folder':
        for path in (tree / 'frames/31').iterdir():
            path.unlink()
        (tree / 'frames/31').rmdir()
    elif kind == 'gap':
        (tree / 'frames/31/00004.jpg').unlink()
    elif kind == 'no-first-frame':
        (tree / 'frames/31/00001.jpg').unlink()
    elif kind == 'empty-folder':
        for path in (tree / 'frames/31').iterdir():
            path.unlink()
    elif kind == 'a-file':
        break_(tree, 'missing-folder')
        (tree / 'frames/31').write_text('')
    elif kind == 'zero-bytes':
        (tree / 'frames/31/00012.jpg').write_bytes(b'')
    elif kind == 'cut':
        os.truncate(tree / 'frames/31/00002.jpg', len(picture(3, size=(16, 24))) * 3 // 4)
    elif kind == 'html':
        (tree / 'frames/31/00007.jpg').write_text('<html>Not found</html>')
    elif kind == 'two-prefixes':
        (tree / 'frames/31/flow_00001.jpg').write_bytes(picture(3))
    elif kind == 'digits':
        (tree / 'frames/31/00009.jpg').rename(tree / 'frames/31/000009.jpg')
    elif kind == 'from-zero':
        renumber(tree / 'frames/31', '{:05}.jpg', 0)
    elif kind == 'prefix':
        renumber(tree / 'frames/31', 'img_{:05}.jpg', 1)


def renumber(folder, template, first):
    paths = sorted(folder.glob('*.jpg'))
    for path in paths:
        path.rename(path.with_suffix('.old'))
    for number, path in enumerate(paths, first):
        path.with_suffix('.old').rename(folder / template.format(number))


BREAKS = {
    'missing-folder': '31: No such file',
    'gap': '31: frame 00004 ',
    'no-first-frame': '31: frame 00001 ',
    'empty-folder': '31: 0 frames',
    'a-file': '31: Not a directory',
    'zero-bytes': '31: 00012.jpg: the picture is empty',
    'cut': '31: 00002.jpg: the picture is truncated',
    'html': '31: 00007.jpg: it is no picture',
    'two-prefixes': '31: its frames are named in several ways',
    'digits': '31: 000009.jpg and 0 others have more leading zeros',
    'from-zero': '31: its frames are named {:05}.jpg from 0 on',
    'prefix': '31: its frames are named img_{:05}.jpg',
}


def test_the_lists_are_what_mmaction_reads(tree):
    assert prepare(tree) == dict(train=4, val=2, test=1)
    for split, members in zip(('train', 'val', 'test'), MEMBERS.values(), strict=True):
        dataset = RawframeDataset(
            str(tree / f'out/sthv1_{split}_list_rawframes.txt'),
            [],
            serialize_data=False,
            data_prefix=dict(img=str(tree / 'out/rawframes')),
            filename_tmpl='{:05}.jpg',
        )
        samples = [dataset.get_data_info(i) for i in range(len(dataset))]
        assert [os.path.basename(s['frame_dir']) for s in samples] == list(members)
        assert [s['total_frames'] for s in samples] == [FRAMES[i] for i in members]
        assert [s['label'] for s in samples] == [-1 if label is None else label for label in members.values()]
        for sample in samples:
            assert all(
                os.path.isfile(os.path.join(sample['frame_dir'], sample['filename_tmpl'].format(number)))
                for number in range(1, sample['total_frames'] + 1)
            )
    assert (tree / 'out/label_map.txt').read_text().splitlines() == CLASSES


def test_other_files_in_a_folder_are_no_frames(tree):
    (tree / 'frames/31/Thumbs.db').write_bytes(b'')
    (tree / 'frames/31/._00001.jpg').write_bytes(b'')
    prepare(tree)
    assert '31 12 1\n' in (tree / 'out/sthv1_train_list_rawframes.txt').read_text()


@pytest.mark.parametrize(('kind', 'message'), BREAKS.items(), ids=BREAKS)
def test_a_broken_folder_is_named(tree, kind, message):
    break_(tree, kind)
    with pytest.raises(ValueError, match=f'1 of 7 clips.*{re.escape(message)}'):
        prepare(tree)
    assert not list((tree / 'out').glob('*_list_*'))
    assert message.replace(':', '', 1) in (tree / 'out/sthv1_rawframes_broken.txt').read_text()


@pytest.mark.parametrize('kind', BREAKS)
def test_broken_folders_can_be_left_out(tree, kind):
    break_(tree, kind)
    assert prepare(tree, skip_broken=True) == dict(train=3, val=2, test=1)
    assert '31 ' not in (tree / 'out/sthv1_train_list_rawframes.txt').read_text()


def test_a_second_run_looks_only_at_what_was_missing(tree, monkeypatch):
    break_(tree, 'gap')
    with pytest.raises(ValueError, match='1 of 7'):
        prepare(tree)
    (tree / 'frames/31/00004.jpg').write_bytes(picture(3))
    looked_at, check = [], module._CHECKS['rawframes']
    monkeypatch.setitem(module._CHECKS, 'rawframes', lambda source, i: looked_at.append(i) or check(source, i))
    assert prepare(tree) == dict(train=4, val=2, test=1)
    assert looked_at == ['31']
    assert (tree / 'out/sthv1_rawframes_broken.txt').read_text() == ''


def test_an_interrupted_run_goes_on(tree, monkeypatch):
    def stop(source, i):
        if i == '12':
            raise KeyboardInterrupt
        return check(source, i)

    check = module._CHECKS['rawframes']
    monkeypatch.setitem(module._CHECKS, 'rawframes', stop)
    with pytest.raises(KeyboardInterrupt):
        prepare(tree)
    with (tree / 'out/.checked_rawframes').open('a') as file:
        file.write('9\t9 1')  # as if killed in the middle of the line
    looked_at = []
    monkeypatch.setitem(module._CHECKS, 'rawframes', lambda source, i: looked_at.append(i) or check(source, i))
    assert prepare(tree) == dict(train=4, val=2, test=1)
    assert looked_at == ['12', '9', '55']
    assert '9 6 2\n' in (tree / 'out/sthv1_val_list_rawframes.txt').read_text()


@pytest.mark.parametrize(
    ('template', 'first'),
    [
        ('{:05}.jpg', 0),
        ('{:06}.jpg', 1),
        ('img_{:05}.jpg', 1),
        ('{:04}.JPEG', 0),
        ('{:01}.jpg', 1),
        ('{{a}}{:05}.jpg', 1),
    ],
    ids=str,
)
def test_the_numbering_is_taken_as_it_is(tree, template, first):
    """With the options that are named, the eight frames of testing are those of a folder as the configs expect it."""
    for i, count in FRAMES.items():
        for number in range(1, count + 1):  # each frame tells its number by its brightness
            (tree / f'frames/{i}/{number:05}.jpg').write_bytes(picture(min(number, 11)))

    def test_frames(**options):
        sample = dict(type='mmaction.SampleFrames', clip_len=1, num_clips=8, test_mode=True)
        dataset = RawframeDataset(
            str(tree / 'out/sthv1_train_list_rawframes.txt'),
            [sample, dict(type='mmaction.RawFrameDecode')],
            serialize_data=False,
            test_mode=True,
            data_prefix=dict(img=str(tree / 'out/rawframes')),
            **options,
        )
        return [np.mean(image) for i in range(4) for image in dataset[i]['imgs']]

    prepare(tree)
    assert not module.options_file(tree / 'out', 'rawframes').exists()
    expected = test_frames(filename_tmpl='{:05}.jpg')
    for i in FRAMES:
        renumber(tree / 'frames' / i, template, first)
    (tree / 'out/.checked_rawframes').unlink()
    lists = (tree / 'out/sthv1_train_list_rawframes.txt').read_text()
    assert prepare(tree) == dict(train=4, val=2, test=1)
    assert (tree / 'out/sthv1_train_list_rawframes.txt').read_text() == lists
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    lines = module.options_file(tree / 'out', 'rawframes').read_text().splitlines()
    config = Config()
    config.merge_from_dict(parser.parse_args(['--cfg-options', *lines]).cfg_options)
    for loader in ('train', 'val', 'test'):
        options = config[f'{loader}_dataloader'].dataset
        assert test_frames(**options) == expected
    with pytest.raises(ValueError, match='start_index'):
        test_frames(filename_tmpl='{:05}.jpg')


def test_options_of_an_earlier_run_do_not_stay(tree):
    for i in FRAMES:
        renumber(tree / 'frames' / i, '{:06}.jpg', 1)
    prepare(tree)
    assert module.options_file(tree / 'out', 'rawframes').exists()
    for i in FRAMES:
        renumber(tree / 'frames' / i, '{:05}.jpg', 1)
    (tree / 'out/.checked_rawframes').unlink()
    prepare(tree)
    assert not module.options_file(tree / 'out', 'rawframes').exists()


def test_what_was_checked_elsewhere_is_checked_again(tree):
    prepare(tree)
    (tree / 'frames').rename(tree / 'moved')
    (tree / 'out/rawframes').unlink()
    (tree / 'moved/31/00004.jpg').unlink()
    with pytest.raises(ValueError, match='31: frame 00004'):
        prepare(tree, source='moved')


@pytest.mark.parametrize('what', ['labels/something-something-v1-train.csv', 'frames'])
def test_what_is_missing_is_named(tree, what):
    (tree / what).rename(tree / 'away')
    with pytest.raises(FileNotFoundError, match=what):
        prepare(tree)


def test_a_folder_of_other_frames_is_not_replaced(tree):
    (tree / 'out/rawframes').mkdir(parents=True)
    with pytest.raises(ValueError, match='rawframes is there already'):
        prepare(tree)
