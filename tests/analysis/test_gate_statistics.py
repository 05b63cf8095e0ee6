"""Gate statistics against the materialised gates, and the hook in a real run."""

import json
import math

import pytest
import torch
from mmengine.runner import Runner
from torch import nn

from mmcgc import CGConv2d
from mmcgc.analysis.gate_statistics import gate_statistics
from mmcgc.engine import GateStatisticsHook


def test_statistics_are_those_of_the_gates():
    a, b = torch.randn(6, 4, 3, 3), torch.randn(6, 5, 3, 3) * 4
    gates = torch.sigmoid(a[:, None] + b[:, :, None])
    figures = gate_statistics(a, b, frames=3, most=16)
    assert figures['mean'] == pytest.approx(gates.mean().item(), rel=1e-5)
    assert figures['spread'] == pytest.approx(gates.std(correction=0).item(), rel=1e-5)
    assert figures['saturated'] == pytest.approx(((gates < 0.05) | (gates > 0.95)).double().mean().item(), rel=1e-5)
    assert figures['over_samples'] == pytest.approx(gates.std(0, correction=0).mean().item(), rel=1e-5)
    frames = gates.view(2, 3, 5, 4, 3, 3).std(1, correction=0).mean().item()
    assert figures['over_frames'] == pytest.approx(frames, rel=1e-5)


def test_constant_gates_do_not_vary():
    a = torch.randn(1, 40, 3, 3).expand(4, -1, -1, -1)
    assert gate_statistics(a, None)['over_samples'] == pytest.approx(0, abs=1e-7)
    assert gate_statistics(None, torch.full((4, 40, 3, 3), 9.0))['saturated'] == 1


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


def run(conv, work_dir, interval=2):
    runner = Runner(
        Net(conv), str(work_dir), train_dataloader=dict(
            batch_size=4, dataset=[torch.randn(4, 8, 8) for _ in range(20)],
            sampler=dict(type='DefaultSampler', shuffle=False)),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[GateStatisticsHook(interval)],
        visualizer=dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]),
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
    assert 'averaged over 1 layers: mean' in (tmp_path / runner.timestamp / f'{runner.timestamp}.log').read_text()


def test_hook_leaves_a_plain_network_alone(tmp_path):
    runner, records = run(nn.Conv2d(4, 4, 3), tmp_path)
    assert not any(key.startswith('gate') for r in records for key in r)


def test_bad_interval():
    with pytest.raises(ValueError, match='got 0'):
        GateStatisticsHook(0)
