"""Texts that are real but odd, each with what must become of it.

``SOURCES`` are ways to alter a folder of plain pairs before it is prepared, ``TOKENISED`` those of tokenised text,
``CODES`` files of merges, ``INPUTS`` what is given to ``tools/translate.py``.  An outcome is ``right`` (the result is
that of the plain text), a ``Refused`` with what the error must say, or a ``Counted`` with what the report must say.
"""

from __future__ import annotations

import codecs
import gzip
import shutil
import tarfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Refused(NamedTuple):
    message: str


class Counted(NamedTuple):
    message: str


RIGHT = 'right'


def each_file(change: Callable[[str], bytes], *names: str) -> Callable[[Path], Path]:
    """Rewrites files of the folder, by default the training text of both languages."""

    def alter(folder: Path) -> Path:
        for name in names or ('train.de', 'train.en'):
            path = folder / name
            path.write_bytes(change(path.read_text(encoding='utf-8')))
        return folder

    return alter


def encoded(encoding: str, mark: bytes = b'') -> Callable[[str], bytes]:
    return lambda text: mark + text.encode(encoding)


def in_pieces(text: str, form: str = '{}@@ {}') -> bytes:
    return '\n'.join(
        ' '.join(form.format(word[:2], word[2:]) for word in line.split()) for line in text.split('\n')
    ).encode()


def tokenised(text: str) -> bytes:
    return text.replace('.\n', ' .\n').lower().encode()


def with_copy(name: str, keep: bool, change: Callable[[str], bytes] = str.encode) -> Callable[[Path], Path]:
    """A folder below that holds the corpus too, altered; or two such folders and nothing on top."""

    def alter(folder: Path) -> Path:
        texts = [path for path in folder.iterdir() if path.is_file()]
        for below in (name,) if keep else (name, f'{name}-2'):
            (folder / below).mkdir()
            for path in texts:
                (folder / below / path.name).write_bytes(change(path.read_text(encoding='utf-8')))
        for path in () if keep else texts:
            path.unlink()
        return folder

    return alter


def fairseq(folder: Path) -> Path:
    """What fairseq's script leaves: pieces of words on top, the words in ``tmp``."""
    with_copy('tmp', keep=True, change=tokenised)(folder)
    return each_file(in_pieces, *(path.name for path in folder.iterdir() if path.is_file()))(folder)


def shouting_copy(text: str) -> bytes:
    return text.upper().encode()


def beside_gzip(folder: Path) -> Path:
    (folder / 'train.de.gz').write_bytes(gzip.compress((folder / 'train.de').read_bytes()))
    return folder


def twice_in_archive(folder: Path) -> Path:
    """An archive to which a changed file was appended, as ``tar --append`` does."""
    path = folder.with_name('twice.tar')
    with tarfile.open(path, 'w') as archive:
        archive.add(folder, 'corpus')
        archive.add(folder / 'test.de', 'corpus/test.de')
    return path


def zipped(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder), 'zip', folder))


def half_of_gzip(folder: Path) -> Path:
    content = gzip.compress((folder / 'valid.en').read_bytes())
    (folder / 'valid.en').unlink()
    (folder / 'valid.en.gz').write_bytes(content[: len(content) // 2])
    return folder


def empty_lines(folder: Path) -> Path:
    for name, number in (('train.de', 3), ('train.en', 7)):
        lines = (folder / name).read_text(encoding='utf-8').split('\n')
        lines[number] = ' \t'
        (folder / name).write_text('\n'.join(lines), encoding='utf-8')
    return folder


SOURCES: dict[str, tuple[Callable[[Path], Path], str | Refused | Counted]] = {
    'byte order mark': (each_file(encoded('utf-8', codecs.BOM_UTF8)), RIGHT),
    'two marked files joined': (
        each_file(lambda text: text[:1].encode('utf-8-sig') + text[1:].replace('\n', '\n\ufeff', 1).encode()),
        RIGHT,
    ),
    'UTF-16, little end first': (each_file(encoded('utf-16-le', codecs.BOM_UTF16_LE)), Refused('UTF-16.*iconv')),
    'UTF-16, big end first': (each_file(encoded('utf-16-be', codecs.BOM_UTF16_BE)), Refused('UTF-16.*iconv')),
    'UTF-16 without a mark': (each_file(encoded('utf-16-le'), 'valid.en'), Refused('zero byte.*UTF-16')),
    'UTF-32': (each_file(encoded('utf-32')), Refused('UTF-32.*iconv')),
    'Latin-1': (each_file(encoded('latin-1'), 'train.de'), Refused('byte 0xe4.*LATIN1')),
    'lines end as in Windows': (each_file(lambda text: text.replace('\n', '\r\n').encode()), RIGHT),
    'lines end as in old Macs': (
        each_file(lambda text: text.replace('\n', '\r').encode()),
        Refused('carriage returns alone.*tr '),
    ),
    'no end of the last line': (each_file(lambda text: text.rstrip('\n').encode()), RIGHT),
    'other spaces and separators': (
        each_file(lambda text: text.replace(' ', '\xa0').replace('.\n', '.\u2028\x85\x0b\n').encode()),
        RIGHT,
    ),
    'accents beside their letters': (
        each_file(lambda text: unicodedata.normalize('NFD', text).encode(), 'train.de'),
        RIGHT,
    ),
    'empty lines': (empty_lines, Counted('train: 2 of 200 pairs left out')),
    'an older copy below': (with_copy('old', keep=True, change=shouting_copy), RIGHT),
    'two copies below': (
        with_copy('copy', keep=False),
        Refused('more than one corpus: .*copy-2/train.de, .*copy/train.de'),
    ),
    'beside its gzipped form': (beside_gzip, Refused('not certain .*train.de or .*train.de.gz')),
    'twice in an archive': (twice_in_archive, Refused('not certain .*test.de or .*test.de')),
    'a zip archive': (zipped, Refused('no tar archive')),
    'half a gzipped file': (half_of_gzip, Refused('valid.en.gz is truncated')),
    'gzipped under another name': (
        each_file(lambda text: gzip.compress(text.encode()), 'train.de'),
        Refused('not UTF-8.*Unpack'),
    ),
    'the folder of fairseq': (fairseq, Refused('pieces of words already.*folder tmp')),
    'pieces of SentencePiece': (
        each_file(lambda text: in_pieces(text, '▁{}{}'), 'test.en'),
        Refused('pieces of words already'),
    ),
    'tokenised text': (each_file(tokenised), Refused('add --tokenised')),
    'no lines': (each_file(lambda text: b'', 'test.de', 'test.en'), Refused('test.de has no lines')),
    'one language twice': (
        lambda folder: Path(shutil.copy(folder / 'train.de', folder / 'train.en')).parent,
        Refused('hold the same text'),
    ),
}

TOKENISED = {
    'words as one writes them': (lambda folder: folder, Refused('leave --tokenised out')),
    'capitals': (
        each_file(lambda text: tokenised(text).decode().title().encode(), 'train.de', 'test.de', 'test.en'),
        RIGHT,
    ),
}

MERGES = '#version: 0.2\nh u\nhu n\nhun d</w>\nl ä\n'
CODES: dict[str, tuple[bytes, str | Refused]] = {
    'byte order mark': (MERGES.encode('utf-8-sig'), RIGHT),
    'lines end as in Windows': (MERGES.replace('\n', '\r\n').encode(), RIGHT),
    'empty lines at the end': (MERGES.encode() + b'\n\n', RIGHT),
    'merges that hold spaces': ((MERGES + '\xa0 a\nb\u2028 c\n\u3000 \x85\n').encode(), RIGHT),
    'UTF-16': (MERGES.encode('utf-16'), Refused('UTF-16')),
    'counts beside the merges': (b'h u 12\nhu n 9\n', Refused('line 1: expected two symbols')),
    'no merges': (b'#version: 0.2\n', Refused('holds no merges')),
    'an empty file': (b'', Refused('expected two symbols|holds no merges')),
}

TEXT = 'Der Hund läuft.\nEin Haus schläft nicht.\n'
INPUTS: dict[str, tuple[bytes, str | Refused | Counted]] = {
    'byte order mark': (TEXT.encode('utf-8-sig'), RIGHT),
    'lines end as in Windows': (TEXT.replace('\n', '\r\n').encode(), RIGHT),
    'no end of the last line': (TEXT.rstrip('\n').encode(), RIGHT),
    'accents beside their letters': (unicodedata.normalize('NFD', TEXT).encode(), RIGHT),
    'UTF-16': (TEXT.encode('utf-16'), Refused('UTF-16 text.*iconv -f UTF-16')),
    'UTF-16 without a mark': (TEXT.encode('utf-16-le'), Refused('zero byte|not UTF-8')),
    'Latin-1': (TEXT.encode('latin-1'), Refused('byte 0xe4.*LATIN1')),
    'lines end as in old Macs': (TEXT.replace('\n', '\r').encode(), Refused('carriage returns alone')),
    'gzipped': (gzip.compress(TEXT.encode()), Refused('not UTF-8.*Unpack')),
    'pieces of words': (in_pieces(TEXT.rstrip('\n')), Counted('2 in pieces of words already')),
    'another script': ('日本語のテキスト\n'.encode(), Counted('1 of mostly unknown words')),
    'empty lines': (b'\n \n' + TEXT.encode(), Counted('2 empty')),
}
