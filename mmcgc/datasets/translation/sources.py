"""Read text files from a folder or an archive, compressed or not, each from one place that is certain."""

from __future__ import annotations

import glob
import gzip
import lzma
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from ...plain_text import decode_text

_BROKEN = (EOFError, OSError, zlib.error, lzma.LZMAError, tarfile.TarError)


class TextFiles:
    """The files of one folder, which lies on the disk or in a tar archive; each may be gzipped.

    It is the top folder of the source if one of ``marks`` lies there, else the only folder below that holds one.  Other
    folders are not looked into.

    Args:
        source: The folder or archive.
        marks: Names of files by which the folder is found.

    Attributes:
        mark: The one of ``marks`` that was found.

    Raises:
        FileNotFoundError: If there is no such source, or it has none of ``marks``.
        ValueError: If several folders hold one of ``marks``, or the archive is truncated or is none.
    """

    def __init__(self, source: str | Path, *marks: str) -> None:
        self.source = Path(source)
        self._members: list[tuple[PurePosixPath, bytes]] | None = None
        if self.source.is_file():
            self._members = _read_archive(self.source)
        elif not self.source.is_dir():
            raise FileNotFoundError(f'{source} does not exist; give the folder or the archive of the corpus')
        self._folder = Path() if self._members is None else PurePosixPath()
        found = {(mark, self._folder) for mark in marks if self._places(mark)}
        found = found or {(mark, place) for mark in marks for place in self._below(mark)}
        if len(found) > 1:
            listed = ', '.join(sorted(str(self.source / place / mark) for mark, place in found))
            raise ValueError(f'{source} holds more than one corpus: {listed}. Give the folder of the one that is meant')
        if not found:
            raise FileNotFoundError(f'{source} has no file {" or ".join(marks)}')
        ((self.mark, self._folder),) = found

    @property
    def folder(self) -> str:
        """The folder, for a message."""
        return str(self.source / self._folder)

    def _below(self, name: str) -> list[Path] | list[PurePosixPath]:
        """Return the folders below the top one in which a file of that name lies, relative to the top one."""
        depth = len(PurePosixPath(name).parts)
        if self._members is not None:
            paths = [
                path
                for path, _ in self._members
                if path.parts[-depth:] == PurePosixPath(name).parts
                or path.parts[-depth:] == PurePosixPath(f'{name}.gz').parts
            ]
        else:
            paths = [
                path.relative_to(self.source)
                for form in (name, f'{name}.gz')
                for path in self.source.rglob(glob.escape(form))
                if path.is_file()
            ]
        return [path.parents[depth - 1] for path in paths]

    def _places(self, name: str) -> list[tuple[str, bytes | Path]]:
        """Return every file that the name stands for in the folder: its place, for a message, and its bytes or path."""
        forms = [self._folder / name, self._folder / f'{name}.gz']
        if self._members is not None:
            return [(f'{self.source}:{path}', content) for path, content in self._members if path in forms]
        paths = [self.source / form for form in forms]
        return [(str(path), path) for path in paths if path.is_file()]

    def __contains__(self, name: str) -> bool:
        return bool(self._places(name))

    def text(self, name: str) -> str:
        """Return the text of a file.

        Raises:
            FileNotFoundError: If there is no file of that name.
            ValueError: If there are several, or it is truncated or is not UTF-8.
        """
        places = self._places(name)
        if not places:
            raise FileNotFoundError(f'{self.folder} has no file {name}')
        if len(places) > 1:
            raise ValueError(
                f'it is not certain which file is meant, {" or ".join(where for where, _ in places)}: '
                'take the others away'
            )
        ((where, content),) = places
        return read_text(content, where) if isinstance(content, Path) else _decode(content, where)

    def lines(self, name: str) -> list[str]:
        """Return the lines of a file with single spaces for white space; raise what :meth:`text` does."""
        lines = self.text(name).split('\n')
        if lines[-1] == '':
            lines.pop()
        return [' '.join(line.split()) for line in lines]

    def parallel(self, *names: str) -> list[tuple[str, ...]]:
        """Return lines that go together; raise ValueError if the files differ in their number or hold the same text."""
        columns = [self.lines(name) for name in names]
        where = [self._places(name)[0][0] for name in names]
        if len({len(column) for column in columns}) > 1:
            counts = ', '.join(f'{place} has {len(column)} lines' for place, column in zip(where, columns, strict=True))
            raise ValueError(
                f'these files are not parallel: {counts}; one of them was truncated or is of another corpus'
            )
        if not columns[0]:
            raise ValueError(f'{where[0]} has no lines')
        if all(column == columns[0] for column in columns[1:]):
            raise ValueError(f'{" and ".join(where)} hold the same text, not a text and its translation')
        return list(zip(*columns, strict=True))


def read_text(path: Path, where: str | None = None) -> str:
    """Return the text of a file on the disk, unpacked if its name ends in ``.gz``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is truncated or is not UTF-8.
    """
    if not path.is_file():
        raise FileNotFoundError(f'there is no file {path}')
    return _decode(path.read_bytes(), where or str(path))


def _decode(content: bytes, where: str) -> str:
    if where.endswith('.gz'):
        try:
            content = gzip.decompress(content)
        except _BROKEN as error:
            raise ValueError(f'{where} is truncated or is not compressed by gzip: {error}') from error
    return decode_text(content, where)


def _read_archive(source: Path) -> list[tuple[PurePosixPath, bytes]]:
    """Return names and contents of the files of a tar archive."""
    try:
        with tarfile.open(source) as archive:
            members = [
                (PurePosixPath(member.name), archive.extractfile(member).read())
                for member in archive
                if member.isfile()
            ]
            while archive.fileobj.read(1 << 20):  # read on to the checksum at the end of a compressed archive
                pass
    except _BROKEN as error:
        raise ValueError(f'{source} is truncated or is no tar archive: {error}') from error
    return members
