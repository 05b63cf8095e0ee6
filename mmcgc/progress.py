"""Show how far a tool has come, and how long it still takes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from mmengine.utils import track_iter_progress

Task = TypeVar('Task')


def tracked(tasks: Iterable[Task], count: int | None = None) -> Iterator[Task]:
    """Yield ``tasks`` one after the other, while MMEngine's bar shows the time that is left.

    The bar goes to standard error, and only to a terminal: a log file would keep every state of it.

    Args:
        tasks: What is worked on.
        count: How many there are, if ``tasks`` has no length; the bar of an unknown number says how many are done.
    """
    if not sys.stderr.isatty():
        yield from tasks
        return
    if count is None:
        count = len(tasks) if isinstance(tasks, Sized) else 0
    yield from track_iter_progress((tasks, count), file=sys.stderr)
