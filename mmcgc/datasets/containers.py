"""Tell from the bytes of a video file whether it is whole, and whether an edit list hides some of its frames."""

import io
import os
import re
import struct
import sys
from collections.abc import Iterator
from typing import BinaryIO

_TAIL = 1 << 17  # bytes; the last packet of an MPEG program stream and the last page of an Ogg file are shorter
_ASF_FILE = bytes.fromhex('a1dcab8c47a9cf118ee400c00c205365')  # marks the object that holds the file's size


def check_complete(stream: BinaryIO) -> None:
    """Raise ValueError if a video file is empty or visibly cut off.

    FFmpeg plays the rest of many such files as a shorter clip without a word, and decord 0.6.0 crashes the process on a
    truncated AVI file.  AVI, MP4 and its relatives, Matroska, WMV and FLV files hold sizes that are compared with the
    file; MPEG transport and program streams, FLV and Ogg must end where a packet ends.  A file that was cut exactly
    between two packets of an MPEG stream, or that was never finished and therefore holds no size, cannot be told from a
    shorter clip.

    Args:
        stream: The file, opened for reading bytes; its position changes.
    """
    size = stream.seek(0, os.SEEK_END)
    if size == 0:
        raise ValueError('the file is empty')
    head = _read(stream, 0, 4096)
    family = container_family(head)
    if family in _PROMISES:
        promised = _PROMISES[family](stream, size)
        if promised is not None and size < promised:
            raise ValueError(f'truncated: {size} bytes of {promised}')
    if family in _ENDS and not _ENDS[family](stream, size):
        raise ValueError(f'truncated or damaged: its {size} bytes do not end as a packet does')


def container_family(head: bytes) -> str | None:
    """Return the kind of container that the first 400 bytes or more of a file show, or None if it is not known here."""
    starts = {
        b'RIFF': 'riff',
        b'\x1a\x45\xdf\xa3': 'matroska',
        b'FLV\1': 'flv',
        b'OggS': 'ogg',
        b'\0\0\1\xba': 'mpeg-ps',
        b'0&\xb2u': 'asf',
    }
    if head[:4] in starts:
        return starts[head[:4]]
    if head[4:8] in (b'ftyp', b'moov', b'mdat', b'wide', b'free', b'skip', b'styp'):
        return 'mp4'
    return 'mpeg-ts' if _ts_packet(head) else None


def hides_frames(stream: BinaryIO, step: float) -> bool:
    """Tell whether an edit list of an MP4 file may leave out frames of its video, or repeat some.

    Most files have an edit that begins at the first frame and lasts as long as the track; that one hides nothing.

    Args:
        stream: The file, opened for reading bytes.
        step: Seconds from a frame to the next.
    """
    moov = next((_read(stream, start, end) for kind, start, end in _box_places(stream) if kind == b'moov'), b'')
    for kind, track in _boxes(moov):
        media = _inside(track, b'mdia') if kind == b'trak' else b''
        if _inside(media, b'hdlr')[8:12] != b'vide':
            continue
        edits = [edit for edit in _edits(_inside(_inside(track, b'edts'), b'elst')) if edit[1] != -1]
        if not edits:
            continue
        scale, header = _per_second(media, b'mdhd'), _inside(media, b'mdhd')
        length, start = edits[0][0] / _per_second(moov, b'mvhd'), edits[0][1] / scale
        cut = 0 < length < _duration(header) / scale - start - step / 2
        if len(edits) > 1 or cut or start > _first_shown(media) / scale + step / 2:
            return True
    return False


def _read(stream: BinaryIO, start: int, end: int) -> bytes:
    stream.seek(start)
    return stream.read(min(end - start, sys.maxsize))


def _number(data: bytes) -> int:
    return int.from_bytes(data, 'big')


def _box_places(stream: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start of the content and end of every box of an MP4 file, or of a box that holds boxes."""
    size, at = stream.seek(0, os.SEEK_END), 0
    while at < size:
        head = _read(stream, at, at + 16)
        length, kind, start = _number(head[:4]), head[4:8], at + 8
        if length == 1:
            length, start = _number(head[8:]), at + 16
        elif length == 0:
            length = size - at
        if length < start - at or not kind.isascii():
            return  # what follows the last box is no box
        yield kind, start, at + length
        at += length


def _boxes(box: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of the boxes that a box holds."""
    for kind, start, end in _box_places(io.BytesIO(box)):
        yield kind, box[start:end]


def _inside(box: bytes, kind: bytes) -> bytes:
    return dict(_boxes(box)).get(kind, b'')


def _per_second(box: bytes, header: bytes) -> int:
    """Return the units of time in a second, which a header (``mvhd``, ``mdhd``) in a box states."""
    data = _inside(box, header)
    return _number(data[20:24] if data[:1] == b'\1' else data[12:16]) or 1


def _duration(header: bytes) -> int:
    return _number(header[24:32] if header[:1] == b'\1' else header[16:20])


def _first_shown(media: bytes) -> float:
    """Return when the first stored frame is shown, in units of the track, or infinity if the header lists no frames."""
    table = _inside(_inside(media, b'minf'), b'stbl')
    if not _number(_inside(table, b'stts')[4:8]):
        return float('inf')  # they are in fragments, whose edit lists begin at the first frame
    return int.from_bytes(_inside(table, b'ctts')[12:16], 'big', signed=True)


def _edits(box: bytes) -> Iterator[tuple[int, int]]:
    """Yield duration and first media time of each edit; the latter is -1 for a pause before the first frame."""
    width = 8 if box[:1] == b'\1' else 4
    for at in range(8, 8 + _number(box[4:8]) * (2 * width + 4), 2 * width + 4):
        yield _number(box[at : at + width]), int.from_bytes(box[at + width : at + 2 * width], 'big', signed=True)


def _mp4_size(stream: BinaryIO, size: int) -> int | None:
    return max((end for *_, end in _box_places(stream)), default=None)


def _riff_size(stream: BinaryIO, size: int) -> int:
    """Return where the last chunk ends: AVI files beyond a gigabyte go on in further chunks of the same kind."""
    at = 0
    while (head := _read(stream, at, at + 8))[:4] == b'RIFF':
        at += 8 + int.from_bytes(head[4:], 'little')
    return at


def _matroska_size(stream: BinaryIO, size: int) -> int | None:
    head = _read(stream, 0, 256)  # https://www.rfc-editor.org/rfc/rfc8794
    length, start = _ebml_size(head, 4)
    if length is None or head[start + length :][:4] != b'\x18\x53\x80\x67':  # a Segment follows the header
        return None
    length, at = _ebml_size(head, start + length + 4)
    if length is None:
        return None
    end = at + length
    while at < min(end, size):  # the parts of the segment follow each other
        head = _read(stream, at, at + 12)
        width = 4 if head[0] >> 4 == 1 else 1
        if width == 1 and head[0] not in (0xEC, 0xBF):  # only fillers and checksums have ids of one byte
            raise ValueError(f'damaged: at byte {at} of {size} there is no part of a Matroska file')
        length, start = _ebml_size(head, width)
        if length is None:
            break
        at += start + length
    return end


def _ebml_size(data: bytes, at: int) -> tuple[int | None, int]:
    """Return the variable-length integer at ``at``, or None if it stands for an unknown size, and where it ends."""
    first = data[at : at + 1] or b'\0'
    width = 9 - first[0].bit_length()
    value = _number(data[at : at + width]) & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 or width > 8 else value), at + width


def _asf_size(stream: BinaryIO, size: int) -> int | None:
    head = _read(stream, 0, 4096)
    at = head.find(_ASF_FILE)
    return None if at < 0 else int.from_bytes(head[at + 40 : at + 48], 'little')


def _flv_size(stream: BinaryIO, size: int) -> int | None:
    """Return the size in the description that most writers put first, or None if there is no such size."""
    head = _read(stream, 0, 4096)
    at = head.find(b'filesize\0')
    return None if at < 0 else int(struct.unpack('>d', head[at + 9 : at + 17])[0])


def _ends_with_flv_tag(stream: BinaryIO, size: int) -> bool:
    """Tell whether the file ends with a tag and, as after each tag, its length once more."""
    length = _number(_read(stream, size - 4, size))
    head = _read(stream, max(size - 4 - length, 0), size)[:11]
    return head[:1] in (b'\x08', b'\x09', b'\x12') and _number(head[1:4]) == length - 11


def _ts_packet(head: bytes) -> int | None:
    """Return the bytes of an MPEG transport packet (plain, with a time stamp before or a checksum after), or None."""
    for length, at in ((188, 0), (192, 4), (204, 0)):
        if head[at : at + 1] == b'G' == head[at + length : at + length + 1]:
            return length
    return None


def _ends_with_ts_packet(stream: BinaryIO, size: int) -> bool:
    length = _ts_packet(_read(stream, 0, 4096))
    at = size - length + (4 if length == 192 else 0)
    return size % length == 0 and _read(stream, at, at + 1) == b'G'


def _ends_with_ps_packet(stream: BinaryIO, size: int) -> bool:
    tail = _read(stream, max(size - _TAIL, 0), size)
    codes = (code.start() for code in re.finditer(rb'\x00\x00\x01[\xb9\xbb-\xff]', tail))
    return any(
        at + 4 + (0 if tail[at + 3] == 0xB9 else 2 + _number(tail[at + 4 : at + 6])) == len(tail) for at in codes
    )


def _ends_with_ogg_page(stream: BinaryIO, size: int) -> bool:
    """Tell whether the last page says that it is the last, and holds what its table of lengths promises."""
    tail = _read(stream, max(size - _TAIL, 0), size)
    page = tail[tail.rfind(b'OggS') :]
    table = page[27 : 27 + page[26]] if len(page) > 26 else b''
    return bool(table) and page[5] & 4 > 0 and len(page) == 27 + len(table) + sum(table)


_PROMISES = {'riff': _riff_size, 'mp4': _mp4_size, 'matroska': _matroska_size, 'asf': _asf_size, 'flv': _flv_size}
_ENDS = {
    'flv': _ends_with_flv_tag,
    'mpeg-ts': _ends_with_ts_packet,
    'mpeg-ps': _ends_with_ps_packet,
    'ogg': _ends_with_ogg_page,
}
