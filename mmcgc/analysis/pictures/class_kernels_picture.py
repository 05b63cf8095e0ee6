"""Draw Figure 5 of the paper, and the mean modulated kernels of the classes as another picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .class_kernels import ClassKernels
from .figures import COLOURS, DIVERGING, save, tiles

NAMED, NUMBERED, SHOWN = 40, 12, 12  # names, numbers and kernels of so many classes fit


def draw_distances(results: dict[str, ClassKernels], layer: str, path: str | Path) -> Path:
    """Draw difference matrices side by side, and below each, intra-class and inter-class distances class by class.

    Args:
        results: Results by title, as of the trained network and its control.
        layer: Name of the layer.
        path: The picture to write.
    """
    figure = Figure(figsize=(5.4 * len(results), 7.8), layout='constrained')
    figure.suptitle(f'Do the modulated kernels of {layer} gather by class?')
    axes = figure.subplots(2, len(results), squeeze=False, height_ratios=(2, 1))
    for (title, result), matrix, bars in zip(results.items(), *axes, strict=True):
        _matrix(figure, matrix, result)
        matrix.set_title(f'{title}: inter > intra in {result.share:.2%} of pairs', fontsize=11)
        _bars(bars, result)
    return save(figure, path)


def _matrix(figure: Figure, axes: Axes, result: ClassKernels) -> None:
    shown = np.where(np.eye(len(result.intra), dtype=bool), np.nan, result.difference)
    limit = np.nanmax(np.abs(shown))
    unit = 1 if 0.1 <= limit < 1000 else 10.0 ** np.floor(np.log10(max(limit, 1e-30)))
    limit /= unit
    image = axes.imshow(shown / unit, cmap=DIVERGING, vmin=-limit, vmax=limit)
    axes.set_facecolor('0.85')
    axes.set(xlabel='centre of class', ylabel='kernels of class')
    scale = '' if unit == 1 else f', in {unit:g}'
    figure.colorbar(image, ax=axes, shrink=0.8, label=f'inter-class - intra-class distance (L2{scale})')
    _name_ticks(axes, result, 'xy')
    if len(shown) <= NUMBERED:
        for (row, column), value in np.ndenumerate(shown / unit):
            if row != column:
                colour = 'white' if abs(value) > 0.6 * limit else 'black'
                digits = 1 if limit >= 1 else 2
                axes.text(column, row, f'{value:.{digits}f}', ha='center', va='center', fontsize=8, color=colour)


def _bars(axes: Axes, result: ClassKernels) -> None:
    others = np.where(np.eye(len(result.intra), dtype=bool), np.nan, result.inter)
    at = np.arange(len(result.intra))
    axes.bar(at, result.intra, color=COLOURS[5], label='intra-class: mean distance to the own centre')
    axes.plot(at, np.nanmean(others, 1), 'o', color=COLOURS[1], label='inter-class: mean over the other centres')
    axes.plot(at, np.nanmin(others, 1), 'v', color=COLOURS[0], label='inter-class: nearest other centre')
    axes.set(ylabel='L2 distance', ylim=(0, 1.6 * max(result.intra.max(), np.nanmean(others, 1).max())))
    axes.legend(frameon=False, fontsize=8, loc='upper left')
    axes.spines[['top', 'right']].set_visible(False)
    _name_ticks(axes, result, 'x')


def _name_ticks(axes: Axes, result: ClassKernels, which: str) -> None:
    named = len(result.classes) <= NAMED
    for axis in which:
        labels = result.classes if named else []
        ticks = range(len(labels)) if named else []
        getattr(axes, f'set_{axis}ticks')(ticks, labels, fontsize=8, **(dict(rotation=90) if axis == 'x' else {}))


def draw_centres(result: ClassKernels, layer: str, path: str | Path) -> Path:
    """Draw the mean modulated kernels of the first classes, each minus the mean over the classes.

    The picture shows 8 x 8 output and input channels, evenly spaced, and the middle one of several kernels of a sample.
    """
    kernels = result.centres[:, result.centres.shape[1] // 2]  # (K, O, C / groups, *K)
    kernels = (kernels - kernels.mean(0))[:SHOWN]
    pictures = [tiles(kernel) for kernel in kernels]
    limit = np.nanpercentile(np.abs(pictures), 99)
    columns = min(5, len(pictures))
    rows = -(-len(pictures) // columns)
    height, width = pictures[0].shape
    figure = Figure(figsize=(2 * columns + 1.2, (2 * height / width + 0.35) * rows + 0.7), layout='constrained')
    figure.suptitle(f'{layer}: mean modulated kernel of each class, minus the mean over the classes', fontsize=11)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat[len(pictures) :]:
        ax.set_axis_off()
    for ax, picture, name in zip(axes.flat, pictures, result.classes, strict=False):
        image = ax.imshow(picture, cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation='nearest')
        ax.set(xticks=[], yticks=[])
        ax.set_title(name, fontsize=9)
    figure.colorbar(image, ax=axes, aspect=30, fraction=0.03, pad=0.01, label='difference of weight x gate')
    figure.supxlabel('input channels, each tile one kernel', fontsize=9)
    figure.supylabel('output channels', fontsize=9)
    return save(figure, path)
