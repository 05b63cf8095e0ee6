"""How far a tool has come, and how long it still takes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from mmengine.utils import track_iter_progress

Task = TypeVar('Task')


def tracked(tasks: Iterable[Task], count: int | None = None) -> Iterator[Task]:
    """Give ``tasks`` one after the other, under MMEngine's bar with the time left.

    The bar goes to standard error, and only to a terminal: a log file would keep every state of it.

    Args:
        tasks: what is worked on.
        count: how many there are, where ``tasks`` has no length; the bar of an unknown number says how many are done.
    """
    if not sys.stderr.isatty():
        yield from tasks
        return
    if count is None:
        count = len(tasks) if isinstance(tasks, Sized) else 0
    yield from track_iter_progress((tasks, count), file=sys.stderr)
