"""Check that what a resumed training takes over from a checkpoint is what this training would have saved."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import HistoryBuffer
from mmengine.optim import OptimWrapperDict
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer, SparseAdam

from ..checkpoints.load import check_finite
from .same_form import check_form

_LARGEST_SEED = 2**32 - 1  # NumPy accepts no larger seed.


class ResumedStateHook(Hook):
    """Refuse to resume from a checkpoint whose state is not of the form that this training would save.

    MMEngine takes over whatever is there: it puts the entries of a scheduler's state in the place of its attributes and
    methods, those of the optimiser in the place of its options, and goes on without a state that is missing.  The
    weights are checked by :class:`.CheckpointMatchHook`.  What the checkpoint's message hub holds does not replace what
    this run knows by itself.

    Raises:
        ValueError: If an entry has another form; the error names checkpoint, entry, its value and what was expected.
    """

    priority = 'LOWEST'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if runner._resume:
            with _named(runner):
                _check_place(runner, checkpoint)
                _check_hub(runner, checkpoint['message_hub'])
                _check_schedules(runner.param_schedulers, checkpoint.get('param_schedulers'))
                _check_optimisers(runner.optim_wrapper, checkpoint.get('optimizer'))


class ResumedAverageHook(Hook):
    """Check the averages of MMEngine's EMAHook before it exchanges each weight with its average and loads both.

    Raises:
        ValueError: If an average belongs to no weight of the model; the error names it and the checkpoint.
    """

    priority = 'VERY_HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        hook = next((hook for hook in runner.hooks if isinstance(hook, EMAHook)), None)
        if hook is None or not (runner._resume and 'ema_state_dict' in checkpoint):
            return  # without averages MMEngine warns, and begins anew
        averages, own, weights = checkpoint['ema_state_dict'], hook.ema_model.state_dict(), checkpoint.get('state_dict')
        with _named(runner):
            if not isinstance(averages, dict) or not isinstance(weights, dict):
                raise ValueError('its ema_state_dict or its state_dict is no dict')
            for key, value in averages.items():
                weight = weights.get(key[7:]) if str(key).startswith('module.') else value
                pair = (value, weight)
                if key not in own or not all(isinstance(v, Tensor) and v.shape == own[key].shape for v in pair):
                    raise ValueError(f'ema_state_dict[{key!r:.60}] is not the average of a weight of this model')
            check_finite(averages, 'ema_state_dict')


@contextmanager
def _named(runner: Runner) -> Iterator[None]:
    """Add the checkpoint and the remedy to an error that is raised within."""
    try:
        yield
    except ValueError as error:
        raise ValueError(
            f'cannot resume from {runner._load_from or "the latest checkpoint"}: {error}. Resume with the config '
            '(and --cfg-options) that wrote it, or start a training from its weights: set load_from, drop --resume'
        ) from error


def _check_place(runner: Runner, checkpoint: dict) -> None:
    """Check where the training stands, and its seed."""
    missing = [key for key in ('meta', 'message_hub', 'state_dict') if key not in checkpoint]
    if missing:
        raise ValueError(f'it has no {" and no ".join(missing)}, so it holds weights and not the state of a training')
    meta, loop = checkpoint['meta'], runner.train_loop
    by_iteration = isinstance(loop, IterBasedTrainLoop)
    last = dict(epoch=2**63 if by_iteration else loop.max_epochs, iter=loop.max_iters if by_iteration else 2**63)
    for key, most in last.items():
        value = meta.get(key)
        if type(value) is not int or not 0 <= value <= most:
            end = f'{most}, where this training ends (train_cfg.max_{key}s)' if most < 2**63 else 'any'
            raise ValueError(f"meta['{key}'] is {value!r:.60}, expected a whole number from 0 to {end}")
    seed = meta.get('seed')
    if seed is not None and (type(seed) is not int or not 0 <= seed <= _LARGEST_SEED):
        raise ValueError(f"meta['seed'] is {seed!r:.60}, expected a whole number from 0 to {_LARGEST_SEED}")


def _check_hub(runner: Runner, hub) -> None:
    """Check the log's statistics and the best scores; remove the entries that this run has made itself."""
    for part in ('log_scalars', 'runtime_info', 'resumed_keys'):
        entries = hub.get(part) if isinstance(hub, dict) else None
        if not isinstance(entries, dict) or not all(isinstance(key, str) for key in entries):
            raise ValueError(f"message_hub['{part}'] is no dict whose keys are names")
    odd = [key for key, value in hub['log_scalars'].items() if not isinstance(value, HistoryBuffer)]
    if odd:
        raise ValueError(f"message_hub['log_scalars'] holds {odd[0]!r:.60}, which is no HistoryBuffer")
    info = hub['runtime_info']
    for key in [key for key in info if key in runner.message_hub.runtime_info]:
        del info[key]
    for key, value in info.items():
        if key.startswith('best_score'):
            check_form(value, -1.0, f"message_hub['runtime_info']['{key}']")


def _check_schedules(schedules, states) -> None:
    """Check the schedules, which are a list for one optimiser and a dict of lists for several."""
    if not schedules:
        return
    if isinstance(schedules, dict):
        if not isinstance(states, dict) or schedules.keys() != states.keys():
            raise ValueError(f'its param_schedulers are not those of {", ".join(schedules)}')
        for name, own in schedules.items():
            _check_schedules(own, states[name])
        return
    if not isinstance(states, (list, tuple)) or len(states) != len(schedules):
        found = f'{len(states)}' if isinstance(states, (list, tuple)) else 'no'
        raise ValueError(f'it has {found} states of param_schedulers, the config has {len(schedules)}')
    for i, (schedule, state) in enumerate(zip(schedules, states, strict=True)):
        where = f'param_schedulers[{i}] ({type(schedule).__name__})'
        own = schedule.state_dict()
        check_form(state, own, where)
        for key in ('T_max', 'step_size', 'total_iters', 'total_steps', 'periods', 'warmup'):
            if own.get(key) and not all(state[key] if isinstance(own[key], (list, tuple)) else [state[key]]):
                raise ValueError(f'{where}[{key!r}] is {state[key]}, which the schedule divides by')


def _check_optimisers(wrapper, state) -> None:
    if isinstance(wrapper, OptimWrapperDict):
        for name, single in wrapper.items():
            _check_optimisers(single, state.get(name) if isinstance(state, dict) else None)
        return
    optimiser = wrapper.optimizer
    if hasattr(optimiser, 'consolidate_state_dict') or isinstance(optimiser, (LBFGS, SparseAdam)):
        return  # the state lies on several ranks, or a step takes more than a dense gradient
    groups = state.get('param_groups') if isinstance(state, dict) else None
    entries = state.get('state') if isinstance(state, dict) else None
    if not isinstance(groups, (list, tuple)) or not isinstance(entries, dict):
        raise ValueError('it has no state of the optimiser')
    own = wrapper.state_dict()
    if [isinstance(group, dict) and group.get('params') for group in groups] != [
        group['params'] for group in own['param_groups']
    ]:
        raise ValueError("optimizer['param_groups'] does not hold the parameters of this model in its order")
    for i, (given, ours) in enumerate(zip(groups, own['param_groups'], strict=True)):
        where = f"optimizer['param_groups'][{i}]"
        check_form(given, ours, where, more=True)
        if not all(0 <= beta < 1 for beta in given.get('betas', ())):
            raise ValueError(f"{where}['betas'] is {given['betas']}, expected numbers from 0 to below 1")
    for key in ('base_param_settings', 'loss_scaler'):
        if key in state and own.get(key) != {}:
            check_form(state[key], own.get(key), f'optimizer[{key!r}]')
    for group, ours in zip(optimiser.param_groups, own['param_groups'], strict=True):
        for parameter, number in zip(group['params'], ours['params'], strict=True):
            if number in entries:
                check_form(
                    entries[number], _first_entries(optimiser, group, parameter), f"optimizer['state'][{number}]", True
                )


def _first_entries(optimiser: Optimizer, group: dict, parameter: nn.Parameter) -> dict[str, Tensor | float]:
    """Return what the optimiser keeps for a parameter, found by a step that a copy of it makes on zeros."""
    stand_in = nn.Parameter(torch.zeros_like(parameter))
    stand_in.grad = torch.zeros_like(parameter)
    twin = copy.copy(optimiser)
    twin.param_groups = [dict(group, params=[stand_in])]
    twin.state = defaultdict(dict, {stand_in: copy.deepcopy(optimiser.state.get(parameter, {}))})
    type(twin).step(twin)
    return dict(twin.state[stand_in])
