"""A file is written whole, or what was there before stays; and nothing is written over what it is made from."""

import os
from pathlib import Path

import pytest

from mmcgc.whole_file import check_outputs, remove_parts, whole_file, whole_folder, write_whole_files


def test_takes_its_place_at_the_end(tmp_path):
    path = tmp_path / 'a.pth'
    path.write_text('old')
    with whole_file(path) as part:
        part.write_text('new')
        assert path.read_text() == 'old' and part.parent == tmp_path and part.suffix == '.pth'
        assert str(os.getpid()) in part.name
    assert path.read_text() == 'new' and os.listdir(tmp_path) == ['a.pth']


def test_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, 'fsync', lambda number: (done.append('fsync'), fsync(number)))
    monkeypatch.setattr(os, 'replace', lambda *paths: (done.append('replace'), replace(*paths)))
    with whole_file(tmp_path / 'a.pth') as part:
        part.write_text('new')
    assert done == ['fsync', 'replace', 'fsync']  # the file, its place, the folder


@pytest.mark.parametrize('before', [None, 'old'], ids=['nothing', 'a-file'])
def test_after_an_error_all_is_as_before(tmp_path, before):
    path = tmp_path / 'a.csv'
    if before:
        path.write_text(before)
    with pytest.raises(OSError, match='full'), whole_file(path) as part:
        part.write_text('half')
        raise OSError('the disk is full')
    assert os.listdir(tmp_path) == (['a.csv'] if before else [])
    assert not before or path.read_text() == before


def test_a_full_disk_names_the_file_and_not_its_part(tmp_path):
    with pytest.raises(OSError, match=r"No space left on device: '.*/a\.csv'"), whole_file(tmp_path / 'a.csv') as part:
        part.symlink_to('/dev/full')
        part.write_text('new')
    assert os.listdir(tmp_path) == []


def test_a_link_stays_one_and_a_missing_folder_is_made(tmp_path):
    link = tmp_path / 'link.txt'
    link.symlink_to(tmp_path / 'deep/a.txt')
    with whole_file(link) as part:
        part.write_text('new')
    assert link.is_symlink() and (tmp_path / 'deep/a.txt').read_text() == 'new'


def test_a_folder_is_refused_and_a_device_is_written_to(tmp_path):
    with pytest.raises(ValueError, match='it is a folder'), whole_file(tmp_path):
        pass
    with whole_file('/dev/null') as part:
        part.write_text('new')
    assert Path('/dev/null').is_char_device()


@pytest.mark.parametrize('name', ['a.txt', './b/../a.txt', 'symbolic.txt', 'hard.txt'])
def test_an_input_is_not_written_under_any_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path('b').mkdir()
    Path('a.txt').write_text('old')
    Path('symbolic.txt').symlink_to('a.txt')
    Path('hard.txt').hardlink_to('a.txt')
    with pytest.raises(ValueError, match='cannot write .*a.txt, which is read'), whole_file(name, ['a.txt']):
        pass
    assert Path('a.txt').read_text() == 'old'


@pytest.mark.parametrize(
    'output, read, how', [('data', 'data', 'is'), ('data/out', 'data', 'lies in'), ('data', 'data/raw/a.tgz', 'holds')]
)
def test_a_folder_that_is_read_is_not_written(tmp_path, output, read, how):
    with pytest.raises(ValueError, match=f'it {how} .*{read}, which is read'):
        check_outputs([tmp_path / output], [tmp_path / read])
    check_outputs([tmp_path / 'data/out'], [tmp_path / 'data/output', tmp_path / 'data/raw'])


def test_a_place_that_cannot_be_written_to_is_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / 'a.txt').touch()
    with pytest.raises(ValueError, match=r'cannot write .*a.txt/deep/b.txt: .*a.txt is no folder that can be written'):
        check_outputs([tmp_path / 'a.txt/deep/b.txt'], [])
    asked = []
    monkeypatch.setattr(os, 'access', lambda path, mode: asked.append(path))
    with pytest.raises(ValueError, match='is no folder that can be written to'):
        check_outputs([tmp_path / 'new/b.txt'], [])
    with pytest.raises(ValueError, match='is no folder that can be written to'):
        check_outputs([tmp_path], [])  # a folder that is there is asked itself, and not the one above it
    check_outputs(['/dev/null'], [])
    assert asked == [tmp_path, tmp_path]


@pytest.mark.parametrize('fails', [False, True])
def test_several_files_are_written_together(tmp_path, fails):
    folder = tmp_path / 'lists'
    folder.mkdir()
    for name in ('a.txt', 'mine.txt'):
        (folder / name).write_text('old')

    def files():
        yield 'a.txt', 'new\r\n'
        if fails:
            raise ValueError('b.txt cannot be made')
        yield 'b.txt', b'new'

    if fails:
        with pytest.raises(ValueError, match='cannot be made'):
            write_whole_files(folder, files())
    else:
        write_whole_files(folder, files())
    expected = (
        {'a.txt': b'old', 'mine.txt': b'old'} if fails else {'a.txt': b'new\r\n', 'b.txt': b'new', 'mine.txt': b'old'}
    )
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == expected
    assert os.listdir(tmp_path) == ['lists']


def test_no_folder_is_left_where_there_was_none(tmp_path):
    with pytest.raises(ZeroDivisionError):
        write_whole_files(tmp_path / 'lists', ((f'{i}.txt', str(1 // i)) for i in (2, 1, 0)))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    'keep, fails, left',
    [(False, False, 'new'), (True, False, 'old'), (False, True, 'old')],
    ids=['replaced', 'kept', 'failed'],
)
def test_a_folder_is_replaced_as_a_whole(tmp_path, keep, fails, left):
    folder = tmp_path / 'train'
    folder.mkdir()
    (folder / 'old').touch()
    try:
        with whole_folder(folder, keep) as new:
            (new / 'new').touch()
            if fails:
                raise ValueError('no image')
    except ValueError:
        assert fails
    assert os.listdir(folder) == [left] and os.listdir(tmp_path) == ['train']


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path, monkeypatch):
    (tmp_path / 'train').mkdir()
    (tmp_path / 'train/old').touch()
    replace = os.replace

    def refuse_the_new(source, target):
        if Path(source).name == 'new':
            raise OSError('no')
        replace(source, target)

    monkeypatch.setattr(os, 'replace', refuse_the_new)
    with pytest.raises(OSError, match='no'), whole_folder(tmp_path / 'train'):
        pass
    assert os.listdir(tmp_path / 'train') == ['old']


def test_what_a_killed_process_left_is_removed(tmp_path):
    for name in ('.a.17.part.pth', '.b.17.part.csv', 'a.pth', 'part.pth'):
        (tmp_path / name).touch()
    remove_parts(tmp_path, '.pth')
    assert sorted(os.listdir(tmp_path)) == ['.b.17.part.csv', 'a.pth', 'part.pth']
