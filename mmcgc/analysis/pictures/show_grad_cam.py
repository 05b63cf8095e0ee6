"""Draw Grad-CAM++ of several networks side by side, many pictures or clips on one contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mmengine.config import ConfigDict

from ...progress import tracked
from ..trained import Trained, load_trained
from .figures import SEQUENTIAL, check_picture, save
from .grad_cam import Look, look, pick_convolution
from .samples import Sample, dataset_samples, read_samples

FRAMES = 8  # at most so many frames of a clip are shown
PLACES = {'before': 'before\nthe last {}', 'context': 'context\nthat it pools', 'after': 'after it'}
OVERLAY = 0.55


def show_grad_cam(
    models: Sequence[tuple[str, str]],
    out: str,
    paths: Sequence[str] = (),
    samples: int | None = None,
    layer: str | None = None,
    target: str | None = None,
    device: str | None = None,
    cfg_options: ConfigDict | None = None,
) -> str:
    """Draw where networks look, before and after their last (gated) convolution.

    Args:
        models: Config and checkpoint of each network, plain or gated, of pictures or of video.
        out: The contact sheet to write.
        paths: Files and folders of pictures or videos.
        samples: Instead of ``paths``, a number of samples of the validation set, from one class after the other.
        layer: Name of the convolution; by default see :func:`pick_convolution`.
        target: Name or number of the class whose evidence to show; by default the one that each network predicts.
        device, cfg_options: As for :func:`load_trained`.

    Returns:
        One line that says what the picture shows.

    Raises:
        FileNotFoundError: If a config, a checkpoint or a picture is missing.
        ImportError: If the package ``grad-cam`` is missing.
        ValueError: If a layer, a class or a suffix is wrong, or a checkpoint does not fit its config.
    """
    out = check_picture(out, [*chain(*models), *paths])
    if bool(paths) == (samples is not None):
        raise ValueError('give either pictures (files or folders) or a number of samples of the validation set')
    columns = []
    for config, checkpoint in models:
        trained = load_trained(config, checkpoint, device, cfg_options)
        name, module = pick_convolution(trained.model, layer)
        shown = read_samples(trained, paths) if paths else dataset_samples(trained, samples)
        goal = None if target is None else trained.label(target)
        columns.append((trained, name, shown, [look(trained, sample, module, goal) for sample in tracked(shown)]))
    if len({trained.is_video for trained, *_ in columns}) > 1:
        raise ValueError('networks of pictures and of video cannot share a sheet')
    draw = _draw_clips if columns[0][0].is_video else _draw_pictures
    save(draw(columns), out)
    names = ' and '.join(f'{trained.name} ({name})' for trained, name, *_ in columns)
    what, number = 'clip' if columns[0][0].is_video else 'picture', len(columns[0][2])
    return f'Grad-CAM++ of {names} on {number} {what}{"s" * (number != 1)}: {out}'


Columns = list[tuple[Trained, str, list[Sample], list[Look]]]


def _draw_pictures(columns: Columns) -> Figure:
    """Draw a row for each picture, and beside it the maps of each network."""
    width = 1 + sum(len(looks[0].maps) for *_, looks in columns)
    height = len(columns[0][2])
    figure = Figure(figsize=(1.55 * width + 0.9, 1.8 * height + 0.8), layout='constrained')
    axes = figure.subplots(height, width, squeeze=False)
    for row, ax in enumerate(axes[:, 0]):
        trained, _, shown, _ = columns[0]
        _show(ax, shown[row].frames[0])
        ax.set_xlabel(_truth(trained, shown[row]), fontsize=8)
    axes[0, 0].set_title('picture', fontsize=9)
    first = 1
    for trained, _, shown, looks in columns:
        for row, (sample, seen) in enumerate(zip(shown, looks, strict=True)):
            group = axes[row, first : first + len(seen.maps)]
            for ax, (place, maps) in zip(group, seen.maps.items(), strict=True):
                _show(ax, sample.frames[0], maps[0])
                if row == 0:
                    ax.set_title(f'{trained.name}\n{_place(place, looks)}', fontsize=9)
            group[-1].set_xlabel(_prediction(trained, sample, seen), fontsize=8)
        first += len(looks[0].maps)
    return _with_scale(figure, axes)


def _draw_clips(columns: Columns) -> Figure:
    """Draw a block for each clip: its frames as a strip, and below it a strip for each map of each network."""
    blocks = 1 + sum(len(looks[0].maps) for *_, looks in columns)
    clips, shown = len(columns[0][2]), min(FRAMES, len(columns[0][2][0].frames))
    figure = Figure(figsize=(1.1 * shown + 3.2, 1.15 * blocks * clips + 0.6), layout='constrained')
    axes = figure.subplots(blocks * clips, shown, squeeze=False)
    for clip in range(clips):
        rows = iter(axes[clip * blocks : (clip + 1) * blocks])
        trained, _, samples, _ = columns[0]
        _strip(next(rows), samples[clip], _truth(trained, samples[clip]))
        for trained, _, samples, looks in columns:
            for place, maps in looks[clip].maps.items():
                label = f'{trained.name}\n{_place(place, looks)}'
                if place == 'after':
                    label += f'\n{_prediction(trained, samples[clip], looks[clip])}'
                _strip(next(rows), samples[clip], label, maps)
    return _with_scale(figure, axes)


def _strip(axes: np.ndarray, sample: Sample, label: str, maps: np.ndarray | None = None) -> None:
    count = len(sample.frames)
    for i, ax in enumerate(axes):
        frame = (2 * i + 1) * count // (2 * len(axes))
        _show(ax, sample.frames[frame], None if maps is None else maps[frame * len(maps) // count])
        if maps is None:
            ax.set_title(f'frame {frame + 1}', fontsize=8)
    axes[0].set_ylabel(label, fontsize=8, rotation=0, ha='right', va='center')


def _show(ax: Axes, frame: np.ndarray, values: np.ndarray | None = None) -> None:
    ax.set(xticks=[], yticks=[])
    extent = (0, frame.shape[1], frame.shape[0], 0)
    if values is None:
        ax.imshow(frame, extent=extent)
        return
    ax.imshow(frame.mean(-1), cmap='gray', vmin=0, vmax=255, extent=extent)
    ax.imshow(values, cmap=SEQUENTIAL, vmin=0, vmax=1, alpha=OVERLAY, extent=extent, interpolation='bilinear')


def _with_scale(figure: Figure, axes: np.ndarray) -> Figure:
    from matplotlib.cm import ScalarMappable

    bar = figure.colorbar(ScalarMappable(cmap=SEQUENTIAL), ax=axes, aspect=40, fraction=0.02, pad=0.01)
    bar.set_label('Grad-CAM++, share of the highest value', fontsize=8)
    return figure


def _place(place: str, looks: list[Look]) -> str:
    return PLACES[place].format('CGC' if 'context' in looks[0].maps else 'convolution')


def _truth(trained: Trained, sample: Sample) -> str:
    return sample.name if sample.label is None else f'true: {trained.class_name(sample.label)}'


def _prediction(trained: Trained, sample: Sample, seen: Look) -> str:
    mark = '' if sample.label is None else (' (correct)' if seen.label == sample.label else ' (wrong)')
    text = f'{trained.class_name(seen.label)} {seen.score:.0%}{mark}'
    return text if seen.target == seen.label else f'{text}\nmap: {trained.class_name(seen.target)}'
