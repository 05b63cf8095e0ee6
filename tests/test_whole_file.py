"""A file is written whole, or what was there before stays."""

import os

import pytest

from mmcgc.whole_file import whole_file


def test_takes_its_place_at_the_end(tmp_path):
    path = tmp_path / 'a.pth'
    path.write_text('old')
    with whole_file(path) as part:
        part.write_text('new')
        assert path.read_text() == 'old' and part.parent == tmp_path and part.suffix == '.pth'
    assert path.read_text() == 'new' and os.listdir(tmp_path) == ['a.pth']


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
