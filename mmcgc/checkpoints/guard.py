"""Send checkpoints from anywhere through PyTorch's restricted unpickler, and let a refusal say that it is one."""

from __future__ import annotations

import functools
import os
import pickle
import pickletools
import tarfile
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from pathlib import Path
from urllib.parse import urlparse

import torch
from mmengine.logging import print_log
from mmengine.runner import checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import _weights_only_unpickler as restricted

from .contents import Refused, plain

_TRUST = (
    'nothing was loaded. If you trust its origin, re-save only its tensors with the library that wrote it: '
    "torch.save({'state_dict': model.state_dict()}, ...)"
)


def load_addresses_safely() -> None:
    """Load checkpoints from an address (``https://``, ``torchvision://``, ``open-mmlab://``) as safely as from a file.

    MMEngine leaves them to ``torch.hub.load_state_dict_from_url``, which runs the code in them: its ``weights_only`` is
    off by default, unlike that of ``torch.load`` since torch 2.6.  Source: ``load_from_http`` of mmengine 0.10.7; this
    can be removed once it asks for ``weights_only`` there.
    """
    load = checkpoint.load_url
    if hasattr(load, '__wrapped__'):
        return

    @functools.wraps(load)
    def load_url(url, model_dir=None, map_location=None, **kwargs):
        try:
            return load(url, model_dir, map_location=map_location, weights_only=True, **kwargs)
        except pickle.UnpicklingError as error:
            folder = model_dir or os.path.join(torch.hub.get_dir(), 'checkpoints')
            raise _explain(url, os.path.join(folder, os.path.basename(urlparse(url).path)), error) from None

    checkpoint.load_url = load_url


def guard_checkpoint_loading() -> None:
    """Make every scheme of MMEngine's CheckpointLoader refuse, with a clear error, what is no plain checkpoint.

    A file whose checksums do not fit is refused too: torch writes them, but does not look at them when it reads.

    What a resumed run would do on the word of the file is left out: ``meta['config']``, which ``Runner.resume`` would
    run as Python, and the names of the checkpoints that ``CheckpointHook`` would remove.  Source: ``Runner.resume``
    (``Config.fromstring``) and ``CheckpointHook.before_train`` of mmengine 0.10.7.
    """
    load = CheckpointLoader.load_checkpoint.__func__
    if hasattr(load, '__wrapped__'):
        return

    @functools.wraps(load)
    def load_checkpoint(cls, filename, map_location=None, logger='current'):
        if filename is None:
            raise ValueError(
                'no checkpoint was named: with pretrained=None, ResNetTSM of mmaction2 and the like also '
                'need pretrained2d=False'
            )
        path = os.path.expanduser(filename)
        _check_sums(path)
        try:
            loaded = plain(load(cls, filename, map_location, logger))
        except Exception as error:
            if isinstance(error, (PermissionError, MemoryError, ImportError)) or not os.path.isfile(path):
                raise
            if map_location != 'cpu' and _loads(load, cls, filename):
                raise  # then the device is at fault, not the file
            raise _explain(filename, path, error) from None
        if not isinstance(loaded, dict):
            raise ValueError(f'{filename} is no checkpoint: it holds a {type(loaded).__name__}, expected a dict')
        _check_names(loaded, filename)
        if 'meta' in loaded:
            meta = loaded['meta']
            if not isinstance(meta, dict):
                raise ValueError(f"{filename} is no checkpoint: its 'meta' is a {type(meta).__name__}, expected a dict")
            if meta.pop('config', None) is not None:
                print_log(f"ignored meta['config'] of {filename}: MMEngine would run it as Python", logger)
        _forget_files(loaded.get('message_hub'))
        return loaded

    CheckpointLoader.load_checkpoint = classmethod(load_checkpoint)


def _check_names(loaded: dict, filename: str) -> None:
    """Raise ValueError if a key is no name or a weight no tensor; modules may keep a state of their own kind."""
    weights = loaded.get('state_dict', {})
    if not isinstance(weights, dict):
        raise ValueError(
            f"{filename} is no checkpoint: its 'state_dict' is a {type(weights).__name__}, expected a dict"
        )
    nameless = [key for key in (*loaded, *weights) if not isinstance(key, str)]
    odd = [
        key
        for key, value in weights.items()
        if not isinstance(value, torch.Tensor) and not str(key).endswith('_extra_state')
    ]
    if nameless or odd:
        what = f'the key {nameless[0]!r:.60}, expected names' if nameless else f'no tensor under {odd[0]!r:.60}'
        raise ValueError(f'{filename} is no checkpoint: it holds {what}')


def _forget_files(hub) -> None:
    """Remove from a message hub what names checkpoints; SafeCheckpointHook keeps a note of its own."""
    for part in ('runtime_info', 'resumed_keys') if isinstance(hub, dict) else ():
        entries = hub.get(part)
        for key in list(entries) if isinstance(entries, dict) else ():
            if str(key).startswith('best_ckpt') or key in ('keep_ckpt_ids', 'last_ckpt'):
                del entries[key]


def _loads(load, *args) -> bool:
    try:
        load(*args, 'cpu', 'silent')
    except Exception:
        return False
    return True


def _check_sums(path: str) -> None:
    """Raise ValueError if what is in a zip does not fit its checksums; all else is left to ``torch.load``."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception:  # it is an address, of the old format, or no checkpoint at all
        return
    if damaged is not None:
        raise ValueError(
            f'{path} ({os.path.getsize(path)} bytes) is damaged: {damaged} does not fit its checksum. '
            'Take an earlier checkpoint, or copy the file anew'
        )


def _explain(name: str, path: str, error: Exception) -> Exception:
    """Return an error that says why a file was refused, judging by its bytes and not by the text of ``error``."""
    if tarfile.is_tarfile(path):
        return pickle.UnpicklingError(f'{name} is a tar, the format of PyTorch before 0.1.10, and is refused: {_TRUST}')
    names, saved = _names(path)
    if names is None or (saved == 'legacy' and isinstance(error, (EOFError, RuntimeError))):
        return ValueError(f'{name} ({os.path.getsize(path)} bytes) is truncated or no checkpoint of torch.save')
    allowed = {*restricted._get_allowed_globals(), *restricted._get_user_allowed_globals()}
    foreign = sorted(names - allowed)
    if foreign:
        return pickle.UnpicklingError(
            f'{name} asks for {", ".join(foreign)}, which is neither a tensor nor plain data '
            f'and could run code: {_TRUST}'
        )
    asked = error
    while asked is not None and not isinstance(asked, Refused):
        asked = asked.__context__
    if asked is not None:
        return pickle.UnpicklingError(f'{name} asks for {asked}, which is not plain data and is refused: {_TRUST}')
    if saved is None:
        return pickle.UnpicklingError(f'{name} is a bare pickle, not a file of torch.save, and is refused: {_TRUST}')
    return pickle.UnpicklingError(
        f'{name} is not built as torch.save builds a checkpoint of tensors and plain data '
        f'(or it is TorchScript), and is refused: {_TRUST}'
    )


def _names(path: str) -> tuple[set[str] | None, str | None]:
    """Return what the pickles of a file ask for, or None if they are not whole, and ``zip``, ``legacy`` or None."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                inner = next((member for member in archive.namelist() if member.endswith('data.pkl')), None)
                return (_globals(archive.read(inner)) if inner else None), 'zip'
        with Path(path).open('rb') as file:
            first = [argument for _, argument, _ in pickletools.genops(file)]
            legacy = torch.serialization.MAGIC_NUMBER in first
            names = set()
            if not legacy:
                file.seek(0)
            for _ in range(3 if legacy else 1):  # they hold the format's version, the machine's sizes, and the content
                names |= _globals(file)
            return names, 'legacy' if legacy else None
    except Exception:  # pickletools raises whatever the bytes make it stumble over
        return None, None


def _globals(source) -> set[str]:
    names, texts = set(), []
    for operation, argument, _ in pickletools.genops(source):
        if operation.name in ('GLOBAL', 'INST'):
            module, name = argument.split(' ', 1)
        elif operation.name == 'STACK_GLOBAL':
            module, name = texts[-2:] if len(texts) > 1 else ('?', '?')
        else:
            texts += [argument] if isinstance(argument, str) else []
            continue
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        names.add(f'{module}.{name}')
    return names
