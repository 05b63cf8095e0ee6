"""The packages that only translation needs."""

from importlib import import_module
from types import ModuleType


def import_extra(name: str) -> ModuleType:
    """Import a package of the extra ``text``; ImportError with what to install where it is missing."""
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"{name} cannot be imported ({error}); translation needs it: "
                          "pip install 'mmcgc[text]', or pip install -e '.[text]' in the repository") from error
