"""Draw training curves of several networks, each over one or more seeds, from their logs (paper, Figure 3)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...engine.curves import CURVES
from ...whole_file import check_outputs, whole_file
from ..run_logs import RunLog, first_metric, read_run
from .figures import COLOURS, check_picture, save

LINES = ('-', '--', '-.', ':')
FIELDS = ('network', 'quantity', 'unit', 'step', 'runs', 'mean', 'std')
Point = tuple[int, int, float, float]  # step, runs, mean, standard deviation


def compare_curves(networks: Sequence[Sequence[str]], out: str, metric: str | None = None) -> str:
    """Draw the training loss over iterations and a validation metric over epochs, and write both beside, as CSV.

    If a network has several runs, the line is their mean, and the band one standard deviation (of the sample) to either
    side; a step that some of them lack is left out.

    Args:
        networks: For each network its name and the work directories of its runs.
        out: The picture to write; the numbers go to the same name with .csv.
        metric: A scalar of the validation; by default the first that they log.

    Returns:
        One line that says what the picture shows.

    Raises:
        FileNotFoundError: If a directory has no log.
        ValueError: If a network has no runs, a run lacks that metric, or some runs count epochs and others iterations.
    """
    out = check_picture(out)
    check_outputs([out.with_suffix('.csv')], [Path(run, CURVES) for _, *runs in networks for run in runs])
    for name, *runs in networks:
        if not runs:
            raise ValueError(f'{name} has no run; give a name and then work directories')
    logs = {name: [read_run(run) for run in runs] for name, *runs in networks}
    every = [log for runs in logs.values() for log in runs]
    metric = metric or first_metric(every[0])
    for log in every:
        if metric not in log.validation:
            known = ', '.join(name for name in log.validation if name not in ('step', 'time', 'data_time'))
            raise ValueError(f'{log.name} has logged no metric {metric!r}; it has {known or "no validation"}')
        if 'loss' not in log.training:
            raise ValueError(f'{log.name} has logged no training loss')
    if len({log.by_epoch for log in every}) > 1:
        raise ValueError('some of the runs count epochs and others iterations: they cannot share an axis')
    curves = {
        name: {
            'training loss': _band([log.training['loss'] for log in runs]),
            metric: _band([log.validation[metric] for log in runs]),
        }
        for name, runs in logs.items()
    }
    unit = 'epoch' if every[0].by_epoch else 'iteration'
    save(_draw(curves, logs, metric, unit), out, dpi=120)
    _write(curves, metric, unit, out.with_suffix('.csv'))
    ends = ', '.join(f'{name} {_end(curve[metric])}' for name, curve in curves.items())
    return f'Training loss and {metric}, which ends at {ends}: {out}, numbers in {out.with_suffix(".csv")}'


def _band(runs: list[dict[int, float]]) -> list[Point]:
    """Compute mean and standard deviation over the runs at the steps that all of them have."""
    steps = sorted(set.intersection(*map(set, runs)))
    values = np.array([[run[step] for run in runs] for step in steps]).reshape(len(steps), len(runs))
    spread = values.std(1, ddof=1) if len(runs) > 1 else np.zeros(len(steps))
    return [
        (step, len(runs), float(mean), float(std))
        for step, mean, std in zip(steps, values.mean(1), spread, strict=True)
    ]


def _end(points: list[Point]) -> str:
    if not points:
        return 'no common step'
    _, runs, mean, std = points[-1]
    return f'{mean:.2f}' if runs == 1 else f'{mean:.2f} ± {std:.2f} ({runs} runs)'


def _draw(curves: dict, logs: dict[str, list[RunLog]], metric: str, unit: str) -> Figure:
    figure = Figure(figsize=(10, 4.2 + 0.25 * len(curves)), layout='constrained')
    left, right = figure.subplots(1, 2)
    for (name, curve), colour, line in zip(curves.items(), cycle(COLOURS), cycle(LINES)):
        many = f', mean ± s.d. of {len(logs[name])} runs' if len(logs[name]) > 1 else ''
        _line(left, curve['training loss'], colour, line)
        _line(right, curve[metric], colour, line, label=f'{name}{many}', marker='o', markersize=3)
    left.set(xlabel='iteration', ylabel='training loss (nats)')
    right.set(xlabel=unit, ylabel=f'validation {metric}' + (' (%)' if metric.startswith('accuracy') else ''))
    figure.legend(loc='outside lower center', frameon=False)  # names of configs are too long for a panel
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
    return figure


def _line(axes: Axes, points: list[Point], colour: str, line: str, **style) -> None:
    if not points:
        return
    steps, runs, means, spreads = map(np.array, zip(*points, strict=True))
    axes.plot(steps, means, line, color=colour, linewidth=1.3, **style)
    if runs[0] > 1:
        axes.fill_between(steps, means - spreads, means + spreads, color=colour, alpha=0.2, linewidth=0)


def _write(curves: dict, metric: str, unit: str, path: Path) -> None:
    with whole_file(path) as part, part.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(FIELDS)
        for name, curve in curves.items():
            for quantity, points in curve.items():
                step = unit if quantity == metric else 'iteration'
                writer.writerows((name, quantity, step, *point) for point in points)
