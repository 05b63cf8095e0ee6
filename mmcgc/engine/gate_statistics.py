"""Send statistics of the gates to the log and the visualisers while a network trains."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from time import perf_counter

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from mmcgc.layers import Gated, gated_layers
from mmcgc.ops.gate_moments import gate_statistics, thin_gates

from ..registry import HOOKS


@HOOKS.register_module()
class GateStatisticsHook(Hook):
    """Compute :func:`gate_statistics` of every gated layer over the training batch, every ``interval`` iterations.

    Each figure goes to the visualisers (local, TensorBoard, ...) as ``gate/<layer>/<figure>``.  At the end of the
    training the log gets the last means over the layers, and the share of the training time that looking took.  Only
    the main process looks, at its own part of the batch.  A network without gates is left alone.

    Args:
        interval: Iterations between two looks; one look costs a fraction of a training step.

    Raises:
        ValueError: If ``interval`` is not positive.
    """

    priority = 'LOW'

    def __init__(self, interval: int = 100) -> None:
        if interval < 1:
            raise ValueError(f'interval must be at least 1 iteration, got {interval}')
        self.interval = interval
        self.latest: dict[str, dict[str, Tensor]] = {}
        self.handles = []
        self.seconds = 0.0

    def before_train(self, runner: Runner) -> None:
        self.start = perf_counter()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        last = runner.iter + 1 == runner.max_iters
        if ((runner.iter + 1) % self.interval and not last) or not is_main_process():
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for name, layer in gated_layers(model).items():
            self.handles.append(layer.gate.register_forward_hook(partial(self._look, name, layer)))

    def _look(self, name: str, layer: Gated, gate: nn.Module, inputs: tuple, output: Tensor | tuple) -> None:
        start = perf_counter()
        if torch.is_tensor(output):
            gates = output.detach().float()  # (B, H, k), the gates of sentences
        else:
            gates = layer.gate_gain * thin_gates(*output, layer.gate_combine, layer.groups)
        self.latest[name] = gate_statistics(gates, layer.gate_frames, layer.gate_gain)
        self.seconds += perf_counter() - start

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        if not self.handles:
            return
        start = perf_counter()
        for handle in self.handles:
            handle.remove()
        self.handles = []
        runner.visualizer.add_scalars(self._scalars(), step=runner.iter + 1)
        self.seconds += perf_counter() - start

    def _scalars(self) -> dict[str, float]:
        """Return every figure by its name; all are read from the device at once."""
        figures = {f'gate/{layer}/{figure}': value for layer, values in self.latest.items()
                   for figure, value in values.items()}  # fmt: skip
        return dict(zip(figures, torch.stack(list(figures.values())).tolist(), strict=True)) if figures else {}

    def after_train(self, runner: Runner) -> None:
        if not self.latest:
            return
        figures = defaultdict(list)
        for name, value in self._scalars().items():
            figures[name.rpartition('/')[2]].append(value)
        means = ', '.join(f'{figure} {sum(values) / len(values):.4f}' for figure, values in figures.items())
        share = self.seconds / (perf_counter() - self.start)
        runner.logger.info(
            f'Gates, averaged over {len(self.latest)} layers: {means}; looking took {share:.2%} of the training time.'
        )
