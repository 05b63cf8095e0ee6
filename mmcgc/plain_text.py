"""Decode text in UTF-8, and refuse everything else."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable, Iterator

_BYTE_ORDER_MARK = '\ufeff'
_OTHER_MARKS = {  # UTF-32 comes first, because its mark begins like that of UTF-16
    codecs.BOM_UTF32_LE: 'UTF-32',
    codecs.BOM_UTF32_BE: 'UTF-32',
    codecs.BOM_UTF16_LE: 'UTF-16',
    codecs.BOM_UTF16_BE: 'UTF-16',
}


def decode_lines(lines: Iterable[bytes], where: str) -> Iterator[str]:
    """Yield the lines of a file with their ends and without byte order marks.

    Args:
        lines: The lines in bytes, as a file opened in binary mode gives them.
        where: The file, for the error.

    Raises:
        ValueError: If they are UTF-16, Latin-1 or no text at all, or end in carriage returns alone; the message says
            how to convert them.
    """
    for number, line in enumerate(lines, 1):
        other = next((name for mark, name in _OTHER_MARKS.items() if line.startswith(mark)), None)
        if other and number == 1:
            raise ValueError(f'{where} is {other} text, not UTF-8: {_convert(other)}')
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise ValueError(
                f'{where} is not UTF-8 text: line {number} has the byte 0x{line[error.start]:02x} in the '
                f'wrong place. Unpack a compressed file; Latin-1: {_convert("LATIN1")}'
            ) from error
        if '\0' in text:
            raise ValueError(
                f'{where} is no text: line {number} has a zero byte. If it is UTF-16 without a byte order '
                f'mark, {_convert("UTF-16LE")}'
            )
        if number == 1 and not text.endswith('\n') and '\r' in text.rstrip('\r'):
            raise ValueError(
                f'{where} ends its lines with carriage returns alone: convert it, '
                r"tr '\r' '\n' < OLD > NEW"
            )
        yield text.replace(_BYTE_ORDER_MARK, '')


def decode_text(content: bytes, where: str) -> str:
    """Return the text of a whole file; see :func:`decode_lines`."""
    return ''.join(decode_lines(io.BytesIO(content), where))


def _convert(encoding: str) -> str:
    return f'convert it, iconv -f {encoding} -t UTF-8 OLD > NEW'
