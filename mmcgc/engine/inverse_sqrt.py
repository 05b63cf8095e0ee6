"""The schedule of the learning rate with which the Transformer was trained (Vaswani et al., 2017, Sec. 5.3)."""

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler

from ..registry import PARAM_SCHEDULERS
from ..signatures import shows_arguments


@PARAM_SCHEDULERS.register_module()
@shows_arguments('param_name')
class InverseSqrtLR(LRSchedulerMixin, _ParamScheduler):
    """Rise linearly to the optimiser's learning rate in ``warmup`` iterations, then fall as 1 / sqrt(iteration).

    Args:
        optimizer: The optimiser or its wrapper.
        warmup: Iterations until the learning rate is highest.
        by_epoch: Must be set to False: if a config leaves it out, MMEngine counts the end in epochs.
        **kwargs: ``begin``, ``end``, ... of MMEngine's schedulers, in iterations.

    Raises:
        ValueError: If ``warmup`` is not positive, or ``by_epoch`` is not False.
    """

    def __init__(self, optimizer, warmup: int, by_epoch: bool = True, **kwargs) -> None:
        if warmup < 1 or by_epoch:
            raise ValueError(
                'InverseSqrtLR counts iterations: give it by_epoch=False and a warmup of at least 1, got '
                f'by_epoch={by_epoch}, warmup={warmup}'
            )
        self.warmup = warmup
        super().__init__(optimizer, by_epoch=False, **kwargs)

    def _get_value(self) -> list[float]:
        step = self.last_step + 1
        factor = min(step / self.warmup, (self.warmup / step) ** 0.5)
        return [base * factor for base in self.base_values]
