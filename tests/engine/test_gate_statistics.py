"""Gate statistics against the materialised gates, and the hook in a real run."""

import json
import math

import pytest
import torch
from mmengine.runner import Runner
from torch import nn

from mmcgc import CGConv2d
from mmcgc.engine import GateStatisticsHook
from mmcgc.layers import CGLightweightConv
from mmcgc.ops import gate_values
from mmcgc.ops.gate_moments import gate_statistics, thin_gates


def test_statistics_are_those_of_the_gates():
    gates = torch.sigmoid(4 * torch.randn(6, 5, 4, 3, 3))
    figures = {name: value.item() for name, value in gate_statistics(gates, frames=3).items()}
    clips = gates.view(2, 3, 5, 4, 3, 3)
    assert figures['mean'] == pytest.approx(gates.mean().item(), rel=1e-5)
    assert figures['spread'] == pytest.approx(gates.std(correction=0).item(), rel=1e-5)
    assert figures['saturated'] == pytest.approx(((gates < 0.05) | (gates > 0.95)).double().mean().item(), rel=1e-5)
    assert figures['over_samples'] == pytest.approx(clips.std(0, correction=0).mean().item(), rel=1e-5)
    assert figures['over_frames'] == pytest.approx(clips.std(1, correction=0).mean().item(), rel=1e-5)


def test_gates_with_a_gain_are_saturated_at_its_ends():
    gates = torch.tensor([0.0, 0.09, 0.5, 1.0, 1.89, 1.91, 2.0])
    figures = gate_statistics(gates[None], gain=2)
    assert figures['saturated'] == pytest.approx(4 / 7) and figures['mean'] == pytest.approx(gates.mean().item())


def test_samples_and_frames_are_told_apart():
    gate = torch.rand(4, 5, 3)
    same_clips = gate_statistics(gate.repeat(2, 1, 1), frames=4)
    assert same_clips['over_samples'] == pytest.approx(0, abs=1e-6) and same_clips['over_frames'] > 0.1
    still_clips = gate_statistics(gate.repeat_interleave(2, 0), frames=2)
    assert still_clips['over_frames'] == pytest.approx(0, abs=1e-6) and still_clips['over_samples'] > 0.1
    assert 'over_frames' not in gate_statistics(gate)


def test_constant_gates_do_not_vary():
    a = torch.randn(1, 40, 3, 3).expand(4, -1, -1, -1)
    assert gate_statistics(thin_gates(a, None))['over_samples'] == pytest.approx(0, abs=1e-7)
    assert gate_statistics(thin_gates(None, torch.full((4, 40, 3, 3), 9.0)))['saturated'] == 1


@pytest.mark.parametrize('groups', [1, 2, 8], ids=['dense', 'groups', 'depthwise'])
def test_thinned_gates_are_some_of_the_gates(groups):
    a, b = torch.randn(3, 8, 3, 3), torch.randn(3, 16, 3, 3)
    thin, full = thin_gates(a, b, groups=groups, most=4), gate_values(a, b, 16, groups)
    assert thin.shape == (3, 4, {1: 4, 2: 2, 8: 1}[groups], 3, 3)
    known = full.flatten(1, 2).flatten(2)  # (3, pairs, 9)
    for pair in thin.flatten(1, 2).flatten(2).unbind(1):  # (3, 9)
        assert torch.isclose(known, pair[:, None]).all(2).any(1).all()
    torch.testing.assert_close(thin_gates(a, b, groups=groups, most=16), full)


class Net(nn.Module):
    """The least that a Runner trains."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def train_step(self, data, optim_wrapper):
        loss = self.conv(torch.stack(data)).square().mean()
        optim_wrapper.update_params(loss)
        return dict(loss=loss)

    def forward(self, x):
        return self.conv(x)


def run(conv, work_dir, interval=2, shape=(4, 8, 8), backends=('LocalVisBackend',)):
    runner = Runner(
        Net(conv), str(work_dir), train_dataloader=dict(
            batch_size=4, dataset=[torch.randn(shape) for _ in range(20)],
            sampler=dict(type='DefaultSampler', shuffle=False)),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[GateStatisticsHook(interval)],
        visualizer=dict(type='Visualizer', vis_backends=[dict(type=backend) for backend in backends]),
        experiment_name=f'gates-{work_dir.name}',
    )  # fmt: skip
    runner.train()
    text = (work_dir / runner.timestamp / 'vis_data' / 'scalars.json').read_text()
    return runner, [json.loads(line) for line in text.splitlines()]


def test_hook_records_every_layer_and_leaves_no_hook_behind(tmp_path):
    conv = CGConv2d(4, 4, 3)
    runner, records = run(conv, tmp_path)
    looks = [r for r in records if 'gate/conv/mean' in r]
    assert [r['step'] for r in looks] == [2, 4, 5]
    assert all(0 < r['gate/conv/mean'] < 1 and math.isfinite(r['gate/conv/over_samples']) for r in looks)
    assert not conv.gate._forward_hooks
    log = (tmp_path / runner.timestamp / f'{runner.timestamp}.log').read_text()
    assert 'averaged over 1 layers: mean' in log and 'looking took' in log


def test_hook_writes_to_tensorboard(tmp_path):
    accumulator = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    runner, records = run(CGConv2d(4, 4, 3), tmp_path, backends=('LocalVisBackend', 'TensorboardVisBackend'))
    runner.visualizer.close()
    events = accumulator.EventAccumulator(str(tmp_path / runner.timestamp / 'vis_data')).Reload()
    written = {event.step: event.value for event in events.Scalars('gate/conv/over_samples')}
    assert written == pytest.approx({r['step']: r['gate/conv/over_samples'] for r in records if 'gate/conv/mean' in r})


def test_hook_looks_at_frames_and_at_sentences(tmp_path):
    _, records = run(CGConv2d(4, 4, 3, num_segments=2), tmp_path / 'clips')
    assert all(r['gate/conv/over_frames'] > 0 for r in records if 'gate/conv/mean' in r)
    _, records = run(CGLightweightConv(4, 2, 3), tmp_path / 'sentences', shape=(9, 4))
    assert [r['step'] for r in records if 'gate/conv/over_samples' in r] == [2, 4, 5]


def test_hook_looks_at_gates_that_start_at_one(tmp_path):
    _, records = run(CGConv2d(4, 4, 3, gate=dict(init='preserve')), tmp_path, interval=1)
    first, *others = [r for r in records if 'gate/conv/mean' in r]
    assert first['gate/conv/mean'] == 1 and first['gate/conv/saturated'] == first['gate/conv/spread'] == 0
    assert others[-1]['gate/conv/spread'] > 0


def test_hook_leaves_a_plain_network_alone(tmp_path):
    runner, records = run(nn.Conv2d(4, 4, 3), tmp_path)
    assert not any(key.startswith('gate') for r in records for key in r)


def test_bad_interval():
    with pytest.raises(ValueError, match='got 0'):
        GateStatisticsHook(0)
