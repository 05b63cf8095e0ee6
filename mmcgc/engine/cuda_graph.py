"""Replay networks as CUDA graphs, because the kernels of many small layers take less time than their launches."""

from __future__ import annotations

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from ..ops.modes import is_watched
from ..registry import HOOKS


@HOOKS.register_module()
class CUDAGraphHook(Hook):
    """Capture the training pass of ``model.backbone``, forward and backward, and replay it from then on.

    Heads, losses and the optimiser run as usual, and so does the backbone in validation, on batches of another size
    than the first, and whenever one of its modules has a hook (gate statistics).  The results are those of the kernels
    launched one by one.  Without a GPU nothing is captured.

    Args:
        channels_last: Whether to bring images, and the weights that meet them, into this layout, in which half
            precision and the gated convolutions run without copies.

    Raises:
        ValueError: If there are several processes or gradients are accumulated, because a replay overwrites gradients.
    """

    def __init__(self, channels_last: bool = True) -> None:
        self.channels_last = channels_last

    def before_train(self, runner: Runner) -> None:
        if get_world_size() > 1 or is_model_wrapper(runner.model):
            raise ValueError(f'CUDAGraphHook takes one process, got {get_world_size()}: leave it out of custom_hooks')
        steps = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        if steps > 1:
            raise ValueError(
                f'CUDAGraphHook cannot accumulate gradients, got accumulative_counts={steps}: set it to '
                '1, or leave the hook out of custom_hooks'
            )
        if not torch.cuda.is_available():
            runner.logger.info('CUDAGraphHook: there is no GPU, so the backbone runs as usual.')
            return
        backbone = runner.model.backbone
        if self.channels_last:
            backbone.to(memory_format=torch.channels_last)
        backbone.forward = _Replayed(backbone, self.channels_last)

    def after_train(self, runner: Runner) -> None:
        runner.model.backbone.__dict__.pop('forward', None)


class _Replayed:
    """Stand in for the ``forward`` of a module that takes one tensor; the first training pass is captured."""

    def __init__(self, module: nn.Module, channels_last: bool) -> None:
        self.module, self.forward, self.replay, self.key = module, module.forward, None, None
        self.channels_last = channels_last
        self.watched = list(module.modules())

    def __call__(self, x: Tensor):
        if self.channels_last and x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        if not (self.module.training and torch.is_grad_enabled()) or any(map(is_watched, self.watched)):
            return self.forward(x)
        if self.replay is None:
            self.replay, self.key = self._capture(x), (x.shape, x.dtype)
        return self.replay(x) if (x.shape, x.dtype) == self.key else self.forward(x)

    def _capture(self, x: Tensor):
        """Return a function like ``forward`` that replays it; the running statistics stay as before the warm-up."""
        before = [buffer.clone() for buffer in self.module.buffers()]
        self.module.forward = self.forward
        amp, dtype = torch.is_autocast_enabled('cuda'), torch.get_autocast_dtype('cuda')
        with torch.autocast('cuda', dtype, enabled=amp, cache_enabled=False):
            torch.cuda.make_graphed_callables(self.module, (x.clone(),), allow_unused_input=True)
        replay, self.module.forward = self.module.forward, self
        for buffer, value in zip(self.module.buffers(), before, strict=True):
            buffer.copy_(value)
        return replay
