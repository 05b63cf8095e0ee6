"""Text files from folders and archives, compressed or not, by name."""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zlib
from pathlib import Path

_BROKEN = (EOFError, OSError, zlib.error, lzma.LZMAError, tarfile.TarError)


class TextFiles:
    """The files of a folder (with its subfolders) or of a tar archive; ``.gz`` at the end of a name is left out.

    Args:
        source: The folder or archive.

    Raises:
        FileNotFoundError: There is no such thing.
        ValueError: The archive is truncated or is none.
    """

    def __init__(self, source: str | Path) -> None:
        self.source = Path(source)
        self._paths: dict[str, Path] = {}
        self._contents: dict[str, bytes] = {}
        if self.source.is_dir():
            for path in sorted(self.source.rglob('*')):
                if path.is_file():
                    self._paths.setdefault(path.name.removesuffix('.gz'), path)
        elif self.source.is_file():
            self._read_archive()
        else:
            raise FileNotFoundError(f'{source} does not exist; give the folder or the archive of the corpus')

    def _read_archive(self) -> None:
        try:
            with tarfile.open(self.source) as archive:
                for member in archive:
                    if member.isfile():
                        content = archive.extractfile(member).read()
                        name = Path(member.name).name
                        content = gzip.decompress(content) if name.endswith('.gz') else content
                        self._contents.setdefault(name.removesuffix('.gz'), content)
                while archive.fileobj.read(1 << 20):  # to the checksum at the end of a compressed archive
                    pass
        except _BROKEN as error:
            raise ValueError(f'{self.source} is truncated or is no tar archive: {error}') from error

    def __contains__(self, name: str) -> bool:
        return name in self._paths or name in self._contents

    def where(self, name: str) -> str:
        """The file, for a message."""
        return str(self._paths.get(name, f'{self.source}:{name}'))

    def lines(self, name: str) -> list[str]:
        """The lines of a file, white space made single spaces.

        Raises:
            FileNotFoundError: There is no file of that name.
            ValueError: It is truncated or is not UTF-8.
        """
        if name not in self:
            raise FileNotFoundError(f'{self.source} has no file {name}')
        try:
            content = self._contents[name] if name in self._contents else self._read(self._paths[name])
            text = content.decode()
        except (*_BROKEN, UnicodeDecodeError) as error:
            raise ValueError(f'{self.where(name)} is truncated or is not UTF-8 text: {error}') from error
        lines = text.split('\n')
        if lines[-1] == '':
            lines.pop()
        return [' '.join(line.split()) for line in lines]

    def parallel(self, *names: str) -> list[tuple[str, ...]]:
        """The lines of files that go together; ValueError where their numbers differ."""
        columns = [self.lines(name) for name in names]
        if len({len(column) for column in columns}) > 1:
            counts = ', '.join(f'{self.where(name)} has {len(c)} lines' for name, c in zip(names, columns, strict=True))
            raise ValueError(f'these files are not parallel: {counts}; one of them was truncated or is of another '
                             'corpus')
        return list(zip(*columns, strict=True))

    @staticmethod
    def _read(path: Path) -> bytes:
        return gzip.decompress(path.read_bytes()) if path.suffix == '.gz' else path.read_bytes()
