"""A bar for those who watch, and nothing for a file."""

import io
import sys

import pytest

from mmcgc.progress import tracked


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize('tasks, count, expected', [
    ([3, 1, 2], None, ['0/3', '1/3', '2/3', '3/3']),
    (iter([3, 1, 2]), 3, ['0/3', '1/3', '2/3', '3/3']),
    (iter([3, 1, 2]), None, ['completed: 0', 'completed: 1', 'completed: 2', 'completed: 3']),
], ids=['list', 'counted', 'unknown'])  # fmt: skip
def test_a_terminal_shows_how_many_are_done(monkeypatch, tasks, count, expected):
    monkeypatch.setattr(sys, 'stderr', terminal := Terminal())
    assert list(tracked(tasks, count)) == [3, 1, 2]
    shown = terminal.getvalue()
    places = [shown.index(text) for text in expected]
    assert places == sorted(places) and shown.endswith('\n')
    assert ('ETA' in shown) == ('/' in expected[0])


def test_a_file_gets_nothing(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'stderr', log := io.StringIO())
    assert list(tracked([3, 1, 2])) == [3, 1, 2]
    assert log.getvalue() == '' and capsys.readouterr().out == ''
