"""Refuse pictures that are cut off: decoders fill the missing part of a JPEG with grey and raise no error."""

from mmengine.fileio import FileClient


def check_picture(data: bytes) -> None:
    """Raise ValueError if the bytes of a JPEG, PNG, WebP or BMP file are cut off, or if there are none.

    It looks for the end of the file's own structure and decodes nothing, so it takes microseconds.  What is damaged
    between a good beginning and a good end passes, and so does what is no picture, which the decoder refuses.
    """
    if not data:
        raise ValueError('the picture is empty')
    whole = True
    if data[:2] == b'\xff\xd8':
        whole = _has_jpeg_end(data)
    elif data[:8] == b'\x89PNG\r\n\x1a\n':
        whole = b'IEND\xaeB`\x82' in data[-4096:]
    elif data[:4] == b'RIFF' and data[8:12] == b'WEBP':
        whole = len(data) >= 8 + int.from_bytes(data[4:8], 'little')
    elif data[:2] == b'BM':
        whole = len(data) >= int.from_bytes(data[2:6], 'little')
    if not whole:
        raise ValueError(f'the picture is truncated: its {len(data)} bytes have no end')


def _has_jpeg_end(data: bytes) -> bool:
    """Tell whether an end marker follows the first scan; a thumbnail before that has its own end, in its segment."""
    at = 2
    while data[at : at + 1] == b'\xff':
        marker = data[at + 1 : at + 2]
        if marker == b'\xda':  # a scan begins, in which the two bytes of a marker mean nothing else
            return data.find(b'\xff\xd9', at) > 0
        at += 1 if marker == b'\xff' else 2 + int.from_bytes(data[at + 2 : at + 4], 'big')
    return False


class WholePictures:
    """A file client of MMEngine that gives only whole pictures, for ``RawFrameDecode.file_client``.

    Args:
        backend: The backend of MMEngine's ``FileClient``.
        **kwargs: Its other arguments.
    """

    def __init__(self, backend: str = 'disk', **kwargs) -> None:
        self.client = FileClient(backend, **kwargs)

    def get(self, path: str) -> bytes:
        """Return the bytes of the file.

        Raises:
            ValueError: If it is no whole picture; the message names it.
        """
        data = self.client.get(path)
        try:
            check_picture(data)
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from error
        return data
