"""Draw the loss and the metrics of a training over its epochs, and write the numbers to a CSV beside the picture."""

import csv
from collections import defaultdict
from itertools import cycle
from numbers import Real
from pathlib import Path

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..registry import HOOKS
from ..whole_file import whole_file

# This is Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9')
LOSS = 'train/loss'
CURVES = 'curves.csv'
FIELDS = ('iter', 'epoch', 'name', 'value')


@HOOKS.register_module()
class CurvesHook(Hook):
    """Write ``curves.csv`` and ``curves.png`` to the work directory after each validation and at the end.

    The CSV has the columns ``iter, epoch, name, value``: the training loss, averaged over ``interval`` iterations, and
    every metric of the validations.  A resumed run reads it, drops what lies after the checkpoint, and goes on, so that
    the picture always shows the whole curve.

    Args:
        interval: Iterations between two points of the training loss.

    Raises:
        ValueError: If ``interval`` is not positive.
    """

    priority = 'LOWEST'

    def __init__(self, interval: int = 50) -> None:
        if interval < 1:
            raise ValueError(f'interval must be at least 1 iteration, got {interval}')
        self.interval = interval

    @master_only
    def before_train(self, runner: Runner) -> None:
        self.csv = Path(runner.work_dir) / CURVES
        self.losses = []
        self.rows = []
        if runner.iter > 0 and self.csv.exists():
            with self.csv.open(newline='') as file:
                rows = [
                    (int(row['iter']), float(row['epoch']), row['name'], float(row['value']))
                    for row in csv.DictReader(file)
                ]
            self.rows = [row for row in rows if row[0] <= runner.iter]

    @master_only
    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        self.losses.append(outputs['loss'].detach())  # read only at the interval, so that few steps wait for the GPU
        if len(self.losses) == self.interval:
            self._record_loss(runner, runner.iter + 1)

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if not hasattr(self, 'rows'):  # because the validation runs without a training
            return
        for name, value in (metrics or {}).items():
            if isinstance(value, Real):
                self._record(runner, runner.iter, name, value)
        self._write()

    @master_only
    def after_train(self, runner: Runner) -> None:
        if self.losses:
            self._record_loss(runner, runner.iter)
        self._write()
        runner.logger.info(f'The curves are in {self.csv.with_suffix(".png")}, their numbers in {self.csv}.')

    def _record_loss(self, runner: Runner, iteration: int) -> None:
        self._record(runner, iteration, LOSS, torch.stack(self.losses).mean().item())
        self.losses = []

    def _record(self, runner: Runner, iteration: int, name: str, value: float) -> None:
        self.rows.append((iteration, iteration / len(runner.train_dataloader), name, float(value)))

    def _write(self) -> None:
        with whole_file(self.csv) as part, part.open('w', newline='') as file:  # because a resumed run reads it
            writer = csv.writer(file)
            writer.writerow(FIELDS)
            writer.writerows(self.rows)
        plot_curves(self.rows, self.csv.with_suffix('.png'))


def plot_curves(rows: list[tuple[int, float, str, float]], path: Path) -> None:
    """Draw the training loss and, beside it, the metrics over the epochs.

    Args:
        rows: (iteration, epoch, name, value) of each point.
        path: The picture to write.
    """
    from matplotlib.figure import Figure  # This takes half a second, which most commands need not spend.

    curves = defaultdict(list)
    for _, epoch, name, value in rows:
        curves[name].append((epoch, value))
    losses, metrics = curves.pop(LOSS, []), curves
    percent = all(name.startswith('accuracy') for name in metrics)

    figure = Figure(figsize=(10, 4), layout='constrained')
    left, right = figure.subplots(1, 2)
    left.plot(*zip(*losses, strict=True), color=COLOURS[0])
    left.set(xlabel='epoch', ylabel='training loss (nats)')
    for colour, (name, points) in zip(cycle(COLOURS), metrics.items()):
        right.plot(*zip(*points, strict=True), color=colour, marker='o', markersize=3, label=name)
        right.annotate(f'{points[-1][1]:.2f}', points[-1], (4, 4), textcoords='offset points', color=colour)
    right.set(xlabel='epoch', ylabel='validation accuracy (%)' if percent else 'validation metric')
    if metrics:
        right.legend(frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[['top', 'right']].set_visible(False)
    with whole_file(path) as part:
        figure.savefig(part, dpi=120)
