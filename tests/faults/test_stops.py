"""Ctrl-C, SIGTERM and NaN: each ends a training with one clear message."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from helpers import ROOT, tool_environment
from mmengine.hooks import Hook
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import HOOKS
from torch import nn

from mmcgc.apis import launch
from mmcgc.engine import LossGuardHook
from mmcgc.engine.loss_guard import first_broken_layer


@HOOKS.register_module(force=True)
class Strike(Hook):
    """Calls ``Strike.act(runner)`` before the sixth iteration, which is the second of the second epoch."""

    act = None

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 5:
            Strike.act(runner)


def train(tiny, tmp_path, **options):
    return launch.train(
        str(tiny.config),
        work_dir=str(tmp_path),
        no_validate=True,
        cfg_options={'custom_hooks': [dict(type='Strike')], **options},
    )


@pytest.mark.parametrize('number, status', [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=['ctrl-c', 'sigterm'])
@pytest.mark.parametrize('swallowed', [False, True], ids=['raised', 'swallowed'])
def test_a_signal_stops_cleanly(tiny, own_scope, tmp_path, number, status, swallowed):
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    class Finaliser:
        """Python ignores what is raised while an object goes."""

        def __del__(self):
            os.kill(os.getpid(), number)

    Strike.act = staticmethod(lambda _: Finaliser() and None if swallowed else os.kill(os.getpid(), number))
    with pytest.raises(SystemExit) as stop:
        train(tiny, tmp_path)
    assert stop.value.code == status
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert f'Stopped by {number.name} in iteration 6 (epoch 2). The last checkpoint, ' in log
    assert 'epoch_1.pth, is whole: go on with --resume' in log and not (tmp_path / 'epoch_2.pth').exists()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_other_errors_keep_their_own_face(tiny, own_scope, tmp_path):
    def fail(_):
        raise KeyError('something else')

    Strike.act = staticmethod(fail)
    with pytest.raises(KeyError, match='something else'):
        train(tiny, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('number, status', [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=['ctrl-c', 'sigterm'])
def test_the_whole_process_group_ends(tiny, tmp_path, number, status):
    """As a terminal or a batch system does it: the signal goes to the tool and to its workers at once."""
    command = [
        sys.executable,
        ROOT / 'tools/train.py',
        tiny.config,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'train_dataloader.num_workers=2',
        'train_cfg.max_epochs=1000',
    ]
    process = subprocess.Popen(
        command,
        cwd=tiny.root,
        env=tool_environment(tiny),
        start_new_session=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    deadline = time.monotonic() + 300
    while not (tmp_path / 'epoch_2.pth').exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, number)
    text = process.communicate(timeout=60)[0]
    assert process.returncode == status and f'Stopped by {number.name}' in text and 'Traceback' not in text
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


BREAKAGES = {
    'weight': (
        lambda net: net.backbone.layer2[0].conv2.weight.data.view(-1)[3:4].fill_(torch.nan),
        r'that of backbone\.layer2\.0\.conv2 \(CGConv2d\), its weight is not finite',
    ),
    'gate': (
        lambda net: net.backbone.layer1[0].conv1.gate.decode_in.weight.data.fill_(torch.inf),
        r'that of backbone\.layer1\.0\.conv1\.gate\.decode_in \(Linear\), its weight is not finite',
    ),
    'overflow': (
        lambda net: (net.head.fc.weight.data.fill_(3e38), net.head.fc.bias.data.fill_(3e38)),
        r'that of head\.fc \(Linear\), its input is finite',
    ),
    'data': (lambda net: net.data_preprocessor.std.fill_(0), 'that of data_preprocessor'),
}


@pytest.mark.parametrize('breakage', BREAKAGES)
def test_a_loss_that_is_no_number_names_the_layer(tiny, own_scope, tmp_path, breakage):
    act, complaint = BREAKAGES[breakage]
    states = []

    def strike(runner):
        act(runner.model)
        states.append((runner.model, [p.detach().clone() for p in runner.model.parameters()]))

    Strike.act = staticmethod(strike)
    with pytest.raises(FloatingPointError, match=rf'the loss is (nan|-?inf) in iteration 6 \(epoch 2\): .*{complaint}'):
        train(tiny, tmp_path)
    model, before = states[0]
    assert all(torch.equal(p.nan_to_num(), q.nan_to_num()) for p, q in zip(model.parameters(), before, strict=True))


class Broken(BaseModel):
    """Its loss alone is NaN, or nothing is."""

    def __init__(self, factor: float):
        super().__init__(BaseDataPreprocessor())
        self.layer, self.factor = nn.Linear(1, 1), factor

    def forward(self, x, mode):
        return dict(loss=self.layer(x).mean() * self.factor)


def test_a_loss_that_breaks_outside_of_all_layers_is_said_to():
    assert first_broken_layer(Broken(torch.nan), [torch.ones(1, 1)]).startswith('no layer gave NaN')


def test_loss_scaling_may_overflow_for_a_while(monkeypatch):
    """float16 on an accelerator; MMEngine's wrapper asks for one, so here it is bare."""
    from contextlib import nullcontext
    from types import SimpleNamespace

    wrapper = AmpOptimWrapper.__new__(AmpOptimWrapper)
    monkeypatch.setattr(AmpOptimWrapper, 'optim_context', lambda *_: nullcontext())
    taken = []
    monkeypatch.setattr(AmpOptimWrapper, 'update_params', lambda self, loss: taken.append(loss))
    runner = SimpleNamespace(optim_wrapper=wrapper, model=Broken(1.0), iter=0, epoch=0)
    hook = LossGuardHook()
    hook.before_train(runner)
    hook.before_train_iter(runner, 0, [torch.ones(1, 1)])
    overflow = torch.tensor(torch.inf)
    for loss in [overflow] * 20 + [torch.tensor(1.0)] + [overflow] * 20:
        wrapper.update_params(loss)
    assert len(taken) == 41
    with pytest.raises(FloatingPointError, match='the loss is inf'):
        wrapper.update_params(overflow)
