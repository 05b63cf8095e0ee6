"""Remedies for breakages of the libraries that mmcgc plugs into, applied on ``import mmcgc``.

Each function mends one breakage, names the upstream thread, says when it may go, and does nothing where the breakage is
absent.  None of them imports torchvision, mmpretrain or mmaction.
"""

import functools
import importlib.machinery
import importlib.util
import os
import pickle
import re
import sys
import warnings
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log
from mmengine.optim import OneCycleParamScheduler
from mmengine.runner import checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from mmengine.utils import digit_version

from .extras import MMCV

_METHODS = {  # what MMEngine's own checkpoints fetch with getattr: statistics, and the curve of a one-cycle schedule
    HistoryBuffer: ('min', 'max', 'current', 'mean'),
    OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear'),
}
_NUMPY_DTYPES = {type(np.dtype(code)) for code in '?bBhHiIlLqQefdSU'}  # plain numbers and text
_REFUSED = re.compile(  # what torch's restricted unpickler says of anything that it will not look up, call or build
    r'(?:GLOBAL|unrecognized function|`add_safe_globals`,? but got) (.+?)(?: was not | whose module |$)', re.M)
_libraries: list[torch.library.Library] = []  # an operator's schema lives as long as the Library object that defined it


def apply() -> None:
    """Apply every remedy; safe to call more than once."""
    if importlib.util.find_spec('mmcv'):
        check_mmcv()
    stub_missing_drn()
    leave_multimodal_out()
    define_torchvision_schemas()
    allow_own_checkpoints()
    load_addresses_safely()
    guard_checkpoint_loading()


def check_mmcv() -> None:
    """Raise ImportError for a missing or too old mmcv, warn about one that mmaction2 refuses.

    The layers do without mmcv, so a missing one matters only where mmpretrain or mmaction2 is needed.

    https://github.com/open-mmlab/mmaction2/issues/2852; the warning may go when mmaction2 takes mmcv 2.2.
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
    """Stand in for ``mmaction.models.localizers.drn``, which the wheel of mmaction2 1.2.0 lacks.

    https://github.com/open-mmlab/mmaction2/issues/2714; may go with the first mmaction2 release that ships the folder.
    """
    name = 'mmaction.models.localizers.drn'
    localizers = _folder_of('mmaction', 'models', 'localizers')
    if name in sys.modules or not os.path.isdir(localizers) or os.path.isdir(os.path.join(localizers, 'drn')):
        return

    class DRN:
        """Stands for the localizer that the installed mmaction2 lacks; raises ImportError when built."""

        def __init__(self, *args, **kwargs):
            raise ImportError('this mmaction2 was packaged without models/localizers/drn; install mmaction2 from its '
                              'repository to use DRN (https://github.com/open-mmlab/mmaction2/issues/2714)')

    for full_name in (name, f'{name}.drn'):
        module = ModuleType(full_name, 'Stand-in made by mmcgc.compat.')
        module.DRN = DRN
        sys.modules[full_name] = module


def leave_multimodal_out() -> None:
    """Let mmpretrain and mmaction be imported beside a transformers that their multimodal models cannot use.

    Those models then ask for their dependencies when built, as where transformers is missing.
    https://github.com/xinyu1205/recognize-anything/issues/219 (the same import; transformers 4.56 moved it); may go
    when both libraries import from ``transformers.pytorch_utils``.
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
    """Let torchvision be imported where its native library does not load (a CUDA build beside a CPU build of torch).

    Its operators still raise when used; models, transforms and data sets work.
    https://github.com/pytorch/vision/issues/8985; may go when torchvision guards its fake kernels of nms and qnms.
    """
    folder = _folder_of('torchvision')
    if 'torchvision' in sys.modules or _libraries or not folder or _loads_native_library(folder):
        return
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for name in ('nms', 'qnms'):
        library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    _libraries.append(library)


def _folder_of(package: str, *parts: str) -> str:
    """A folder of an installed package, found without importing it; empty where the package is missing."""
    spec = importlib.util.find_spec(package)
    return os.path.join(os.path.dirname(spec.origin), *parts) if spec and spec.origin else ''


def _loads_native_library(folder: str) -> bool:
    """Whether torchvision's ``_C`` loads, which is what decides whether ``import torchvision`` fails."""
    loader = (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES)
    spec = importlib.machinery.FileFinder(folder, loader).find_spec('_C')
    if spec is None:
        return False
    try:
        torch.ops.load_library(spec.origin)
    except OSError:
        return False
    return True


def allow_own_checkpoints() -> None:
    """Let ``torch.load(weights_only=True)`` read the checkpoints that MMEngine writes.

    HistoryBuffer and the one-cycle scheduler pickle methods of theirs through ``getattr``, which itself would let a
    checkpoint reach any attribute.  Its name is answered by a function that knows these methods and refuses all else.
    https://github.com/open-mmlab/mmengine/issues/1655; may go when MMEngine's checkpoints hold tensors and plain data.
    """
    reconstruct, scalar = np.empty(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    torch.serialization.add_safe_globals([
        *_METHODS,
        (_known_method, 'builtins.getattr'),
        (_plain_dtype, 'numpy.dtype'),
        np.ndarray,
        *_NUMPY_DTYPES,
        *((function, f'numpy.{core}.multiarray.{function.__name__}')
          for core in ('core', '_core') for function in (reconstruct, scalar)),
    ])


def _known_method(owner, name):
    """``getattr(owner, name)`` for the methods in ``_METHODS``; UnpicklingError for anything else."""
    if not any(owner is known and name in names for known, names in _METHODS.items()):
        raise pickle.UnpicklingError(f'refused GLOBAL builtins.getattr with {owner!r}, {name!r}')
    return getattr(owner, name)


def _plain_dtype(code, *_):
    """A new ``np.dtype(code)`` of numbers or text; records and objects would pass for other containers."""
    dtype = np.dtype(code, copy=True)
    if type(dtype) not in _NUMPY_DTYPES:
        raise pickle.UnpicklingError(f'refused GLOBAL numpy.dtype with {code!r}')
    return dtype


def load_addresses_safely() -> None:
    """Load checkpoints from an address (``https://``, ``torchvision://``, ``open-mmlab://``) as safely as from a file.

    MMEngine leaves them to ``torch.hub.load_state_dict_from_url``, which runs the code in them: its ``weights_only`` is
    off by default, unlike that of ``torch.load`` since torch 2.6.  Source: ``load_from_http`` of mmengine 0.10.7; may
    go when it asks for ``weights_only`` there.
    """
    if not isinstance(checkpoint.load_url, functools.partial):
        checkpoint.load_url = functools.partial(checkpoint.load_url, weights_only=True)


def widen_action_scores() -> None:
    """Cast the class scores of mmaction2's heads to float32: it turns them into NumPy arrays, which know no bfloat16.

    Not part of :func:`apply`: it mends what is loaded, so it is called once the model is built.
    https://github.com/pytorch/pytorch/issues/110285; may go when mmaction2 casts before ``numpy()``.
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


def guard_checkpoint_loading() -> None:
    """Make every scheme of MMEngine's CheckpointLoader refuse, with a clear error, what is no plain checkpoint.

    Refuses a file whose checksums do not fit too: torch writes them, but does not look at them when it reads.

    Also drops ``meta['config']``, which ``Runner.resume`` would run as Python; MMEngine itself writes ``meta['cfg']``,
    which is not run.  Source: ``Runner.resume`` of mmengine 0.10.7 (``Config.fromstring``); may go when it is removed
    there.
    """
    load = CheckpointLoader.load_checkpoint.__func__
    if hasattr(load, '__wrapped__'):
        return

    @functools.wraps(load)
    def load_checkpoint(cls, filename, map_location=None, logger='current'):
        if filename is None:
            raise ValueError('no checkpoint was named: with pretrained=None, ResNetTSM of mmaction2 and the like also '
                             'need pretrained2d=False')
        _check_sums(os.path.expanduser(filename))
        try:
            loaded = load(cls, filename, map_location, logger)
        except Exception as error:
            raise _explain(filename, error) from None
        if not isinstance(loaded, dict):
            raise ValueError(f'{filename} is no checkpoint: it holds a {type(loaded).__name__}, expected a dict')
        # Only what Python looks up on the type: an OrderedDict from a file may carry a `get` or `pop` of its own.
        if 'meta' in loaded:
            meta = loaded['meta']
            if not isinstance(meta, dict):
                raise ValueError(f"{filename} is no checkpoint: its 'meta' is a {type(meta).__name__}, expected a dict")
            if 'config' in meta:
                print_log(f"ignored meta['config'] of {filename}: MMEngine would run it as Python", logger)
            loaded['meta'] = {key: meta[key] for key in meta if key != 'config'}
        return loaded

    CheckpointLoader.load_checkpoint = classmethod(load_checkpoint)


def _check_sums(path: str) -> None:
    """ValueError where what is in a zip does not fit its checksums; all else is left to ``torch.load``."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception:  # an address, the old format, or no checkpoint at all
        return
    if damaged is not None:
        raise ValueError(f'{path} ({os.path.getsize(path)} bytes) is damaged: {damaged} does not fit its checksum. '
                         'Take an earlier checkpoint, or copy the file anew')


def _explain(filename: str, error: Exception) -> Exception:
    """The error to raise instead of ``error``, or ``error`` itself where it speaks of something else."""
    text = str(error)
    refused = _REFUSED.search(text)
    if refused:
        return pickle.UnpicklingError(
            f'{filename} asks for {refused[1]}, which is neither a tensor nor plain data and could run code: '
            'nothing was loaded. If you trust its origin, re-save only its tensors with the library that wrote it: '
            "torch.save({'state_dict': model.state_dict()}, ...)")
    path = os.path.expanduser(filename)
    about_the_device = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or 'deserialize object on' in text
    if about_the_device or isinstance(error, PermissionError) or not os.path.isfile(path):
        return error
    reason = text.splitlines()[-1] if text else type(error).__name__
    size = os.path.getsize(path)
    return ValueError(f'{filename} ({size} bytes) is truncated or no checkpoint of torch.save: {reason}')
