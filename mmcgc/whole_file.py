"""Write files and folders that are whole or not there, and never over what they are made from."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: str | Path, inputs: Iterable[str | Path] = ()) -> Iterator[Path]:
    """Yield a name to write to, beside ``path`` and with its suffix; the file becomes ``path`` in one step at the end.

    After an error nothing of it is left, and a file that was there before stays.  Its content is on the disk before it
    takes its place, so that a power cut does not leave an empty file either.  Missing folders are made.  A link stays
    a link, and a device or a pipe (``/dev/stdout``) is written to as it is.

    Args:
        path: The file to write.
        inputs: What the content is made from (see :func:`check_outputs`).

    Raises:
        ValueError: If ``path`` is a folder, or one of the inputs.
        OSError: If the file cannot be written; the error names ``path``.
    """
    path = Path(os.path.realpath(path))
    check_outputs([path], inputs)
    if path.is_dir():
        raise ValueError(f'cannot write {path}: it is a folder; give the name of a file')
    if path.exists() and not path.is_file():
        yield path
        return
    part = path.with_name(f'.{path.stem}.{os.getpid()}.part{path.suffix}')  # ranks may write the same file at once
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        _flush(part)
        os.replace(part, path)
        _flush(path.parent)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(part)):  # a full disk is reported without a name
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        part.unlink(missing_ok=True)


def write_whole_files(folder: str | Path, files: Iterable[tuple[str, str | bytes]]) -> None:
    """Write several files; they take their places in a folder, in their order, only once all of them are written.

    Text is written in UTF-8 with the line ends that it has.  After an error what was in the folder before stays.

    Args:
        folder: Where they go; it is made if it is missing.
        files: Name and content of each; the iterator may raise an error at any file.
    """
    folder = Path(folder)
    made = not folder.is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=f'.{os.getpid()}.') as staging:
            names = []
            for name, content in files:
                part = Path(staging, name)
                part.write_bytes(content.encode() if isinstance(content, str) else content)
                _flush(part)
                names.append(name)
            for name in names:
                os.replace(Path(staging, name), folder / name)
            _flush(folder)
    except BaseException:
        if made and not any(folder.iterdir()):
            folder.rmdir()
        raise


@contextmanager
def whole_folder(path: str | Path, keep: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside ``path``, which takes its place at the end; after an error ``path`` is as it was.

    Args:
        path: The folder to write.
        keep: Whether a folder that is there by then stays, because another process was first; else it is replaced.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f'.{path.name}.{os.getpid()}.') as staging:
        new, old = Path(staging, 'new'), Path(staging, 'old')
        new.mkdir()
        yield new
        os.sync()  # to flush thousands of files one by one would take minutes
        if path.exists() and keep:
            return
        if path.exists():
            os.replace(path, old)
        try:
            os.replace(new, path)
        except OSError:
            if old.exists():
                os.replace(old, path)
            if not (keep and path.is_dir()):
                raise
        _flush(path.parent)


def check_outputs(outputs: Iterable[str | Path], inputs: Iterable[str | Path]) -> None:
    """Refuse to write what is read, under whatever name: the same file, a file in a folder that is read, or a folder
    that holds what is read.  Refuse a place where nothing can be written, too, before the work is done.

    Raises:
        ValueError: If an output is refused; the message names it, and the input or the place that is in its way.
    """
    inputs = [str(path) for path in inputs]
    for output in map(str, outputs):
        ours = Path(os.path.realpath(output))
        folder = ours if ours.is_dir() else next(path for path in ours.parents if path.exists())
        is_device = ours.exists() and not ours.is_dir() and not ours.is_file()
        if not is_device and not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise ValueError(f'cannot write {output}: {folder} is no folder that can be written to; give another place')
        for read in inputs:
            theirs = Path(os.path.realpath(read))
            linked = ours.is_file() and theirs.is_file() and ours.samefile(theirs)
            if linked or ours == theirs or ours in theirs.parents or theirs in ours.parents:
                how = 'is' if linked or ours == theirs else 'lies in' if theirs in ours.parents else 'holds'
                raise ValueError(f'cannot write {output}: it {how} {read}, which is read; give another place')


def remove_parts(folder: str | Path, suffix: str) -> None:
    """Remove what killed processes have left of files that :func:`whole_file` wrote into a folder."""
    for part in Path(folder).glob(f'.*.part{suffix}'):
        part.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
