"""Carry the weights of a ResNet from one library, layout or gate to another."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from mmcgc.layers import GatedConv, gated_layers

from ..extras import import_extra
from ..version import __version__
from ..whole_file import check_outputs, whole_file
from .layouts import LAYOUTS, OPENMMLAB, detect_layout, read_key, write_key
from .load import check_finite, first_keys

SUFFIXES = ('.pth', '.pt', '.safetensors')


@dataclass
class Conversion:
    """What became of a checkpoint.

    Attributes:
        state: The converted tensors.
        source: The layout that was found.
        unused: Keys of the source that went nowhere.
        unfilled: Keys of the target that got no value; None without a model, because its keys are not known then.
        initialised: Keys of gates that were added so that the network computes the same as without them.
    """

    state: dict[str, Tensor]
    source: str
    unused: list[str]
    unfilled: list[str] | None
    initialised: list[str]


def convert_checkpoint(
    source: str | Path,
    target: str | Path,
    to: str | None = None,
    config: str | Path | None = None,
    preserve_function: bool = False,
    head: bool = True,
    cfg_options: dict | None = None,
) -> Conversion:
    """Convert a checkpoint file; ``target`` is written only once everything has been converted.

    Only weights travel: the state of an optimiser or a scheduler means nothing in another layout.

    Args:
        source: A ``.safetensors`` file, or whatever MMEngine loads: a file of torch.save, an address.
        target: A ``.pth``, ``.pt`` or ``.safetensors`` file.  The first two hold MMEngine's dict of ``state_dict`` and
            ``meta`` for mmpretrain and mmaction2, the bare state of ``nn.Module.load_state_dict`` for the others.
        to: A layout of :data:`LAYOUTS`.  One of ``to`` and ``config`` is given.
        config: A config of mmcgc, or one like ``'mmaction::recognition/...'``; its model's keys are written.
        preserve_function, head: As for :func:`convert_state`.
        cfg_options: Changes to the config, as in training.

    Raises:
        FileNotFoundError: If the source or the config is missing.
        ImportError: If safetensors is asked for and not installed.
        ValueError: If the source is no checkpoint, or does not fit; nothing is written then.
    """
    source, target = os.fspath(source), Path(target)
    if target.suffix not in SUFFIXES:
        raise ValueError(f'cannot write {str(target)!r}: expected a name ending in {", ".join(SUFFIXES)}')
    check_outputs([target], [source, *([config] if config else [])])
    state, meta = load_state(source)
    conversion = convert_state(state, to, _build(config, cfg_options) if config else None, preserve_function, head)
    if to is None or to in OPENMMLAB:
        classes = {key: meta[key] for key in ('dataset_meta',) if head and key in meta}
        record = dict(state_dict=conversion.state, meta=dict(classes, mmcgc_version=__version__))
    else:
        record = conversion.state
    _save(record, conversion.state, target)
    return conversion


def convert_state(
    state: Mapping[str, Tensor],
    to: str | None = None,
    model: nn.Module | None = None,
    preserve_function: bool = False,
    head: bool = True,
) -> Conversion:
    """Rename the keys of a ResNet's state, from any layout to that of ``to``, or to those of ``model``.

    Args:
        state: The keys and tensors of the source, in a layout of :data:`LAYOUTS`; gates under the authors' names too.
        to: The layout to write.  One of ``to`` and ``model`` is given.
        model: The network whose keys are written; with ``preserve_function`` its parameters change.
        preserve_function: Whether a plain network becomes the gated ``model``, whose gates ask for ``init='preserve'``;
            they are written as they start (1 everywhere), so that the outputs stay the same, and learn from there.
        head: Whether to carry the classifier too.

    Returns:
        The state and what was left over.

    Raises:
        ValueError: If the layout of ``state`` is unknown, two of its keys mean the same, a shape does not fit
            ``model``, nothing fits, or ``preserve_function`` cannot be had.
    """
    if (to is None) == (model is None):
        raise ValueError('give either the layout to write or a config (or model) with the keys to write, not both')
    if to is not None and to not in LAYOUTS:
        raise ValueError(f'unknown layout {to!r}; known are {", ".join(LAYOUTS)}')
    if preserve_function and model is None:
        raise ValueError('preserve_function needs a config (or model): it says which convolutions have a gate')

    layout = detect_layout(state)
    source = {}  # common name -> key of the source
    for key in state:
        name = read_key(key)
        if name in source:
            raise ValueError(f'{source[name]} and {key} of the source mean the same weight: remove one of them')
        if head or not name.startswith('fc.'):
            source[name] = key
    if model is None:
        pairs = {source[name]: key for name in source if (key := write_key(name, to))}  # key of the source -> new key
    else:
        pairs = {source[name]: key for key in model.state_dict() if (name := read_key(key)) in source}
        _check_shapes(state, pairs, model)
    if not pairs:
        wanted = to if model is None else f'{type(model).__name__} ({first_keys(model.state_dict())})'
        raise ValueError(f'nothing in the source ({first_keys(state)}) fits {wanted}')
    converted = {key: state[old].clone().contiguous() for old, key in pairs.items()}
    initialised = []
    if preserve_function:
        gated = [key for key in state if '.gate.' in read_key(key)]
        if gated:
            raise ValueError(f'the source has gates already ({gated[0]}, ...): convert it without preserve_function')
        initialised = _preserve(model, converted)
    unfilled = None if model is None else [key for key in model.state_dict() if key not in converted]
    return Conversion(converted, layout, [key for key in state if key not in pairs], unfilled, initialised)


def load_state(source: str) -> tuple[dict[str, Tensor], dict]:
    """Read the weights of a checkpoint, and MMEngine's ``meta`` of it or an empty one; no code of the file is run.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If the file is one of safetensors, which is not installed.
        ValueError: If the file is no checkpoint.
    """
    if '://' not in source and not os.path.isfile(os.path.expanduser(source)):
        raise FileNotFoundError(f'no checkpoint {source!r} here ({os.getcwd()})')
    if source.endswith('.safetensors'):
        load = import_extra('safetensors.torch').load_file
        try:
            return load(os.path.expanduser(source)), {}
        except import_extra('safetensors').SafetensorError as error:
            raise ValueError(f'{source} is truncated or no file of safetensors: {error}') from error
    checkpoint = CheckpointLoader.load_checkpoint(source, map_location='cpu', logger='silent')
    state = next((checkpoint[key] for key in ('state_dict', 'model') if key in checkpoint), checkpoint)
    others = [key for key, value in state.items() if not isinstance(value, Tensor)] if isinstance(state, dict) else None
    if others is None or others or not state:
        held = f'what is no tensor under {", ".join(map(str, others[:4]))}' if others else 'no weights'
        raise ValueError(f'{source} holds {held}: expected a state_dict, bare or under the key state_dict or model')
    check_finite(state, source)
    meta = checkpoint.get('meta')
    return dict(state), meta if isinstance(meta, dict) else {}


def _build(config: str | Path, cfg_options: dict | None = None) -> nn.Module:
    """Build the model of a config, which is the same at each call, without fetching any weights."""
    config = os.fspath(config)
    if '::' not in config and not os.path.isfile(config):
        raise FileNotFoundError(f'no config file {config!r} here ({os.getcwd()}); those of mmcgc lie under configs/')
    cfg = get_config(config) if '::' in config else Config.fromfile(config)
    cfg.merge_from_dict(cfg_options or {})
    scope = DefaultScope.overwrite_default_scope(cfg.get('default_scope'))
    with scope, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MODELS.build(cfg.model)


def _check_shapes(state: Mapping[str, Tensor], pairs: dict[str, str], model: nn.Module) -> None:
    expected = model.state_dict()
    wrong = [(old, key) for old, key in pairs.items() if state[old].shape != expected[key].shape]
    if wrong:
        shown = [f'{old} is {tuple(state[old].shape)}, but {key} is {tuple(expected[key].shape)}' for old, key in wrong]
        remedy = (
            'leave the classifier out (--no-head)'
            if all(read_key(old).startswith('fc.') for old, _ in wrong)
            else 'give the config of the network that the checkpoint comes from'
        )
        raise ValueError(
            f'{len(wrong)} shapes do not fit {type(model).__name__}: {"; ".join(shown[:3])}'
            f'{"; ..." if len(wrong) > 3 else ""}. Remedy: {remedy}'
        )


def _preserve(model: nn.Module, converted: dict[str, Tensor]) -> list[str]:
    """Add the gates of ``model`` to ``converted`` as they start, and return their keys."""
    gated = gated_layers(model, GatedConv)
    weights = [f'{name}.weight' for name in gated]
    if not gated:
        raise ValueError(
            'the model has no gate, so there is nothing to preserve: drop preserve_function, or give the '
            "config of a gated network (conv_cfg=dict(type='CGConv'))"
        )
    missing = [key for key in weights if key not in converted]
    if missing:
        raise ValueError(
            f'the source fills {len(weights) - len(missing)} of {len(weights)} gated convolutions, not '
            f'{", ".join(missing[:3])}: give a config of the same depth'
        )
    for name, layer in gated.items():
        if not getattr(layer.gate, 'plain_start', False):
            raise ValueError(
                f'the gate of {name} does not start as the plain convolution: build it, here and in '
                "training, with gate=dict(init='preserve') (with the tools --cfg-options "
                'model.backbone.conv_cfg.gate.init=preserve), or drop preserve_function'
            )
        layer.gate.reset_parameters()
    added = {key: value.clone() for key, value in model.state_dict().items() if '.gate.' in read_key(key)}
    converted.update(added)
    return list(added)


def _save(record: dict, state: dict[str, Tensor], target: Path) -> None:
    with whole_file(target) as part:
        if target.suffix == '.safetensors':
            part.write_bytes(import_extra('safetensors.torch').save(state, metadata={'format': 'pt'}))
        else:
            torch.save(record, part)
