"""Draw the gates as small multiples, which show what changes in a kernel from one input to the next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from mmcgc.layers import GatedConv

from ...progress import tracked
from ..trained import Trained, load_trained
from .figures import DIVERGING, SEQUENTIAL, check_picture, save, tiles
from .gated_layers import layer_gates, pick_layers, recorded_terms
from .samples import dataset_samples, read_samples

FRAMES = 4  # at most so many frames of a clip are shown


def show_gates(
    config: str,
    checkpoint: str,
    out: str,
    paths: Sequence[str] = (),
    samples: int | None = None,
    layers: Sequence[str] = (),
    channels: int = 8,
    device: str | None = None,
    cfg_options: dict | None = None,
) -> str:
    """Draw the gates of some layers for some inputs, and how they differ from those for the first input.

    Args:
        config, checkpoint, device, cfg_options: As for :func:`load_trained`.
        out: The picture to write.
        paths: Files and folders of pictures or videos.
        samples: Instead of ``paths``, a number of samples of the validation set, from one class after the other.
        layers: Names of gated layers; by default the last one.
        channels: Output and input channels to show, evenly spaced.

    Returns:
        One line that says what the picture shows.

    Raises:
        FileNotFoundError: If the config, the checkpoint or a picture is missing.
        ValueError: If a layer, a number or a suffix is wrong, or the checkpoint does not fit the config.
    """
    out = check_picture(out, [config, checkpoint, *paths])
    if bool(paths) == (samples is not None):
        raise ValueError('give either pictures (files or folders) or a number of samples of the validation set')
    if channels < 1:
        raise ValueError(f'the number of channels must be positive, got {channels}')
    trained = load_trained(config, checkpoint, device, cfg_options)
    picked = pick_layers(trained.model, layers)
    inputs = read_samples(trained, paths) if paths else dataset_samples(trained, samples)
    rows = [row for sample in tracked(inputs) for row in _rows(trained, sample, picked)]
    save(_draw(rows, picked, channels), out)
    changes = ', '.join(f'{name} {_change(rows, name):.3g}' for name in picked)
    what = 'frame' if trained.is_video else 'picture'
    return (
        f'Gates of {trained.name} for {len(rows)} {what}{"s" * (len(rows) != 1)}; mean absolute difference from '
        f'the first: {changes}: {out}'
    )


Row = tuple[str, np.ndarray, dict[str, np.ndarray]]  # title, picture, gates (O, C, *K) by layer


@torch.no_grad()
def _rows(trained: Trained, sample, layers: dict) -> list[Row]:
    """Return one row for a picture; for a clip one for each of some frames, if each frame has its own gate."""
    with recorded_terms(layers) as terms:
        label = int(trained.logits(sample.inputs)[0].argmax())
    gates = {name: layer_gates(layer, *terms[name]).cpu().numpy() for name, layer in layers.items()}  # (R, O, C, *K)
    title = sample.name if sample.label is None else f'true: {trained.class_name(sample.label)}'
    title += f'\npredicted: {trained.class_name(label)}'
    most = max(len(gate) for gate in gates.values())
    rows = []
    for i in range(min(FRAMES, most)):
        at = (2 * i + 1) / (2 * min(FRAMES, most))
        frame = int(at * len(sample.frames))
        named = title if most == 1 else f'{title}\nframe {frame + 1}'
        rows.append((named, sample.frames[frame], {name: gate[int(at * len(gate))] for name, gate in gates.items()}))
    return rows


def _change(rows: list[Row], name: str) -> float:
    """Return the mean absolute difference of the gates from those of the first row."""
    first, others = rows[0][2][name], [gates[name] for *_, gates in rows[1:]]
    return float(np.mean([np.abs(gate - first).mean() for gate in others])) if others else 0.0


def _draw(rows: list[Row], layers: dict[str, GatedConv], channels: int) -> Figure:
    """Draw a row for each input: the picture, then for each layer its gates and how they differ from the first."""
    shown = {name: [tiles(gates[name], channels) for *_, gates in rows] for name in layers}
    differences = [picture - shown[name][0] for name in layers for picture in shown[name][1:]]
    limit = max(np.nanmax(np.abs(picture)) for picture in differences) if differences else 1.0
    most = max(layer.gate_gain for layer in layers.values())
    ratios = [1] + [shape[1] / shape[0] for name in layers for shape in 2 * [shown[name][0].shape]]
    figure = Figure(figsize=(2 * sum(ratios) + 1.8, 2.5 * len(rows) + 0.9), layout='constrained')
    axes = figure.subplots(len(rows), len(ratios), squeeze=False, width_ratios=ratios)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    for row, (title, picture, _) in enumerate(rows):
        axes[row, 0].imshow(picture)
        axes[row, 0].set_xlabel(title, fontsize=8)
        for i, name in enumerate(layers):
            value, change = axes[row, 1 + 2 * i : 3 + 2 * i]
            gates = value.imshow(shown[name][row], cmap=SEQUENTIAL, vmin=0, vmax=most, interpolation='nearest')
            if row == 0:
                value.set_title(f'{name}\ngates', fontsize=9)
                change.set_axis_off()
                continue
            changed = change.imshow(shown[name][row] - shown[name][0], cmap=DIVERGING, vmin=-limit, vmax=limit,
                                    interpolation='nearest')  # fmt: skip
            if row == 1:
                change.set_title('minus those of\nthe first row', fontsize=9)
    figure.supxlabel(
        'input channels to the right, output channels downwards; each tile is the gate of one kernel', fontsize=9
    )
    bar = dict(ax=axes, aspect=25, fraction=0.04, pad=0.02)
    figure.colorbar(gates, label=f'gate (0 shut, {most} open)', **bar)
    if differences:
        figure.colorbar(changed, label='difference of gates', **bar)
    return figure
