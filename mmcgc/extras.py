"""The packages that only a part of mmcgc needs, and the extra of ``pip install 'mmcgc[...]'`` that brings each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from mmengine.registry import Registry

EXTRAS = {
    'image': ('mmpretrain', 'torchvision', 'sklearn', 'safetensors'),
    'video': ('mmaction', 'decord'),
    'analysis': ('matplotlib', 'scipy', 'fvcore', 'pytorch_grad_cam', 'tensorboard'),
    'text': ('num2words', 'sacrebleu', 'sacremoses', 'subword_nmt'),
    'export': ('onnx', 'onnxruntime', 'onnxscript'),
}
_EXTRA = {package: extra for extra, packages in EXTRAS.items() for package in packages}
MMCV = 'install it with `pip install mmcv-lite==2.1.0`, or a full mmcv>=2.0.0rc4,<2.2.0'


def remedy(name: str) -> str:
    """What to install where the module ``name`` is missing; empty for one that no extra brings."""
    package = name.partition('.')[0]
    if package == 'mmcv':
        return MMCV
    extra = _EXTRA.get(package)
    return extra and f"pip install 'mmcgc[{extra}]', or pip install -e '.[{extra}]' in the repository" or ''


def import_extra(name: str) -> ModuleType:
    """Import a module of an extra; ImportError with what to install where it is missing."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f'{name} cannot be imported ({error}): {_remedy(error, name)}') from error


@contextmanager
def optional(registry: Registry, package: str, *names: str) -> Iterator[None]:
    """Import within what ``package`` is needed for, and registers ``names``.

    Where ``package`` is missing or refuses another library, the import goes on, and building one of ``names`` raises
    ImportError with what to install.
    """
    try:
        yield
    except (ImportError, AssertionError) as error:
        cause = error
        for name in names:

            def missing(*args: Any, _name: str = name, **kwargs: Any) -> None:
                raise ImportError(f'{_name} needs {package} ({cause}): {_remedy(cause, package)}') from cause

            registry.register_module(name, module=missing)


def _remedy(error: Exception, name: str) -> str:
    """That of ``name`` where it is missing itself, which brings what it needs; else that of what it lacks."""
    missing = find_spec(name.partition('.')[0]) is None
    return not missing and remedy(getattr(error, 'name', None) or '') or remedy(name)
