"""Load the weights of a checkpoint, key by key, and find the names of the classes that they tell apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from mmengine.registry import DATASETS
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

from ..plain_text import decode_text


def load_weights(model: nn.Module, checkpoint: str, config: str) -> dict:
    """Load a checkpoint into a model, on the CPU.

    Args:
        model: The network.
        checkpoint: Path or address.
        config: Path of the model's config, for the error.

    Returns:
        MMEngine's ``meta`` of the checkpoint, which may be empty.

    Raises:
        ValueError: If a key is missing, unexpected or of another shape, or a weight is NaN or infinite.
    """
    try:
        loaded = load_checkpoint(model, checkpoint, map_location='cpu', strict=True, logger='silent')
    except RuntimeError as error:
        raise ValueError(
            f'{checkpoint} does not fit the model of {config}; use the config that wrote it. {error}'
        ) from error
    check_finite(model.state_dict(), checkpoint)
    return loaded.get('meta', {})


def check_finite(weights: Mapping[str, Tensor], source: str) -> None:
    """Refuse weights that are no numbers; an attention mask of zeros and minus infinity is no weight and passes.

    Args:
        weights: Tensors by name; what is no tensor of floating-point numbers is passed over.
        source: Where they come from, for the error.

    Raises:
        ValueError: If a weight is NaN or infinite; the message names the first such tensor.
    """
    for name, tensor in weights.items():
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not tensor.isfinite().all():
            wrong = tensor[~tensor.isfinite()]
            if not (wrong.isneginf().all() and not tensor[tensor.isfinite()].any()):
                raise ValueError(
                    f'{source}: {name} is not finite: {len(wrong)} of its {tensor.numel()} values are NaN '
                    'or infinite; take a checkpoint from before the training broke'
                )


def class_names(dataset: dict, meta: dict) -> tuple[str, ...]:
    """Return the names of the classes, which may be none.

    They are those of ``label_map.txt`` beside the annotation list, else those in the checkpoint, else the data set's.

    Args:
        dataset: Config of the data set, which may be empty; its scope is the default one.
        meta: MMEngine's ``meta`` of the checkpoint.

    Raises:
        ValueError: If the names in the checkpoint are no list of texts, or hold what would control the terminal.
    """
    listed = Path(dataset.get('ann_file') or '')
    if listed.name and (names := listed.with_name('label_map.txt')).is_file():
        return tuple(decode_text(names.read_bytes(), str(names)).splitlines())
    kind = DATASETS.get(dataset['type']) if dataset else None
    saved = meta.get('dataset_meta') or getattr(kind, 'METAINFO', {})
    names = saved.get('classes') or () if isinstance(saved, dict) else None
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) and name.isprintable() for name in names):
        raise ValueError("the checkpoint's meta['dataset_meta']['classes'] is no list of printable names")
    return tuple(names)


def first_keys(keys: Iterable[str]) -> str:
    """Return the first three of the keys, for an error."""
    keys = list(keys)
    return f'{", ".join(keys[:3])}{", ..." if len(keys) > 3 else ""}'
