"""A resumed training takes over a state as its own kind saves it; anything else is one clear error."""

import copy
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope
from torch import nn

from mmcgc.apis import launch
from mmcgc.engine.resumed_state import ResumedStateHook, _check_optimisers, _check_schedules

NAN = float('nan')


@pytest.fixture(scope='module')
def saved(tiny, tmp_path_factory):
    """A runner after its training with Adam and averaged weights, and its checkpoint."""
    work_dir = tmp_path_factory.mktemp('saved')
    options = {
        'optim_wrapper.optimizer': dict(type='AdamW', lr=0.02, _delete_=True),
        'custom_hooks': [dict(type='EMAHook')],
        'train_cfg.max_epochs': 1,
    }
    scopes = OrderedDict(DefaultScope._instance_dict)
    runner = launch.train(str(tiny.config), work_dir=str(work_dir), no_validate=True, cfg_options=options)
    DefaultScope._instance_dict = scopes
    runner._resume, runner._load_from = True, 'epoch_1.pth'
    return runner, torch.load(work_dir / 'epoch_1.pth')


def check(saved, change=lambda checkpoint: None):
    """What the hooks of the training say of the checkpoint after a change, in the order in which they are asked."""
    runner, checkpoint = saved
    checkpoint = copy.deepcopy(checkpoint)
    change(checkpoint)
    runner.call_hook('after_load_checkpoint', checkpoint=checkpoint)
    return checkpoint


def put(*path_and_value):
    """A change that puts a value into a place of a checkpoint."""
    *path, last, value = path_and_value

    def change(checkpoint):
        for key in path:
            checkpoint = checkpoint[key]
        checkpoint[last] = value

    return change


def drop(*path):
    def change(checkpoint):
        for key in path[:-1]:
            checkpoint = checkpoint[key]
        del checkpoint[path[-1]]

    return change


GROUP, FIRST, SCHEDULE = ('optimizer', 'param_groups', 0), ('optimizer', 'state', 0), ('param_schedulers', 0)
INFO = ('message_hub', 'runtime_info')
ODD = [
    (put('meta', 'epoch', '7'), r"meta\['epoch'\] is '7', expected a whole number from 0 to 1"),
    (put('meta', 'epoch', -1), r"meta\['epoch'\] is -1"),
    (put('meta', 'epoch', 2), r"meta\['epoch'\] is 2, .* to 1, where this training ends \(train_cfg.max_epochs\)"),
    (put('meta', 'epoch', True), r"meta\['epoch'\] is True"),
    (put('meta', 'iter', NAN), r"meta\['iter'\] is nan, expected a whole number from 0"),
    (put('meta', 'iter', 'x' * 10**6), r"meta\['iter'\] is 'x{59}, expected"),
    (drop('meta', 'iter'), r"meta\['iter'\] is None"),
    (put('meta', 'seed', -1), r"meta\['seed'\] is -1, expected a whole number from 0 to 4294967295"),
    (put('meta', 'seed', '0'), r"meta\['seed'\] is '0'"),
    (drop('meta'), 'it has no meta, so it holds weights and not the state of a training'),
    (drop('message_hub'), 'it has no message_hub'),
    (put('message_hub', 5), r"message_hub\['log_scalars'\] is no dict whose keys are names"),
    (put(*INFO, 3, 4), r"message_hub\['runtime_info'\] is no dict whose keys are names"),
    (put('message_hub', 'log_scalars', 'train/loss', 'x'), "'train/loss', which is no HistoryBuffer"),
    (put(*INFO, 'best_score', '0.9'), r"\['best_score'\] is '0.9', expected a finite number"),
    (put(*INFO, 'best_score_a', NAN), r"\['best_score_a'\] is nan"),
    (drop('optimizer'), 'it has no state of the optimiser'),
    (put('optimizer', 'param_groups', 'x'), 'it has no state of the optimiser'),
    (put(*GROUP, 'params', []), 'does not hold the parameters of this model'),
    (put(*GROUP, 'lr', '0.1'), r"\['lr'\] is '0.1', expected a finite number of at least 0"),
    (put(*GROUP, 'lr', NAN), r"\['lr'\] is nan"),
    (put(*GROUP, 'lr', -1.0), r"\['lr'\] is -1.0"),
    (put(*GROUP, 'lr', 10**400), r"\['lr'\] is an integer of 1329 bits"),
    (drop(*GROUP, 'eps'), r"\[0\] lacks 'eps'"),
    (put(*GROUP, 'betas', (2.0, 0.9)), r"\['betas'\] is \(2.0, 0.9\), expected numbers from 0 to below 1"),
    (put(*GROUP, 'betas', 0.9), r"\['betas'\] is 0.9, expected a list of 2"),
    (put(*GROUP, 'maximize', True), r"\['maximize'\] is True, expected False"),
    (put(*GROUP, 'step', 'x'), r"\['step'\] is 'x', expected a finite number"),
    (put(*FIRST, 'step', 'x'), r"\['step'\] is 'x', expected a finite number of at least 0"),
    (put(*FIRST, 'exp_avg', torch.zeros(1)), r"\['exp_avg'\] is a tensor of shape \(1,\), expected a tensor"),
    (put(*FIRST, 'exp_avg', torch.full((4, 3, 3, 3), NAN)), r"\['exp_avg'\] holds NaN"),
    (drop(*FIRST, 'exp_avg_sq'), "lacks 'exp_avg_sq'"),
    (put('optimizer', 'state', 0, 5), r"\['state'\]\[0\] is 5, expected a dict"),
    (drop('param_schedulers'), 'it has no states of param_schedulers, the config has 1'),
    (put('param_schedulers', []), 'it has 0 states of param_schedulers, the config has 1'),
    (put(*SCHEDULE, 'step', 'x'), r"\(CosineAnnealingLR\) lacks nothing and holds 'step', which nothing here reads"),
    (put(*SCHEDULE, 'last_step', '3'), r"\['last_step'\] is '3'"),
    (put(*SCHEDULE, 'last_step', -5), r"\['last_step'\] is -5, expected a finite number of at least 0"),
    (put(*SCHEDULE, 'T_max', 0), r"\['T_max'\] is 0, which the schedule divides by"),
    (put(*SCHEDULE, 'param_name', 'params'), r"\['param_name'\] is 'params', expected 'lr'"),
    (put(*SCHEDULE, 'base_values', []), r"\['base_values'\] is a list of 0, expected a list of 1"),
    (put('param_schedulers', 0, None), r'param_schedulers\[0\] \(CosineAnnealingLR\) is None, expected a dict'),
    (put('ema_state_dict', 5), 'its ema_state_dict or its state_dict is no dict'),
    (put('ema_state_dict', 'module.none', torch.ones(1)), r"ema_state_dict\['module.none'\] is not the average"),
    (put('ema_state_dict', 'module.backbone.conv1.weight', 'x'), 'is not the average of a weight of this model'),
    (put('ema_state_dict', 'module.head.fc.bias', torch.full((4,), NAN)), 'module.head.fc.bias is not finite'),
]  # fmt: skip


def test_what_the_training_saved_is_taken(saved):
    check(saved)


@pytest.mark.parametrize('change, message', ODD, ids=[message for _, message in ODD])
def test_an_odd_state_is_named(saved, change, message):
    with pytest.raises(ValueError, match=f'cannot resume from epoch_1.pth: .*{message}.* set load_from, drop --resume'):
        check(saved, change)


@pytest.mark.parametrize(
    'key, value', [('cfg', 5), ('experiment_name', ['x'] * 1000), ('dataset_meta', 'x'), ('time', NAN)]
)
def test_what_nobody_reads_is_harmless(saved, key, value):
    check(saved, put('meta', key, value))


def test_the_run_keeps_what_it_knows_itself(saved):
    checkpoint = check(saved, lambda it: it['message_hub']['runtime_info'].update(cfg='evil', other=3, best_score=0.5))
    info = checkpoint['message_hub']['runtime_info']
    assert 'cfg' not in info and info['other'] == 3 and info['best_score'] == 0.5


def test_numbers_of_numpy_and_torch_are_numbers(saved):
    check(saved, put(*INFO, 'best_score', np.float64(0.5)))
    check(saved, put(*FIRST, 'step', 4))
    check(saved, put(*GROUP, 'lr', torch.tensor(0.1)))


def test_weights_alone_may_have_any_state(saved):
    runner, checkpoint = saved
    runner._resume = False
    try:
        ResumedStateHook().after_load_checkpoint(
            runner, dict(state_dict=checkpoint['state_dict'], meta=dict(epoch='7'))
        )
    finally:
        runner._resume = True


def test_an_odd_state_ends_a_resumed_training(tiny, saved, own_scope, tmp_path):
    odd = copy.deepcopy(saved[1])
    odd['param_schedulers'][0]['step'] = 'x'
    torch.save(odd, tmp_path / 'odd.pth')
    options = {'optim_wrapper.optimizer': dict(type='AdamW', lr=0.02, _delete_=True)}
    with pytest.raises(ValueError, match="cannot resume from .*odd.pth: .* holds 'step'"):
        launch.train(str(tiny.config), work_dir=str(tmp_path), resume=str(tmp_path / 'odd.pth'), cfg_options=options)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))


def trained(optimiser: dict, schedule: dict, steps: int):
    """An optimiser of two groups of parameters, and its schedule, after some steps."""
    model = network()
    wrapper = build_optim_wrapper(
        model, dict(optimizer=dict(weight_decay=0.01, **optimiser), paramwise_cfg=dict(norm_decay_mult=0.5))
    )
    schedule = PARAM_SCHEDULERS.build(schedule, default_args=dict(optimizer=wrapper))
    for step in range(steps):
        wrapper.update_params(model(torch.randn(5, 4)).square().mean())
        schedule.step(*([dict(loss=1.0 / (1 + step))] if 'Plateau' in type(schedule).__name__ else []))
    return wrapper, schedule


@pytest.mark.parametrize(
    'optimiser', ['SGD', 'Adam', 'AdamW', 'NAdam', 'RAdam', 'Adamax', 'RMSprop', 'Adagrad', 'Adadelta', 'ASGD']
)
def test_every_optimiser_goes_on(optimiser):
    options = dict(type=optimiser, lr=0.01, **(dict(momentum=0.9) if optimiser == 'SGD' else {}))
    (saved, _), (fresh, _) = (trained(options, dict(type='ConstantLR'), steps) for steps in (3, 0))
    before = copy.deepcopy(fresh.state_dict())
    _check_optimisers(fresh, saved.state_dict())
    assert str(fresh.state_dict()) == str(before)  # looking leaves no trace
    odd = copy.deepcopy(saved.state_dict())
    odd['state'][0] = dict.fromkeys(odd['state'][0], 'x')
    with pytest.raises(ValueError, match=r"optimizer\['state'\]\[0\]"):
        _check_optimisers(fresh, odd)


SCHEDULES = [
    dict(type='CosineAnnealingLR', T_max=5),
    dict(type='LinearLR', end=4),
    dict(type='MultiStepLR', milestones=[2, 4]),
    dict(type='StepLR', step_size=2),
    dict(type='PolyLR', end=9),
    dict(type='OneCycleLR', eta_max=0.1, total_steps=20),
    dict(type='CosineRestartLR', periods=[3, 3], restart_weights=[1, 0.5], eta_min=0),
    dict(type='ReduceOnPlateauLR'),
    dict(type='mmcgc.InverseSqrtLR', warmup=3, by_epoch=False),
    dict(type='CosineAnnealingMomentum', T_max=5),
]


@pytest.mark.parametrize('schedule', SCHEDULES, ids=lambda schedule: schedule['type'])
@pytest.mark.parametrize('steps', [1, 5])
def test_every_schedule_goes_on(schedule, steps):
    optimiser = dict(type='SGD', lr=1, momentum=0.9)  # an integer, which becomes a fraction
    _, saved = trained(optimiser, schedule, steps)
    _, fresh = trained(optimiser, schedule, 0)
    _check_schedules([fresh], [saved.state_dict()])
    broken = [NAN] * len(fresh.base_values if hasattr(fresh, 'base_values') else fresh.min_values)
    with pytest.raises(ValueError, match=r"\['_last_value'\]\[0\] is nan"):
        _check_schedules([fresh], [saved.state_dict() | dict(_last_value=broken)])


def test_phases_are_those_of_the_config():
    _, fresh = trained(dict(type='SGD', lr=0.1), SCHEDULES[5], 0)
    phases = copy.deepcopy(fresh.state_dict()['_schedule_phases'])
    phases[1]['end_step'] = phases[0]['end_step']  # which would be divided by
    with pytest.raises(ValueError, match=r"\['_schedule_phases'\]\[1\] is a dict of 3"):
        _check_schedules([fresh], [fresh.state_dict() | dict(_schedule_phases=phases)])


def test_the_scale_of_the_loss_is_checked():
    wrapper, _ = trained(dict(type='SGD', lr=0.1), dict(type='ConstantLR'), 0)
    own = dict(wrapper.state_dict(), loss_scaler=dict(scale=65536.0, growth_interval=2000))
    wrapper.state_dict = lambda: own
    for scaler, message in (
        (dict(scale='x', growth_interval=1), "is 'x'"),
        (dict(scale=1.0), "lacks 'growth_interval'"),
    ):
        with pytest.raises(ValueError, match=rf"optimizer\['loss_scaler'\].*{message}"):
            _check_optimisers(wrapper, dict(own, loss_scaler=scaler))
