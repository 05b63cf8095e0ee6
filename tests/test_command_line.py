"""A mistake is told in one line by every tool; what is no mistake of the user keeps its traceback."""

import pickle

import pytest
from helpers import ROOT
from torch.utils.data import DataLoader, Dataset

from mmcgc.command_line import plain_errors

TOOLS = sorted(path for path in ROOT.glob('tools/**/*.py'))


@pytest.mark.parametrize(
    'error',
    [
        FileNotFoundError(2, 'No such file', 'none.py'),
        OSError(28, 'No space left'),
        ValueError('odd'),
        pickle.UnpicklingError('refused'),
        ImportError('missing'),
        FloatingPointError('the loss is nan'),
    ],
    ids=repr,
)
def test_mistakes_are_one_line(error):
    with pytest.raises(SystemExit, match='^error: ') as info, plain_errors():
        raise error
    assert str(error) in str(info.value)


def test_an_error_of_a_worker_is_told_without_its_traceback():
    loader = DataLoader(Unreadable(), num_workers=1)
    with pytest.raises(SystemExit, match='^error: a.jpg is empty mend it$'), plain_errors():
        next(iter(loader))


class Unreadable(Dataset):
    """A data set whose samples raise an error that another one caused."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise ValueError('a.jpg is empty\n  mend it') from KeyError('first')


def test_names_from_files_cannot_write_to_the_terminal():
    with pytest.raises(SystemExit) as stop, plain_errors():
        raise ValueError('no layer \x1b[2J\rcalled \u202eé')
    assert str(stop.value) == 'error: no layer \\x1b[2J called \\u202eé'


@pytest.mark.parametrize('error', [KeyError('a'), AttributeError('b'), TypeError('c')], ids=repr)
def test_faults_of_the_code_keep_their_traceback(error):
    with pytest.raises(type(error)), plain_errors():
        raise error


@pytest.mark.parametrize('tool', TOOLS, ids=[str(path.relative_to(ROOT)) for path in TOOLS])
def test_every_tool_tells_mistakes_so(tool):
    source = tool.read_text(encoding='utf-8')
    assert 'with plain_errors()' in source or "raise SystemExit(f'error: {error}')" in source
