"""How the tools tell of a mistake: in one line, and with an exit status."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager

_TOLD = (FloatingPointError, ImportError, OSError, ValueError, pickle.UnpicklingError)
_OF_A_WORKER = ' in DataLoader worker process '  # which is raised anew in the main process


@contextmanager
def plain_errors() -> Iterator[None]:
    """End with ``error: ...`` and status 1 where the library says what is wrong; other errors keep their traceback.

    Raises:
        SystemExit: In place of a file that is missing, a refusal, a value out of range, a loss that is no number.
    """
    try:
        yield
    except _TOLD as error:
        raise SystemExit(f'error: {_one_line(error)}') from error


def _one_line(error: Exception) -> str:
    """What an error says, without the traceback in it and with control characters, as names in files may have, shown
    as escapes."""
    text = str(error)
    if _OF_A_WORKER in text:
        name = f'{type(error).__name__}: '
        text = text.rpartition(f'\n{name}')[2] if f'\n{name}' in text else text.strip().splitlines()[-1]
    line = ' '.join(part.strip() for part in text.splitlines())
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in line).strip()
