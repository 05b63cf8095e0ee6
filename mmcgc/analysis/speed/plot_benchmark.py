"""Draw what :mod:`.benchmark` measured: a point for each way to run a network, or how its cost grows."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

from ..pictures.figures import COLOURS, check_picture, save
from .benchmark import ARMS, PASSES

NAMES = dict(
    plain='plain',
    mmcgc='mmcgc',
    batch_as_groups='batch as groups',
    unfold="unfold (the authors' form)",
    context='context only, not applied',
    condconv='CondConv (timm)',
)
MARKERS = dict(zip(ARMS, 'sovX^D', strict=True))
COLOUR = dict(zip(ARMS, cycle(COLOURS)))
TICKS = (0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50)
HELD = ('config', 'device', 'threads', 'layout', 'dtype', 'compiled', 'graphed', 'memory')
GROWTH = dict(batch=lambda row: int(row['batch']), size=lambda row: int(row['input'].split('x')[-1]))


def read_rows(path: str) -> list[dict]:
    """Read the rows that the benchmark appended to a CSV file, ratios as numbers; of equal settings keep the last.

    Raises:
        ValueError: If the benchmark did not write the file, or it has no row.
    """
    with open(path, newline='') as file:
        rows = list(csv.DictReader(file))
    if not rows or not {'arm', 'pass', 'ratio', 'layer', 'layout', 'memory'} <= rows[0].keys():
        raise ValueError(f'{path} has no rows of tools/analysis/benchmark.py --csv')
    latest = {}
    for row in rows:
        row.update({key: float(row[key]) for key in ('ratio', 'ratio_p20', 'ratio_p80')})
        latest[_label(row), row['pass'], row['arm']] = row
    return list(latest.values())


def draw_points(path: str, out: str, layers: bool = False) -> str:
    """Draw the time of each arm as a ratio to plain, forward pass and training step side by side.

    Args:
        path: CSV of the benchmark.
        out: The picture to write.
        layers: Draw layers that were measured one by one, instead of whole networks.

    Returns:
        One line that says what the picture shows.

    Raises:
        ValueError: If the file holds nothing of that kind.
    """
    out = check_picture(out, [path])
    rows = [row for row in read_rows(path) if (row['layer'] != 'network') == layers and row['arm'] != 'plain']
    if not rows:
        raise ValueError(f'{path} has no {"layers, measured with --layers" if layers else "networks"}')
    labels = list(dict.fromkeys(map(_label, rows)))
    figure = Figure(figsize=(11, 1.6 + 0.42 * len(labels)), layout='constrained')
    for axes, which in zip(figure.subplots(1, len(PASSES), sharey=True), PASSES, strict=True):
        for i, arm in enumerate(ARMS):
            points = [row for row in rows if row['pass'] == which and row['arm'] == arm]
            if points:
                _errors(axes, points, [labels.index(_label(row)) + 0.1 * (i - 3) for row in points], arm)
        axes.axvline(1, color='black', linewidth=0.8)
        axes.set(xlabel='time, ratio to the plain one', title=dict(forward='inference', step='training step')[which])
        _logarithmic(axes.set_xscale, axes.xaxis)
        axes.grid(axis='x', alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    figure.legend(*axes.get_legend_handles_labels(), loc='outside upper center', ncols=5, frameon=False)
    save(figure, out, dpi=110)
    return f'Time of {len(labels)} {"layers" if layers else "settings"} as a ratio to plain: {out}'


def draw_growth(path: str, out: str, against: str) -> str:
    """Draw the ratio to plain of a network's training step and inference against its batch or the size of its input.

    All else is held fixed: of the settings in the file, the one that was measured for most values of it is drawn.

    Raises:
        ValueError: If the file has fewer than two values of it.
    """
    out, value = check_picture(out, [path]), GROWTH[against]
    settings = defaultdict(list)
    for row in read_rows(path):
        if row['layer'] == 'network' and row['arm'] != 'plain':
            others = [of(row) for name, of in GROWTH.items() if name != against]
            settings[(*others, *(row[key] for key in HELD))].append(row)
    rows = max(settings.values(), key=lambda rows: len(set(map(value, rows))), default=[])
    ticks = sorted({value(row) for row in rows})
    if len(ticks) < 2:
        raise ValueError(f'{path} has networks of {len(ticks)} values of {against}; at least two are drawn')
    figure = Figure(figsize=(10, 3.8), layout='constrained')
    for axes, which in zip(figure.subplots(1, len(PASSES), sharey=True), PASSES, strict=True):
        for arm in ARMS:
            line = sorted((row for row in rows if row['pass'] == which and row['arm'] == arm), key=value)
            if line:
                axes.errorbar(
                    list(map(value, line)),
                    [row['ratio'] for row in line],
                    yerr=_spread(line),
                    marker=MARKERS[arm],
                    color=COLOUR[arm],
                    label=NAMES[arm],
                    capsize=2,
                )
        axes.axhline(1, color='black', linewidth=0.8)
        axes.set(
            xlabel=dict(batch='batch', size='side of the input (pixels)')[against],
            title=dict(forward='inference', step='training step')[which],
            xscale='log',
        )
        axes.xaxis.set(
            major_locator=FixedLocator(ticks), minor_locator=NullLocator(), major_formatter=FormatStrFormatter('%g')
        )
        axes.set_ylim(0.9 * min(1, *(row['ratio_p20'] for row in rows)), 1.1 * max(row['ratio_p80'] for row in rows))
        _logarithmic(axes.set_yscale, axes.yaxis)
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
    figure.axes[0].set_ylabel('time, ratio to the plain network')
    axes.legend(frameon=False)
    save(figure, out, dpi=110)
    return f'Time as a ratio to plain for {len(ticks)} values of {against}: {out}'


def _label(row: dict) -> str:
    name = Path(row['config']).stem.partition('_')[0].removeprefix('cgc-')
    setting = f'batch {row["batch"]}, {row["layout"]}, {row["threads"]} thread' + 's' * (row['threads'] != '1')
    setting += ', memory kept' * (row['memory'] == 'kept')
    if row['layer'] == 'network':
        return f'{name}, {row["input"].split("x")[-1]} px, {setting}'
    return f'{name} {row["layer"].removeprefix("backbone.")}, {row["input"]}'


def _spread(rows: list[dict]) -> list[list[float]]:
    below = [max(0.0, row['ratio'] - row['ratio_p20']) for row in rows]
    return [below, [max(0.0, row['ratio_p80'] - row['ratio']) for row in rows]]


def _errors(axes: Axes, rows: list[dict], heights: list[float], arm: str) -> None:
    axes.errorbar(
        [row['ratio'] for row in rows],
        heights,
        xerr=_spread(rows),
        linestyle='none',
        capsize=2,
        marker=MARKERS[arm],
        color=COLOUR[arm],
        label=NAMES[arm],
    )


def _logarithmic(scale: Callable, axis) -> None:
    scale('log')
    low, high = axis.get_view_interval()
    axis.set(
        major_locator=FixedLocator([t for t in TICKS if low <= t <= high]),
        minor_locator=NullLocator(),
        major_formatter=FormatStrFormatter('%g'),
    )
