"""Register all parts of mmcgc; MMEngine's hub calls this on a library before it builds one of its models."""

from mmengine.registry import Registry
from mmengine.registry import init_default_scope as make_default_scope

from . import registry


def register_all_modules(init_default_scope: bool = True) -> None:
    """Import everything that registers itself, as OpenMMLab's libraries do.

    Args:
        init_default_scope: Whether ``mmcgc`` becomes the default scope.
    """
    for child in vars(registry).values():
        if isinstance(child, Registry):
            child.import_from_location()
    if init_default_scope:
        make_default_scope('mmcgc')
