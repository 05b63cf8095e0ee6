"""Make Figure 5 from a config and a checkpoint, of the trained network and of its random initial weights beside it."""

from __future__ import annotations

import copy

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from ...apis.launch import set_dataloader_defaults
from ..trained import load_trained
from .class_kernels import ClassKernels, measure_class_kernels
from .class_kernels_picture import draw_centres, draw_distances
from .figures import check_picture
from .gated_layers import pick_layers


def analyze_gates(
    config: str,
    checkpoint: str,
    out: str,
    layer: str | None = None,
    control: bool = False,
    seed: int = 0,
    device: str | None = None,
    cfg_options: dict | None = None,
) -> str:
    """Measure whether the modulated kernels of a layer gather by class, over the validation set, and draw it.

    Args:
        config, checkpoint, device, cfg_options: As for :func:`load_trained`.
        out: The picture of the distances; the mean kernels of the classes go to ``<out>-kernels`` beside it.
        layer: Name of the gated layer; by default the last one, as in the paper.
        control: Also measure the same network with random initial weights.
        seed: Seed of these weights.

    Returns:
        One line that says what the pictures show.

    Raises:
        FileNotFoundError: If the config or the checkpoint is missing.
        ValueError: If a layer, a number or a suffix is wrong, or the checkpoint does not fit the config.
    """
    out = check_picture(out, [config, checkpoint])
    results, classes = {}, ()
    for title, weights in dict(trained=checkpoint, **({'random initial weights': None} if control else {})).items():
        trained = load_trained(config, weights, device, cfg_options, seed)
        trained.classes = classes = classes or trained.classes
        ((name, module),) = pick_layers(trained.model, [layer] if layer else ()).items()
        results[title] = measure_class_kernels(trained, validation_loader(trained.cfg), name, module)
    draw_distances(results, name, out)
    kernels = draw_centres(results['trained'], name, out.with_name(f'{out.stem}-kernels{out.suffix}'))
    return f'{describe(results, name)}: {out}; mean kernel of each class: {kernels}'


def validation_loader(cfg: Config):
    """Build a loader of the whole validation set."""
    cfg = copy.deepcopy(cfg)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        set_dataloader_defaults(cfg, no_pin_memory=True, no_persistent_workers=True)
        return Runner.build_dataloader(cfg.get('val_dataloader') or cfg.test_dataloader)


def describe(results: dict[str, ClassKernels], layer: str) -> str:
    """Say in one line for how many pairs the classes lie further apart than the kernels of one of them."""
    first = next(iter(results.values()))
    shares = '; '.join(
        f'{title} {result.share:.2%} (inter / intra {result.ratio:.2f} on average)' for title, result in results.items()
    )
    pairs = len(first.classes) * (len(first.classes) - 1)
    return (
        f'Modulated kernels of {layer} over {first.counts.sum():,} samples of {len(first.classes)} classes, '
        f'share of the {pairs:,} pairs with inter-class > intra-class distance: {shares}'
    )
