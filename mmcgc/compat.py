"""Repair what is broken in the libraries that mmcgc plugs into, on ``import mmcgc``.

Each function repairs one thing, names the thread upstream, says when it may go, and does nothing if all is well.  None
of them imports torchvision, mmpretrain or mmaction.
"""

import functools
import importlib.machinery
import importlib.util
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType

import torch
from mmengine.utils import digit_version

from .checkpoints import contents
from .checkpoints.guard import guard_checkpoint_loading, load_addresses_safely
from .extras import MMCV

_libraries: list[torch.library.Library] = []  # an operator's schema lives as long as the Library object that defined it


def apply() -> None:
    """Apply every remedy that needs no model; it is safe to call this more than once."""
    if importlib.util.find_spec('mmcv'):
        check_mmcv()
    stub_missing_drn()
    leave_multimodal_out()
    define_torchvision_schemas()
    contents.allow()
    load_addresses_safely()
    guard_checkpoint_loading()


def check_mmcv() -> None:
    """Raise ImportError if mmcv cannot be imported or is too old, and warn if mmaction2 refuses it.

    The layers do without mmcv; only what needs mmpretrain or mmaction2 needs it too.

    https://github.com/open-mmlab/mmaction2/issues/2852; the warning can be removed once mmaction2 takes mmcv 2.2.
    """
    try:
        import mmcv
    except ImportError as error:
        raise ImportError(f'mmcgc needs mmcv, which cannot be imported ({error}): {MMCV}') from error
    version = digit_version(mmcv.__version__)
    if version < digit_version('2.0.0rc4'):
        raise ImportError(f'mmcgc needs mmcv>=2.0.0rc4, found {mmcv.__version__}: {MMCV}')
    if version >= digit_version('2.2.0'):
        warnings.warn(f'mmaction2 1.2.0 refuses mmcv {mmcv.__version__}; for video models {MMCV}', stacklevel=2)


def stub_missing_drn() -> None:
    """Provide a stand-in for ``mmaction.models.localizers.drn``, which the wheel of mmaction2 1.2.0 lacks.

    https://github.com/open-mmlab/mmaction2/issues/2714; this may go with the first mmaction2 that ships the folder.
    """
    name = 'mmaction.models.localizers.drn'
    localizers = _folder_of('mmaction', 'models', 'localizers')
    if name in sys.modules or not os.path.isdir(localizers) or os.path.isdir(os.path.join(localizers, 'drn')):
        return

    class DRN:
        """A stand-in for the localizer that the installed mmaction2 lacks; building it raises ImportError."""

        def __init__(self, *args, **kwargs):
            raise ImportError(
                'this mmaction2 was packaged without models/localizers/drn; install mmaction2 from its '
                'repository to use DRN (https://github.com/open-mmlab/mmaction2/issues/2714)'
            )

    for full_name in (name, f'{name}.drn'):
        module = ModuleType(full_name, 'Stand-in made by mmcgc.compat.')
        module.DRN = DRN
        sys.modules[full_name] = module


def leave_multimodal_out() -> None:
    """Let mmpretrain and mmaction be imported beside a transformers that their multimodal models cannot use.

    Those models then ask for their dependencies when they are built, as they do if transformers is missing.
    https://github.com/xinyu1205/recognize-anything/issues/219 is about the same import, which transformers 4.56 moved;
    this can be removed once both libraries import from ``transformers.pytorch_utils``.
    """
    source = _folder_of('transformers', 'modeling_utils.py')
    if not os.path.isfile(source) or 'apply_chunking_to_forward' in Path(source).read_text(encoding='utf-8'):
        return
    for package in ('mmpretrain', 'mmaction'):
        name, path = f'{package}.utils.dependency', _folder_of(package, 'utils', 'dependency.py')
        if name not in sys.modules and os.path.isfile(path):
            spec = importlib.util.spec_from_file_location(name, path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            module.WITH_MULTIMODAL = False
            sys.modules[name] = module


def define_torchvision_schemas() -> None:
    """Let torchvision be imported if its native library does not load (a CUDA build beside a CPU build of torch).

    Its operators still raise errors when they are used; models, transforms and data sets work.
    https://github.com/pytorch/vision/issues/8985; this can be removed once torchvision guards its fake kernels of nms
    and qnms.
    """
    folder = _folder_of('torchvision')
    if 'torchvision' in sys.modules or _libraries or not folder or _loads_native_library(folder):
        return
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for name in ('nms', 'qnms'):
        library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    _libraries.append(library)


def _folder_of(package: str, *parts: str) -> str:
    """Return the path of a part of an installed package, which is not imported; it is empty if there is no package."""
    spec = importlib.util.find_spec(package)
    return os.path.join(os.path.dirname(spec.origin), *parts) if spec and spec.origin else ''


def _loads_native_library(folder: str) -> bool:
    """Tell whether torchvision's ``_C`` loads; if it does not, ``import torchvision`` fails."""
    loader = (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES)
    spec = importlib.machinery.FileFinder(folder, loader).find_spec('_C')
    if spec is None:
        return False
    try:
        torch.ops.load_library(spec.origin)
    except OSError:
        return False
    return True


def widen_action_scores() -> None:
    """Cast the class scores of mmaction2's heads to float32: mmaction2 makes NumPy arrays of them, without bfloat16.

    This is no part of :func:`apply`: it repairs what is loaded, so call it once the model is built.
    https://github.com/pytorch/pytorch/issues/110285; this can be removed once mmaction2 casts before ``numpy()``.
    """
    heads = sys.modules.get('mmaction.models.heads.base')
    for name in ('loss_by_feat', 'predict_by_feat') if heads else ():
        method = getattr(heads.BaseHead, name)
        if not hasattr(method, '__wrapped__'):
            setattr(heads.BaseHead, name, _with_wide_scores(method))


def _with_wide_scores(method):
    @functools.wraps(method)
    def wrapper(self, cls_scores, *args, **kwargs):
        return method(self, cls_scores.float(), *args, **kwargs)

    return wrapper
