"""Check that a value from a file has the form of one that this program has made itself."""

from __future__ import annotations

import math
from collections import Counter
from numbers import Real

from torch import Tensor


def check_form(given, own, where: str, more: bool = False) -> None:
    """Refuse a part of a saved state whose form differs from that of the state that would be saved here.

    Numbers must be finite, and must not be negative if the own one is not.  Texts, functions, true or false, and
    dicts in lists come from the config and must be the same.  Tensors must have the same shape, lists the same
    length, dicts the same keys.  Only an entry whose own value is None, true or false may be missing, because older
    versions of PyTorch do not know every option.

    Args:
        given: The value that the file holds.
        own: The value that it would replace.
        where: The name of the part, for the error.
        more: Whether a dict may hold further plain numbers, which an optimiser may add with its first step.

    Raises:
        ValueError: If the form differs; the error names the part, its value and what was expected.
    """
    if isinstance(own, Counter):
        check_numbers(given, where)
    elif isinstance(own, dict):
        _check_dict(given, own, where, more)
    elif isinstance(own, (list, tuple)):
        if not isinstance(given, (list, tuple)) or len(given) != len(own):
            raise _odd(where, given, f'a list of {len(own)}')
        for i, (theirs, ours) in enumerate(zip(given, own, strict=True)):
            if isinstance(ours, dict) and theirs != ours:
                raise _odd(f'{where}[{i}]', theirs, repr(ours))
            check_form(theirs, ours, f'{where}[{i}]')
    elif isinstance(own, Tensor) and own.dim():
        if not isinstance(given, Tensor) or given.shape != own.shape:
            raise _odd(where, given, f'a tensor of shape {tuple(own.shape)}')
        if given.is_floating_point() and not given.isfinite().all():
            raise ValueError(f'{where} holds NaN or infinity')
    elif own is None or isinstance(own, (Real, Tensor)) and not isinstance(own, bool):
        if not (own is None and given is None):
            _check_number(given, own, where)
    elif type(given) is not type(own) or given != own:
        raise _odd(where, given, repr(own))


def check_numbers(given, where: str) -> None:
    """Refuse a value that is not a dict whose values are finite numbers, true, false or None."""
    if not isinstance(given, dict):
        raise _odd(where, given, 'a dict')
    for key, value in given.items():
        if value is not None and not isinstance(value, bool):
            _check_number(value, None, f'{where}[{_short(key)}]')


def _check_dict(given, own: dict, where: str, more: bool) -> None:
    if not isinstance(given, dict):
        raise _odd(where, given, 'a dict')
    missing = [key for key in own if key not in given and own[key] is not None and not isinstance(own[key], bool)]
    unknown = {key: value for key, value in given.items() if key not in own}
    if missing or (unknown and not more):
        raise ValueError(
            f'{where} lacks {_names(missing)} and holds {_names(unknown)}, which nothing here reads: expected '
            f'{_names(own, len(own))}'
        )
    check_numbers(unknown, where)
    for key, value in own.items():
        if key in given:
            check_form(given[key], value, f'{where}[{_short(key)}]')


def _check_number(given, own, where: str) -> None:
    value = given.item() if isinstance(given, Tensor) and given.numel() == 1 and not given.is_complex() else given
    least = float('-inf') if own is None or not math.isfinite(own) else min(0.0, float(own))
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if math.isnan(number) or number < least or math.isinf(number) and (own is None or math.isfinite(own)):
        raise _odd(where, value, 'a finite number' if least < 0 else f'a finite number of at least {least:g}')


def _odd(where: str, given, expected: str) -> ValueError:
    return ValueError(f'{where} is {_short(given)}, expected {expected}')


def _short(value) -> str:
    """Describe a value in an error: name the size of a tensor or a container, and cut a long text."""
    if isinstance(value, Tensor):
        return f'a tensor of shape {tuple(value.shape)}'
    if isinstance(value, (dict, list, tuple)):
        return f'a {type(value).__name__} of {len(value)}'
    if isinstance(value, int) and value.bit_length() > 64:
        return f'an integer of {value.bit_length()} bits'
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:60]}...'


def _names(keys, most: int = 3) -> str:
    keys = list(keys)
    more = f' and {len(keys) - most} more' if len(keys) > most else ''
    return (', '.join(map(_short, keys[:most])) or 'nothing') + more
