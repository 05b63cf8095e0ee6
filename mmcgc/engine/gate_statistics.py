"""The gates' statistics in the log and the visualisers while a network trains."""

from __future__ import annotations

from collections import defaultdict
from functools import partial

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmcgc.analysis.gate_statistics import gate_statistics
from mmcgc.layers import ContextGate

from ..registry import HOOKS


@HOOKS.register_module()
class GateStatisticsHook(Hook):
    """Every ``interval`` iterations, :func:`gate_statistics` of every gated layer over the training batch.

    Each figure goes to the visualisers as ``gate/<layer>/<figure>``; at the end of the training their means over the
    layers go to the log, as one line.  A network without gates is left alone.

    Args:
        interval: iterations between two looks; one look costs a fraction of a training step.

    Raises:
        ValueError: ``interval`` is not positive.
    """

    priority = 'LOW'

    def __init__(self, interval: int = 100) -> None:
        if interval < 1:
            raise ValueError(f'interval must be at least 1 iteration, got {interval}')
        self.interval = interval
        self.latest: dict[str, dict[str, float]] = {}
        self.handles = []

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        last = runner.iter + 1 == runner.max_iters
        if (runner.iter + 1) % self.interval and not last:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for name, module in model.named_modules():
            if isinstance(module, ContextGate):
                self.handles.append(module.register_forward_hook(partial(self._look, name.removesuffix('.gate'))))

    def _look(self, name: str, gate: ContextGate, inputs: tuple, terms: tuple) -> None:
        self.latest[name] = gate_statistics(*terms, gate.combine, gate.num_frames)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        if not self.handles:
            return
        for handle in self.handles:
            handle.remove()
        self.handles = []
        scalars = {f'gate/{n}/{figure}': v for n, figures in self.latest.items() for figure, v in figures.items()}
        runner.visualizer.add_scalars(scalars, step=runner.iter + 1)

    def after_train(self, runner: Runner) -> None:
        if not self.latest:
            return
        figures = defaultdict(list)
        for layer in self.latest.values():
            for figure, value in layer.items():
                figures[figure].append(value)
        means = ', '.join(f'{figure} {sum(values) / len(values):.4f}' for figure, values in figures.items())
        runner.logger.info(f'Gates, averaged over {len(self.latest)} layers: {means}')
