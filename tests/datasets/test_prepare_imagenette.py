"""From the archive or the folder to what the configs read: complete, checked, or not at all."""

import importlib.util
import sys
import tarfile

import numpy as np
import pytest
from helpers import ROOT
from stand_ins import imagenette_files as files
from stand_ins import picture, write_folder, write_tar

from mmcgc.datasets import Imagenette
from mmcgc.datasets.imagenette import CLASSES
from mmcgc.datasets.prepare_imagenette import prepare_imagenette

COUNTS = dict(train=2, val=1)


def listing(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob('*') if path.is_file()}


FORMS = {
    'public archive': lambda tmp: [
        write_tar(
            tmp / 'imagenette2-160.tgz',
            {
                **{f'imagenette2-160/{name}': data for name, data in files().items()},
                'imagenette2-160/noisy_imagenette.csv': b'path',
                'imagenette2-160/train/n01440764/._x.JPEG': b'no picture',
            },
        )
    ],
    'unpacked': lambda tmp: [
        write_folder(tmp / 'in', {f'imagenette2-160/{name}': data for name, data in files().items()})
    ],
    'a tar of each split': lambda tmp: [
        write_tar(
            tmp / f'{split}.tar', {name: data for name, data in files('webp').items() if name.startswith(split)}, 'w'
        )
        for split in COUNTS
    ],
    'one of each': lambda tmp: [
        write_tar(tmp / 'train.tar', {name: data for name, data in files().items() if name.startswith('train')}, 'w'),
        write_folder(tmp / 'in', {name: data for name, data in files().items() if name.startswith('val')}),
    ],
}


@pytest.mark.parametrize('form', FORMS)
def test_every_form_ends_as_the_same_data_set(form, tmp_path):
    sources, out = FORMS[form](tmp_path), tmp_path / 'out'
    for _ in range(2):  # again over the first result
        assert prepare_imagenette(sources, out, partial=True) == dict(train=20, val=10)
        assert listing(out) == files('webp' if 'tar of' in form else 'JPEG')
        assert sorted(path.name for path in out.iterdir()) == ['train', 'val']
    loading = [dict(type='LoadImageFromFile')]
    for split, count in COUNTS.items():
        samples = [*Imagenette(str(out), split, pipeline=loading)]
        assert [sample['gt_label'] for sample in samples] == sorted([*range(10)] * count)
        means = [sample['img'].mean() for sample in samples]
        assert np.allclose(means, [9.5 + 20 * sample['gt_label'] for sample in samples], atol=3)


def test_prepared_folder_is_itself_a_source_but_is_not_written_over(tmp_path):
    folder = write_folder(tmp_path / 'in', {**files(), 'train/notes.txt': b'mine'})
    prepare_imagenette([folder], tmp_path / 'out', partial=True)
    assert listing(tmp_path / 'out') == files()
    for source in (folder, folder / 'train'):
        with pytest.raises(ValueError, match='cannot write .*train.*, which is read'):
            prepare_imagenette([source], folder, partial=True)
    assert (folder / 'train/notes.txt').read_bytes() == b'mine'


def link(name, target, kind=tarfile.SYMTYPE):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


NAME = 'n01440764'
HOSTILE = {
    'up': {f'../train/{NAME}/x.jpg': picture(0)},
    'up within': {f'a/../../train/{NAME}/x.jpg': picture(0)},
    'file named ..': {f'train/{NAME}/..': picture(0)},
    'absolute': {f'/train/{NAME}/x.jpg': picture(0)},
    'backslash': {f'train/{NAME}/..\\..\\x.jpg': picture(0)},
    'drive': {f'C:/train/{NAME}/x.jpg': picture(0)},
    'symlink': {'link': link(f'train/{NAME}/x.jpg', '/etc/hostname')},
    'symlink to folder': {'link': link('train', '..')},
    'hard link': {'link': link(f'train/{NAME}/x.jpg', '../../secret', tarfile.LNKTYPE)},
    'device': {'device': link(f'train/{NAME}/x.jpg', '', tarfile.CHRTYPE)},
}


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_archives_write_nothing(name, tmp_path):
    out = write_folder(tmp_path / 'deep' / 'out', {'train/old': b'old', 'val/old': b'old'})
    source = write_tar(tmp_path / 'hostile.tgz', {**files(), **HOSTILE[name]})
    before = listing(tmp_path)
    with pytest.raises(ValueError, match='hostile.tgz is no archive to trust: .*(out of the folder|a link)'):
        prepare_imagenette([source], out, partial=True)
    assert listing(tmp_path) == before


def cut(path, size):
    path.write_bytes(path.read_bytes()[:-size])
    return path


FAULTS = {
    'missing source': (lambda tmp: tmp / 'nowhere.tgz', FileNotFoundError, 'nowhere.tgz does not exist'),
    'no archive': (lambda tmp: write_folder(tmp, {'notes.txt': b'x'}) / 'notes.txt', ValueError, 'neither a folder'),
    'no tar inside': (lambda tmp: write_folder(tmp, {'a.tgz': b'x' * 900}) / 'a.tgz', ValueError, 'a.tgz is truncated'),
    'truncated tgz': (lambda tmp: cut(write_tar(tmp / 'a.tgz', files()), 2000), ValueError, 'a.tgz is truncated'),
    'truncated tar': (
        lambda tmp: cut(write_tar(tmp / 'a.tar', files(), 'w'), 15_000),
        ValueError,
        'a.tar is truncated|no image in val/',
    ),
    'truncated JPEG': (
        lambda tmp: write_folder(tmp / 'in', {**files(), f'val/{NAME}/x.JPEG': picture(0)[:-150]}),
        ValueError,
        f'val/{NAME}/x.JPEG .* bytes. is truncated',
    ),
    'truncated WebP': (
        lambda tmp: write_tar(tmp / 'a.tgz', {**files(), f'val/{NAME}/x.webp': picture(0, 'WEBP')[:-150]}),
        ValueError,
        f'a.tgz:val/{NAME}/x.webp .* is truncated',
    ),
    'no picture': (
        lambda tmp: write_folder(tmp / 'in', {**files(), f'val/{NAME}/x.png': b'<html>'}),
        ValueError,
        f'val/{NAME}/x.png .* is no image',
    ),
    'empty class': (
        lambda tmp: write_folder(
            tmp / 'in',
            {
                **{name: data for name, data in files().items() if not name.startswith(f'val/{NAME}')},
                f'val/{NAME}/readme.txt': b'x',
            },
        ),
        FileNotFoundError,
        f'no image in val/{NAME}:',
    ),
    'one split': (
        lambda tmp: write_folder(tmp / 'in', {n: d for n, d in files().items() if n.startswith('train')}),
        FileNotFoundError,
        f'no image in val/{NAME}, ',
    ),
    'another set': (
        lambda tmp: write_folder(tmp / 'in', {**files(), 'train/n02086240/x.JPEG': picture(0)}),
        ValueError,
        'n02086240/x.JPEG does not lie in',
    ),
    'another depth': (
        lambda tmp: write_folder(tmp / 'in', {**files(), f'train/{NAME}/more/x.JPEG': picture(0)}),
        ValueError,
        'more/x.JPEG does not lie in',
    ),
    'the same twice': (
        lambda tmp: write_folder(tmp / 'in', {**{f'a/{name}': data for name, data in files().items()}, **files()}),
        ValueError,
        'give each image once',
    ),
}


@pytest.mark.parametrize('name', FAULTS)
def test_faults_are_named_and_leave_the_old_data(name, tmp_path):
    make, error, message = FAULTS[name]
    out = write_folder(tmp_path / 'out', {'train/old': b'old', 'val/old': b'old', 'notes': b'mine'})
    before = listing(out)
    with pytest.raises(error, match=message):
        prepare_imagenette([make(tmp_path)], out, partial=True)
    assert listing(out) == before
    assert sorted(path.name for path in out.iterdir()) == ['notes', 'train', 'val']


def test_incomplete_sets_need_leave(tmp_path):
    source = write_folder(tmp_path / 'in', files())
    with pytest.raises(ValueError, match="'train': 20, 'val': 10.* instead of .*9469.*--partial"):
        prepare_imagenette([source], tmp_path / 'out')
    assert not listing(tmp_path / 'out')


def test_tool(tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location('imagenette_tool', ROOT / 'tools/data/prepare_imagenette.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    source = write_tar(tmp_path / 'a.tgz', files())
    monkeypatch.setattr(sys, 'argv', ['prepare', str(source), '--out', str(tmp_path / 'out'), '--partial'])
    tool.main()
    assert '20 images to train, 10 to validate' in capsys.readouterr().out
    monkeypatch.setattr(sys, 'argv', ['prepare', str(tmp_path / 'b.tgz'), '--out', str(tmp_path / 'out')])
    with pytest.raises(SystemExit, match='error: .*b.tgz does not exist'):
        tool.main()


def test_classes_are_those_of_imagenet():
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

    assert Imagenette.METAINFO['classes'] == tuple(CLASSES.values())
    assert list(CLASSES) == sorted(CLASSES)
    for name in CLASSES.values():
        assert any(name in category.split(', ') for category in IMAGENET_CATEGORIES), name


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda root: [path.unlink() for path in (root / 'val' / NAME).iterdir()], f'no image in .*val.{NAME} '),
        (lambda root: (root / 'val' / NAME).rename(root / 'val' / 'n99999999'), f'val lacks {NAME}: '),
        (lambda root: (root / 'val' / 'n99999999').mkdir(), 'val also holds n99999999: '),
        (lambda root: (root / 'val').rename(root / 'test'), f'val lacks {NAME}, '),
    ],
    ids=['empty class', 'renamed class', 'eleventh class', 'no split'],
)
def test_data_set_refuses_other_folders(change, message, tmp_path):
    change(write_folder(tmp_path, files()))
    with pytest.raises(FileNotFoundError, match=f'{message}.*prepare_imagenette.py'):
        Imagenette(str(tmp_path), 'val')
    with pytest.raises(ValueError, match="'train' or 'val', got 'test'"):
        Imagenette(str(tmp_path), 'test')
