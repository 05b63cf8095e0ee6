"""Find by name the models that mmcgc has a config for, and the weights that ship with some of them."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmengine.fileio import load
from mmengine.runner.checkpoint import CheckpointLoader

from .extras import import_extra

PACKAGE = Path(__file__).resolve().parent
WEIGHTS = PACKAGE / 'weights'
SUMS = 'SHA256SUMS'
SCHEME = 'mmcgc://'


def root() -> Path:
    """Find the folder of ``configs``, ``tools`` and ``model-index.yml``: ``mmcgc/.mim`` in a wheel, or the checkout."""
    mim = PACKAGE / '.mim'
    return mim if mim.is_dir() else PACKAGE.parent


@lru_cache(maxsize=1)
def models() -> dict[str, dict[str, Any]]:
    """Return what the metafiles say of every model, by name.

    ``Config`` is an absolute path, ``Weights`` an address or None, ``Task`` that of the model's collection.
    """
    found = {}
    for path in load(str(root() / 'model-index.yml'))['Import']:
        metafile = load(str(root() / path))
        tasks = {collection['Name']: collection['Metadata']['Task'] for collection in metafile['Collections']}
        for model in metafile['Models']:
            own = dict(Config=str(root() / model['Config']), Task=tasks[model['In Collection']])
            found[model['Name']] = {'Weights': None, **model, **own}
    return found


def config_path(name: str) -> str:
    """Return the absolute path of the config ``name``, which is a path below ``configs``, as in ``mmcgc::name``.

    Raises:
        FileNotFoundError: If there is no such config.
    """
    path = root() / 'configs' / name
    if not path.is_file():
        raise FileNotFoundError(f'mmcgc has no config {name!r}; `python -m mmcgc configs` lists those that it has')
    return str(path)


def weights_path(address: str, folder: Path | None = None) -> Path:
    """Return the file of weights that ``address`` (``mmcgc://NAME``) stands for, once its SHA256 has been checked.

    Args:
        address: The address, as ``Weights`` in a metafile has it.
        folder: The folder of the weights and of their ``SHA256SUMS``, which is what ``sha256sum`` prints; by default
            the one that ships with the package.

    Raises:
        FileNotFoundError: If no such weights ship with this version.
        ValueError: If the file is not the one that was published.
    """
    folder = folder or WEIGHTS
    name, known = address.removeprefix(SCHEME), read_sums(folder)
    path = folder / name
    if name not in known or not path.is_file():
        raise FileNotFoundError(
            f'{address}: no such weights ship with this mmcgc; it has {", ".join(sorted(known)) or "none"}'
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != known[name]:
        raise ValueError(
            f'{path} is damaged or was replaced: its SHA256 is {digest}, expected {known[name]}; install mmcgc anew'
        )
    return path


def read_sums(folder: Path) -> dict[str, str]:
    """Return the SHA256 of each file that the ``SHA256SUMS`` of a folder names; it is empty without such a list."""
    sums = folder / SUMS
    lines = sums.read_text(encoding='utf-8').splitlines() if sums.is_file() else []
    return {file: digest for digest, file in (line.split(maxsplit=1) for line in lines)}


@CheckpointLoader.register_scheme(prefixes=SCHEME, force=True)
def load_weights(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Load ``mmcgc://NAME`` wherever MMEngine takes a checkpoint: ``load_from``, ``init_cfg``, ``load_checkpoint``."""
    path = weights_path(filename)
    if path.suffix != '.safetensors':
        return CheckpointLoader.load_checkpoint(str(path), map_location, 'silent')
    with import_extra('safetensors').safe_open(
        path, 'pt', device='cpu' if map_location is None else str(map_location)
    ) as file:
        state = {key: file.get_tensor(key) for key in file.keys()}
        dataset_meta = json.loads((file.metadata() or {}).get('dataset_meta', '{}'))
    return dict(state_dict=state, meta=dict(dataset_meta=dataset_meta) if dataset_meta else {})
