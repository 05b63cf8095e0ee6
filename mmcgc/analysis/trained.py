"""Load a trained network with what is needed to show it something: its config, its classes, its pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from ..apis.device import usable_device
from ..apis.initial_weights import initialise
from ..apis.launch import load_config, use_checked_image_loader
from ..checkpoints.load import class_names, load_weights
from .network import build_network


@dataclass
class Trained:
    """A network in eval mode; called as ``model(**inputs)``, it gives logits.

    Attributes:
        name: Short name, from the config's file name.
        cfg: Its config.
        model: The network on its device; no activation works in place, so that what a hook keeps stays as it was.
        classes: Names of the classes, which may be none.
    """

    name: str
    cfg: Config
    model: nn.Module
    classes: tuple[str, ...] = ()

    @property
    def is_video(self) -> bool:
        return self.cfg.get('default_scope') == 'mmaction'

    @property
    def dataset_cfg(self) -> dict:
        """The config of the validation set, or of the test set if there is none."""
        loader = self.cfg.get('val_dataloader') or self.cfg.get('test_dataloader')
        if not loader:
            raise ValueError(f'{self.cfg.filename} has neither val_dataloader nor test_dataloader')
        return loader.dataset

    def class_name(self, label: int) -> str:
        """Return the name of a class, or ``class <label>`` if it has none."""
        return str(self.classes[label]) if label < len(self.classes) else f'class {label}'

    def label(self, name: str) -> int:
        """Return the label of a class given by its name or number; raise ValueError with all names if there is none."""
        if name in self.classes:
            return list(self.classes).index(name)
        if name.isdigit() and (not self.classes or int(name) < len(self.classes)):
            return int(name)
        raise ValueError(f'no class {name!r}; {self.name} has {", ".join(map(str, self.classes)) or "no class names"}')

    def collate(self, packed: dict) -> dict:
        """Turn one sample of the pipeline into the model's keyword arguments, a batch of one."""
        return self.model.data_preprocessor(pseudo_collate([packed]), False)

    def logits(self, inputs: dict) -> Tensor:
        """Return the logits (B, classes), averaged over the views of a clip if there are several."""
        batch = len(inputs['data_samples'])
        return self.model(**inputs).unflatten(0, (batch, -1)).mean(1)


def load_trained(
    config: str, checkpoint: str | None, device: str | None = None, cfg_options: dict | None = None, seed: int = 0
) -> Trained:
    """Build the network of an image or video config, with the weights of a checkpoint.

    Args:
        config: Path of the config.
        checkpoint: Path or address of a checkpoint that fits key by key; None for the config's random initial weights,
            with nothing pretrained.
        device: Where to compute; by default an accelerator if there is one.
        cfg_options: Overrides of the config.
        seed: Seed of the random weights.

    Raises:
        FileNotFoundError: If the config or the checkpoint is missing.
        ValueError: If the config is of another kind, the checkpoint does not fit it, or there is no such device.
    """
    device = usable_device(device)
    if checkpoint and '://' not in checkpoint and not Path(checkpoint).is_file():
        raise FileNotFoundError(f'no checkpoint {checkpoint!r} here ({Path.cwd()})')
    cfg = load_config(config, None, cfg_options, 'none')
    if cfg.get('default_scope') not in ('mmpretrain', 'mmaction') or 'backbone' not in cfg.model:
        raise ValueError(f'{config} is no config of an image or video classifier')
    if cfg.model.backbone.get('pretrained'):
        cfg.model.backbone.pretrained = None
    use_checked_image_loader([cfg.get('val_dataloader'), cfg.get('test_dataloader')])
    if cfg.get('data_preprocessor'):  # as MMEngine's runner does
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = build_network(cfg)
        if checkpoint is None:
            initialise(model)
        meta = load_weights(model, checkpoint, config) if checkpoint else {}
        loader = cfg.get('val_dataloader') or cfg.get('test_dataloader') or {}
        names = class_names(loader.get('dataset') or {}, meta)
    for module in model.modules():
        if getattr(module, 'inplace', False):
            module.inplace = False
    return Trained(Path(config).stem.split('_')[0], cfg, model.to(device), names)
