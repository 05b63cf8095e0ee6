"""Stop a training whose loss is NaN or infinite, and name the layer that broke."""

from __future__ import annotations

from functools import partial

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from ..registry import HOOKS

# Loss scaling of float16 begins too high on purpose: the first steps overflow and are skipped.
_OVERFLOWS_OF_LOSS_SCALING = 20


@HOOKS.register_module()
class LossGuardHook(Hook):
    """Stop the training at the first loss that is NaN or infinite, before a weight has changed.

    The error names the first layer whose output is not finite when the batch passes once more.  Under the loss scaling
    of AmpOptimWrapper 20 such losses in a row are let pass.  The hook reads the loss in every iteration.

    Raises:
        FloatingPointError: If the loss is NaN or infinite, in the middle of a training step.
    """

    def before_train(self, runner: Runner) -> None:
        wrapper = runner.optim_wrapper
        if isinstance(wrapper, OptimWrapper) and not hasattr(wrapper.update_params, 'func'):
            self.batch, self.overflows = None, 0
            wrapper.update_params = partial(self._update_params, runner, wrapper.update_params)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        self.batch = data_batch

    def _update_params(self, runner: Runner, update_params, loss: Tensor, *args, **kwargs) -> None:
        if torch.isfinite(loss).all():
            self.overflows = 0
        else:
            self.overflows += 1
            if not isinstance(runner.optim_wrapper, AmpOptimWrapper) or self.overflows > _OVERFLOWS_OF_LOSS_SCALING:
                model = runner.model.module if is_model_wrapper(runner.model) else runner.model
                with runner.optim_wrapper.optim_context(runner.model):
                    reason = first_broken_layer(model, self.batch)
                raise FloatingPointError(
                    f'the loss is {loss.detach().sum().item()} in iteration {runner.iter + 1} (epoch '
                    f'{runner.epoch + 1}): {reason}. No weight was changed by this step. Lower the learning rate, clip '
                    'the gradients (optim_wrapper.clip_grad), or look at the data, and resume from the last checkpoint'
                )
        update_params(loss, *args, **kwargs)


def first_broken_layer(model: nn.Module, batch) -> str:
    """Pass a batch through a model of MMEngine once more, and say which layer is the first to give NaN or infinity.

    Args:
        model: The model, not wrapped; the running statistics of its norms may change.
        batch: The batch as the data loader gave it.

    Returns:
        A clause with the layer's name and type, and what is wrong with its input, weights or output.
    """
    broken = []

    def look(name: str, module: nn.Module, args: tuple, output) -> None:
        if not broken and not all_finite(output):
            broken.append((name, module, all_finite(args)))

    handles = [module.register_forward_hook(partial(look, name)) for name, module in model.named_modules() if name]
    try:
        with torch.no_grad():
            model._run_forward(model.data_preprocessor(batch, True), mode='loss')
    finally:
        for handle in handles:
            handle.remove()
    if not broken:
        return 'no layer gave NaN or infinity when the batch passed once more, so it is the loss or chance (dropout)'
    name, module, finite_input = broken[0]
    bad = [key for key, value in module.named_parameters() if not all_finite(value)]
    if bad:
        reason = f'its {bad[0]} is not finite'
    else:
        reason = 'its input is finite' if finite_input else 'its input is not finite either'
    return f'the first output with NaN or infinity is that of {name} ({type(module).__name__}), {reason}'


def all_finite(value) -> bool:
    """Tell whether every floating-point tensor in tuples, lists and dicts is finite."""
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(torch.isfinite(value).all())
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return True
    return all(all_finite(item) for item in value)
