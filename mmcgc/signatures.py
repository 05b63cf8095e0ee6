"""Let constructors show every argument that they take, with those of the classes that they extend."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from inspect import Parameter
from typing import Any, TypeVar

Class = TypeVar('Class', bound=type)
_COLLECTED = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


def shows_arguments(*fixed: str) -> Callable[[Class], Class]:
    """Decorate a class whose constructor hands ``**kwargs`` on to that of a base.

    ``help`` and ``inspect.signature`` then name the arguments of the installed base in the place of ``**kwargs``, and
    an editor completes them.  What the constructor does stays as it is.

    Args:
        fixed: Arguments of the base that the class sets by itself, so that nobody else can.
    """

    def decorate(cls: Class) -> Class:
        changed: Any = cls
        if '__init__' not in vars(cls):
            changed.__init__ = _inherited(cls)
        changed.__init__.__signature__ = _signature(cls, fixed)
        return cls

    return decorate


def _inherited(cls: Any) -> Callable:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        super(cls, self).__init__(*args, **kwargs)

    __init__.__doc__ = cls.__init__.__doc__
    return __init__


def _signature(cls: type, fixed: tuple[str, ...]) -> inspect.Signature:
    found, by_position = {'self': Parameter('self', Parameter.POSITIONAL_OR_KEYWORD)}, True
    for base in cls.__mro__:
        if '__init__' not in vars(base):
            continue
        given = list(inspect.signature(vars(base)['__init__']).parameters.values())[1:]
        kinds = {p.kind for p in given}
        for p in given:
            if p.kind not in _COLLECTED and p.name not in {*found, *fixed}:
                found[p.name] = p if by_position else p.replace(kind=Parameter.KEYWORD_ONLY)
        by_position = by_position and Parameter.VAR_POSITIONAL in kinds
        if Parameter.VAR_KEYWORD not in kinds:
            break
    return inspect.Signature(sorted(found.values(), key=lambda p: p.kind))
