"""Files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A name to write to, in the same folder and with the same suffix, which becomes ``path`` in one step at the end.

    After an error nothing of it is left, and a file that was there before stays.
    """
    path = Path(path)
    part = path.with_name(f'.{path.stem}.{os.getpid()}.part{path.suffix}')  # ranks may write the same file at once
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
