"""The weights of a checkpoint, key by key, and the names of the classes that they tell apart."""

from __future__ import annotations

from pathlib import Path

from mmengine.registry import DATASETS
from mmengine.runner import load_checkpoint
from torch import nn


def load_weights(model: nn.Module, checkpoint: str, config: str) -> dict:
    """Load a checkpoint into a model, on the CPU.

    Args:
        model: The network.
        checkpoint: Path or address.
        config: Path of the model's config, for the error.

    Returns:
        MMEngine's ``meta`` of the checkpoint, which may be empty.

    Raises:
        ValueError: A key is missing, unexpected or of another shape.
    """
    try:
        return load_checkpoint(model, checkpoint, map_location='cpu', strict=True, logger='silent').get('meta', {})
    except RuntimeError as error:
        raise ValueError(f'{checkpoint} does not fit the model of {config}; use the config that wrote it. '
                         f'{error}') from error


def class_names(dataset: dict, meta: dict) -> tuple[str, ...]:
    """The names of the classes, which may be none.

    They are those of ``label_map.txt`` beside the annotation list, else those in the checkpoint, else the data set's.

    Args:
        dataset: Config of the data set, which may be empty; its scope is the default one.
        meta: MMEngine's ``meta`` of the checkpoint.
    """
    listed = Path(dataset.get('ann_file') or '')
    if listed.name and (names := listed.with_name('label_map.txt')).is_file():
        return tuple(names.read_text(encoding='utf-8').splitlines())
    kind = DATASETS.get(dataset['type']) if dataset else None
    return tuple((meta.get('dataset_meta') or getattr(kind, 'METAINFO', {})).get('classes', ()))
