"""How the tools tell of a mistake: in one line, and with an exit status."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager

_TOLD = (FloatingPointError, ImportError, OSError, ValueError, pickle.UnpicklingError)


@contextmanager
def plain_errors() -> Iterator[None]:
    """End with ``error: ...`` and status 1 where the library says what is wrong; other errors keep their traceback.

    Raises:
        SystemExit: In place of a file that is missing, a refusal, a value out of range, a loss that is no number.
    """
    try:
        yield
    except _TOLD as error:
        raise SystemExit(f'error: {error}') from error
