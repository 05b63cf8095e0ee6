"""Draw initial weights that networks share wherever they can, so that a comparison starts them from one point."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader, load_checkpoint
from torch import Tensor, nn

from ..engine.position_seed import seed_all
from ..whole_file import whole_file


def write_initial_weights(configs: Mapping[str, Config], seed: int, folder: str | Path) -> dict[str, Path]:
    """Draw the initial weights of each network, and write them to ``<folder>/<name>.pth``; files that are there stay.

    A network takes the weights that it has in common with an earlier one, by key and shape, from there.  So a network
    with gates starts with the convolutions of the one without, although making the gates draws random numbers as well.

    Args:
        configs: Configs by name; a ``load_from`` in one is loaded first, as far as it fits.
        seed: Seed of the random numbers.
        folder: Folder of the files.

    Returns:
        The file of each network, which is a checkpoint for ``load_from``.
    """
    drawn: dict[str, Tensor] = {}
    files = {name: Path(folder, f'{name}.pth') for name in configs}
    for name, path in files.items():
        if not path.exists():
            state = {
                key: drawn[key] if key in drawn and drawn[key].shape == value.shape else value
                for key, value in _initial_state(configs[name], seed).items()
            }
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as part:
                torch.save(dict(state_dict=state), part)
        for key, value in CheckpointLoader.load_checkpoint(str(path), 'cpu', 'silent')['state_dict'].items():
            drawn.setdefault(key, value)
    return files


def initialise(model: nn.Module) -> None:
    """Draw a model's weights as a training does at its start, without MMEngine's report on every parameter."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')
    try:
        model.init_weights()
    finally:
        logger.setLevel(level)


def _initial_state(cfg: Config, seed: int) -> dict[str, Tensor]:
    if cfg.get('data_preprocessor'):  # as MMEngine's runner does
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    seed_all(seed)
    with MODELS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
        model = registry.build(cfg.model)
        initialise(model)
        if cfg.get('load_from'):
            load_checkpoint(model, cfg.load_from, map_location='cpu')
    return model.state_dict()
