"""Draw whether the modulated kernels gather by class, epoch after epoch of a training (paper, A.4, Figure 5)."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure

from ...engine.curves import CURVES
from ...whole_file import check_outputs, whole_file
from ..run_logs import first_metric, read_run
from ..trained import load_trained
from .analyze_gates import validation_loader
from .class_kernels import measure_class_kernels
from .figures import COLOURS, check_picture, save
from .gated_layers import pick_layers

FIELDS = ('run', 'layer', 'epoch', 'share', 'ratio', 'metric', 'value')


def draw_kernels_history(
    config: str,
    runs: Sequence[str],
    out: str,
    layers: Sequence[str] = (),
    every: int = 1,
    device: str | None = None,
    cfg_options: dict | None = None,
) -> str:
    """Measure the layers in the checkpoints ``epoch_*.pth`` of runs, and draw share and ratio over the epochs.

    If there are several runs, the line is their mean.  Each checkpoint and layer takes a pass over the validation set,
    so results go to the same name with .csv at once, and are not measured again.

    Args:
        config: Path of the runs' config.
        runs: Their work directories, which keep their checkpoints (``max_keep_ckpts=-1``).
        out: The picture to write.
        layers: Names of gated layers; by default the last one, as in the paper.
        every: Epochs from one look to the next, counted from the last epoch.
        device, cfg_options: As for :func:`load_trained`.

    Returns:
        One line that says where the layers end.

    Raises:
        FileNotFoundError: If the config or a checkpoint is missing.
        ValueError: If a layer, a number or a suffix is wrong, or the checkpoint does not fit the config.
    """
    if every < 1:
        raise ValueError(f'every must be at least 1 epoch, got {every}')
    out = check_picture(out)
    table = out.with_suffix('.csv')
    check_outputs([table], [config, *(Path(run, CURVES) for run in runs)])
    rows = _read(table)
    epochs = {run: _epochs(run)[::-1][::every][::-1] for run in runs}
    for run in runs:
        for epoch in epochs[run]:
            if layers and all((run, name, epoch) in rows for name in layers):
                continue
            trained = load_trained(config, str(Path(run, f'epoch_{epoch}.pth')), device, cfg_options)
            layers = list(pick_layers(trained.model, layers))
            for name, layer in pick_layers(trained.model, layers).items():
                if (run, name, epoch) not in rows:
                    kernels = measure_class_kernels(trained, validation_loader(trained.cfg), name, layer)
                    rows[run, name, epoch] = _row(run, name, epoch, kernels)
                    _write(table, rows)
    chosen = [row for (run, name, epoch), row in rows.items() if name in layers and epoch in epochs.get(run, ())]
    save(_draw(chosen, layers), out, dpi=120)
    last = {name: [row for row in chosen if row['layer'] == name and row['epoch'] == epochs[row['run']][-1]]
            for name in layers}  # fmt: skip
    ends = '; '.join(
        f'{name} {mean(row["share"] for row in own):.2%}, inter / intra {mean(row["ratio"] for row in own):.2f}'
        for name, own in last.items()
    )
    return f'Share of the pairs with inter-class > intra-class distance, at the end: {ends}: {out}, numbers in {table}'


def _epochs(run: str) -> list[int]:
    found = (re.fullmatch(r'epoch_(\d+)\.pth', path.name) for path in Path(run).glob('epoch_*.pth'))
    epochs = sorted(int(match[1]) for match in found if match)
    if not epochs:
        raise FileNotFoundError(f'no epoch_*.pth in {run}; give the work directory of a run that keeps its checkpoints')
    return epochs


def _row(run: str, layer: str, epoch: int, kernels) -> dict:
    log = read_run(run)
    metric = first_metric(log)
    value = log.validation.get(metric, {}).get(epoch, '')
    return dict(run=run, layer=layer, epoch=epoch, share=kernels.share, ratio=kernels.ratio, metric=metric, value=value)


def _read(path: Path) -> dict[tuple[str, str, int], dict]:
    """Read the rows that are there already, by run, layer and epoch."""
    if not path.is_file():
        return {}
    with path.open(newline='', encoding='utf-8') as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != FIELDS:
            raise ValueError(f'{path} has columns {reader.fieldnames} instead of {list(FIELDS)}; give another --out')
        rows = [
            {**row, 'epoch': int(row['epoch']), 'share': float(row['share']), 'ratio': float(row['ratio'])}
            for row in reader
        ]
    return {(row['run'], row['layer'], row['epoch']): row for row in rows}


def _write(path: Path, rows: dict) -> None:
    with whole_file(path) as part, part.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows.values())


def _draw(rows: list[dict], layers: Sequence[str]) -> Figure:
    figure = Figure(figsize=(10, 4), layout='constrained')
    panels = dict(zip(('share', 'ratio'), figure.subplots(1, 2), strict=True))
    for key, axes in panels.items():
        for name, colour in zip(layers, cycle(COLOURS)):
            by_epoch: dict[int, list[float]] = {}
            for row in rows:
                if row['layer'] == name:
                    by_epoch.setdefault(row['epoch'], []).append(row[key])
            points = sorted((epoch, mean(values)) for epoch, values in by_epoch.items())
            axes.plot(*zip(*points, strict=True), color=colour, marker='o', markersize=3, label=name)
        axes.set_xlabel('epoch')
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
    panels['share'].set(ylabel='share of the pairs with inter > intra', ylim=(-0.03, 1.03))
    panels['ratio'].set(ylabel='inter-class / intra-class distance')
    panels['ratio'].axhline(1, color='grey', linewidth=0.8, linestyle=':')
    panels['share'].legend(frameon=False)
    return figure
