"""Let a checkpoint hold statistics, NumPy arrays and scalars beside tensors and plain data, and no more.

A pickle builds an object and then sets its state, as often as it likes.  The state of an array or of its type says how
much memory is read, and that of a HistoryBuffer reaches its class.  So a file gets hold of none of these: stand-ins
answer to the names in it, take a state once, check all of it, and make the real object of it.
"""

from __future__ import annotations

import math
import pickle
from collections import Counter, OrderedDict

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim import OneCycleParamScheduler

_DTYPES = {type(np.dtype(code)) for code in '?bBhHiIlLqQefdSU'}  # plain numbers and text


class Refused(pickle.UnpicklingError):
    """An error that says what a file asks for and is refused."""


class _Name:
    """A stand-in for a class that a checkpoint names only to fetch one of its methods."""

    def __init__(self, owner: type, *methods: str):
        self.owner, self.methods = owner, methods


class _DType:
    """A stand-in for ``numpy.dtype``, which may be that of numbers or text, in either byte order."""

    def __init__(self, code='', *_):
        try:
            self.dtype = np.dtype(code) if isinstance(code, str) else None
        except TypeError:
            self.dtype = None
        if type(self.dtype) not in _DTYPES or not self.dtype.itemsize:
            raise Refused(f'numpy.dtype with {code!r}')

    def __setstate__(self, state):
        if not isinstance(state, tuple) or len(state) < 6 or state[5] not in (-1, self.dtype.itemsize):
            raise Refused(f'numpy.dtype with the state {state!r}')
        if state[1] not in ('<', '>', '|', '='):
            raise Refused(f'numpy.dtype with the byte order {state[1]!r}')
        self.dtype = self.dtype.newbyteorder(state[1])

    def read(self, data, count: int) -> np.ndarray:
        if not isinstance(data, bytes) or len(data) != count * self.dtype.itemsize:
            raise Refused('a numpy.ndarray whose shape does not fit its data')
        return np.frombuffer(data, self.dtype, count).copy()


class _Array(np.ndarray):
    """A stand-in for ``numpy.ndarray``, which is empty until a state fills it, once."""

    def __new__(cls, *_):
        return super().__new__(cls, (0,), np.int8)

    def __setstate__(self, state):
        valid = isinstance(state, tuple) and len(state) == 5 and 'filled' not in vars(self)
        _, shape, dtype, fortran, data = state if valid else (None,) * 5
        valid = valid and isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)
        if not valid or not isinstance(dtype, _DType):
            raise Refused('numpy.ndarray with an odd state')
        values = dtype.read(data, math.prod(shape))
        self.filled = True
        super().__setstate__((1, shape, values.dtype, bool(fortran), values.tobytes()))

    def __reduce__(self):
        return np.array(self, subok=False).__reduce__()


def _array(kind, *_):
    if kind is not _Array:
        raise Refused(f'a numpy.ndarray of the class {kind!r}')
    return _Array()


def _scalar(dtype, data=None):
    if not isinstance(dtype, _DType):
        raise Refused(f'a NumPy scalar of {dtype!r}')
    return dtype.read(data, 1)[0]


class _History(HistoryBuffer):
    """A stand-in for HistoryBuffer, which becomes one with its state but takes no statistics that a file names."""

    def __init__(self, *_):
        raise Refused('a HistoryBuffer without a state')

    def __setstate__(self, state):
        fields = [state.get(name) for name in ('_log_history', '_count_history')] if isinstance(state, dict) else []
        length = state.get('max_length') if fields else None
        plain = all(
            isinstance(values, _Array) and values.ndim == 1 and values.dtype.kind in 'biuf' for values in fields
        )
        if not fields or not plain or len(fields[0]) != len(fields[1]) or type(length) is not int or length < 1:
            raise Refused('a HistoryBuffer with an odd state')
        vars(self).clear()
        self.__class__ = HistoryBuffer
        self.max_length = length
        self._log_history, self._count_history = (np.array(values, subok=False) for values in fields)
        self._set_default_statistics()


def _method(owner, name):
    """Return ``getattr(owner, name)`` if MMEngine's checkpoints fetch it: a statistic, or the curve of a schedule."""
    known = HistoryBuffer if owner is _History else owner.owner if isinstance(owner, _Name) else None
    names = ('min', 'max', 'current', 'mean') if owner is _History else getattr(owner, 'methods', ())
    if known is None or name not in names:
        raise Refused(f'builtins.getattr with {owner!r}, {name!r}')
    return getattr(known, name)


def allow() -> None:
    """Let ``torch.load(weights_only=True)`` read the checkpoints that MMEngine writes.

    https://github.com/open-mmlab/mmengine/issues/1655; this can be removed once MMEngine writes only tensors and
    plain data.
    """
    one_cycle = f'{OneCycleParamScheduler.__module__}.{OneCycleParamScheduler.__qualname__}'
    torch.serialization.add_safe_globals(
        [
            (_History, f'{HistoryBuffer.__module__}.{HistoryBuffer.__qualname__}'),
            (_Name(OneCycleParamScheduler, '_annealing_cos', '_annealing_linear'), one_cycle),
            (_method, 'builtins.getattr'),
            (_DType, 'numpy.dtype'),
            (_Array, 'numpy.ndarray'),
            *(
                (function, f'numpy.{core}.multiarray.{name}')
                for core in ('core', '_core')
                for name, function in dict(_reconstruct=_array, scalar=_scalar).items()
            ),
        ]
    )


def plain(value, seen: dict | None = None):
    """Copy what was loaded, with the real objects for the stand-ins, and without the attributes of containers.

    Those go because a file may give an OrderedDict a ``get`` or ``items`` of its own.

    Raises:
        RecursionError: If containers are nested too deep.
    """
    seen = {} if seen is None else seen
    if id(value) in seen:
        return seen[id(value)][0]
    kind = type(value)
    if kind in (dict, OrderedDict, Counter):
        copy = kind()
        seen[id(value)] = copy, value
        for key, item in kind.items(value):
            kind.__setitem__(copy, key, plain(item, seen))
        if isinstance(getattr(value, '_metadata', None), dict):  # the versions of the modules, in a state_dict
            copy._metadata = plain(value._metadata, seen)
        return copy
    if kind is list:
        copy = []
        seen[id(value)] = copy, value
        copy.extend(plain(item, seen) for item in value)
        return copy
    if kind is tuple:
        return tuple(plain(item, seen) for item in value)
    if kind is _DType:
        return value.dtype
    if kind is _Array:
        return np.array(value, subok=False)
    if kind is _History:
        raise Refused('a HistoryBuffer without a state')
    return value
