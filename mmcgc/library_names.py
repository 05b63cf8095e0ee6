"""Let MMEngine, mmpretrain and mmaction2 find the models of mmcgc by their names, on ``import mmcgc``.

The libraries are not imported for this: one that is not imported yet learns the names as soon as it is.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from . import zoo
from .after_import import after_import
from .extras import EXTRAS, import_extra

PREFIX = 'mmcgc::'


def register() -> None:
    """Let the libraries find the zoo; it is safe to call this more than once."""
    if 'mmcgc' in MODULE2PACKAGE:
        return
    MODULE2PACKAGE['mmcgc'] = 'mmcgc'
    _resolve_bases()
    after_import('mmengine.hub.hub', _extend_hub)
    after_import('mmengine.infer.infer', _extend_inferencers)
    after_import('mmpretrain.apis.model', _extend_model_hub)


def _resolve_bases() -> None:
    """Resolve ``_base_ = 'mmcgc::...'``, from a checkout too, and without our scope: its types do not belong to it."""
    resolve = Config._get_cfg_path

    @functools.wraps(resolve)
    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(PREFIX):
            return zoo.config_path(cfg_path.removeprefix(PREFIX)), None
        package = cfg_path.partition('::')[0]
        if package in EXTRAS['image'] + EXTRAS['video']:
            import_extra(package)
        return resolve(cfg_path, filename)

    Config._get_cfg_path = staticmethod(get_cfg_path)


def _extend_hub(hub: ModuleType) -> None:
    """Let ``mmengine.hub.get_config``, and with it ``get_model``, take ``'mmcgc::...'``."""
    get = hub.get_config

    @functools.wraps(get)
    def get_config(cfg_path: str, pretrained: bool = False) -> Config:
        if not cfg_path.startswith(PREFIX):
            return get(cfg_path, pretrained)
        path = zoo.config_path(cfg_path.removeprefix(PREFIX))
        cfg = Config.fromfile(path)
        if 'model' in cfg:  # ``get_model`` builds it under the scope ``mmcgc``
            cfg.model.setdefault('_scope_', cfg.get('default_scope', 'mmengine'))
        if pretrained:
            weights = [model['Weights'] for model in zoo.models().values() if model['Config'] == path]
            if not any(weights):
                raise ValueError(f'no weights ship with {cfg_path}; `python -m mmcgc weights` lists those that do')
            cfg.model_path = weights[0]
        return cfg

    for module in (hub, sys.modules.get('mmengine.hub')):
        if hasattr(module, 'get_config'):
            module.get_config = get_config


def _extend_inferencers(infer: ModuleType) -> None:
    """Let mmaction2's inferencers take the names of video models, and those of the scope ``mmcgc`` all names."""
    base = infer.BaseInferencer
    read = base._get_models_from_metafile

    @functools.wraps(read)
    def get_models_from_metafile(folder: str) -> Iterator[dict[str, Any]]:
        if Path(folder) == zoo.root():
            yield from zoo.models().values()
            return
        yield from read(folder)
        if 'mmaction' in sys.modules and folder == base._get_repo_or_mim_dir('mmaction'):
            yield from (model for model in zoo.models().values() if model['Task'] == 'Action Recognition')

    base._get_models_from_metafile = staticmethod(get_models_from_metafile)


def _extend_model_hub(apis: ModuleType) -> None:
    """Let ``mmpretrain.get_model``, ``list_models`` and the inferencers take the names of image models.

    A name that mmpretrain has too stays mmpretrain's.
    """
    hub = apis.ModelHub
    register_own = hub._register_mmpretrain_models.__func__

    @functools.wraps(register_own)
    def register_models(cls) -> None:
        register_own(cls)
        for name, model in zoo.models().items():
            if model['Task'] == 'Image Classification' and name.lower() not in cls._models_dict:
                result = dict(Task=model['Task'], Dataset=model['Metadata']['Training Data'], Metrics={})
                entry = apis.Model.from_dict({'Results': [result], **model}, model['Config'])
                cls._models_dict[name.lower()] = entry

    hub._register_mmpretrain_models = classmethod(register_models)
