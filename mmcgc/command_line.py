"""Let the tools report a mistake in one line and with an exit status."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager

_TOLD = (FloatingPointError, ImportError, OSError, ValueError, pickle.UnpicklingError)
_OF_A_WORKER = ' in DataLoader worker process '  # torch says so when it raises the error of a worker anew


@contextmanager
def plain_errors() -> Iterator[None]:
    """End with ``error: ...`` and status 1 if the library says what is wrong; keep the traceback of other errors.

    Raises:
        SystemExit: If a file is missing, something is refused, a value is out of range, or a loss is no number.
    """
    try:
        yield
    except _TOLD as error:
        raise SystemExit(f'error: {_one_line(error)}') from error


def _one_line(error: Exception) -> str:
    """Return what an error says in one line, without a traceback in it; control characters, which names in files may
    have, become escapes."""
    text = str(error)
    if _OF_A_WORKER in text:
        name = f'{type(error).__name__}: '
        text = text.rpartition(f'\n{name}')[2] if f'\n{name}' in text else text.strip().splitlines()[-1]
    line = ' '.join(part.strip() for part in text.splitlines())
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in line).strip()
