"""Read and write CIFAR-10 batch files in their official Python form, without running what a pickle asks for.

A batch is a pickled dict with ``data``, uint8 (N, 3072), in which a row holds the 32x32 red values of an image, then
the green, then the blue, and with ``labels``, N ints (https://www.cs.toronto.edu/~kriz/cifar.html).
"""

import io
import pickle
import struct

import numpy as np

IMAGE_BYTES = 3 * 32 * 32


class _Array:
    """A stand-in for numpy's array, so that numpy never takes a state from a file."""

    def __init__(self, *_) -> None:
        self.value = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, _, fortran_order, content = state
        content = content.encode('latin1') if isinstance(content, str) else content
        self.value = np.frombuffer(content, np.uint8).reshape(shape, order='F' if fortran_order else 'C')


class _Bytes:
    """A stand-in for numpy's dtype that lets only unsigned bytes in."""

    def __init__(self, name: str, *_) -> None:
        if name != 'u1':
            raise pickle.UnpicklingError(f'holds an array of {name!r}, not of uint8')

    def __setstate__(self, _: tuple) -> None:
        pass


def _encode_latin1(text: str, encoding: str) -> bytes:
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'encodes bytes as {encoding!r}')
    return text.encode('latin1')


class _BatchUnpickler(pickle.Unpickler):
    """An unpickler that knows the five names that a batch can hold, and refuses every other."""

    names = {
        ('numpy.core.multiarray', '_reconstruct'): _Array,
        ('numpy._core.multiarray', '_reconstruct'): _Array,
        ('numpy', 'ndarray'): _Array,
        ('numpy', 'dtype'): _Bytes,
        ('_codecs', 'encode'): _encode_latin1,
    }

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self.names:
            raise pickle.UnpicklingError(f'asks for {module}.{name}, which no batch needs: do not trust this file')
        return self.names[module, name]


class _OfficialPickler(pickle._Pickler):
    """A pickler that writes bytes as Python 2's str, as the official files do; only the pure-Python one can."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_bytes(self, obj: bytes) -> None:
        short = len(obj) < 256
        head = (
            struct.pack('<cB', pickle.SHORT_BINSTRING, len(obj))
            if short
            else struct.pack('<ci', pickle.BINSTRING, len(obj))
        )
        self.write(head + obj)
        self.memoize(obj)

    dispatch[bytes] = save_bytes


def _text(value: object) -> object:
    return value.decode('latin1') if isinstance(value, bytes) else value


def load_batch(content: bytes, source: str) -> tuple[np.ndarray, list[int]]:
    """Read a batch file, whether its strings are Python 2's, bytes or text.

    Args:
        content: The bytes of the file.
        source: Its name, for the errors.

    Returns:
        Images, uint8 (N, 32, 32, 3) in RGB order, and N labels from 0 to 9.

    Raises:
        ValueError: If the file is truncated, asks for code, or holds anything but images and their labels.
    """
    try:
        batch = _BatchUnpickler(io.BytesIO(content), encoding='latin1').load()
        batch = {_text(key): value for key, value in batch.items()}
        images, labels = batch['data'].value, batch['labels']
        if not (images.ndim == 2 and images.shape[1] == IMAGE_BYTES):
            raise ValueError(f'images of shape {images.shape} instead of (N, {IMAGE_BYTES})')
        if len(labels) != len(images):
            raise ValueError(f'{len(images)} images but {len(labels)} labels')
        if not all(type(label) is int and 0 <= label < 10 for label in labels):
            raise ValueError('a label that is not an integer from 0 to 9')
    except Exception as error:
        raise ValueError(
            f'{source} is no CIFAR-10 batch, or it is damaged: {error!r}. Make the folder anew with '
            'tools/data/prepare_cifar10.py'
        ) from error
    return images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels  # (N, 32, 32, 3)


def dump_batch(images: np.ndarray, labels: list[int], **extra) -> bytes:
    """Make the batch file of uint8 (N, 32, 32, 3) RGB images; ``extra`` adds further fields of bytes, ints or lists."""
    rows = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)  # (N, 3072)
    return dump_official(dict(data=rows, labels=[int(label) for label in labels], **extra))


def dump_official(record: dict) -> bytes:
    """Pickle a dict in the form of the official files: protocol 2, with Python 2's strings."""
    buffer = io.BytesIO()
    _OfficialPickler(buffer, protocol=2).dump({key.encode(): value for key, value in record.items()})
    return buffer.getvalue()
