"""Import the packages that only a part of mmcgc needs, or tell which ``pip install 'mmcgc[...]'`` brings them."""

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
    """Tell what to install if the module ``name`` is missing; the text is empty if no extra brings it."""
    package = name.partition('.')[0]
    if package == 'mmcv':
        return MMCV
    extra = _EXTRA.get(package)
    return extra and f"pip install 'mmcgc[{extra}]', or pip install -e '.[{extra}]' in the repository" or ''


def import_extra(name: str) -> ModuleType:
    """Import a module of an extra; if that fails, raise an ImportError that says what to install."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f'{name} cannot be imported ({error}): {_remedy(error, name)}') from error


@contextmanager
def optional(registry: Registry, package: str, *names: str) -> Iterator[None]:
    """Surround the imports of modules that need ``package`` and register ``names``.

    If ``package`` is missing or refuses another library, the program goes on, and building one of ``names`` raises an
    ImportError that says what to install.
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
    """Return the remedy for ``name`` if it is missing itself, which brings what it needs, else for what it lacks."""
    missing = find_spec(name.partition('.')[0]) is None
    return not missing and remedy(getattr(error, 'name', None) or '') or remedy(name)
