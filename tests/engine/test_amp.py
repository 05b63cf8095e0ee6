"""Mixed precision: what the wrapper computes in, and which wrapper suits a device."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.device import get_device
from torch import nn

from mmcgc.engine import BFloat16OptimWrapper, amp


@pytest.mark.parametrize('able', [True, False])
def test_bfloat16_wrapper_autocasts_if_the_device_can(monkeypatch, able):
    lines = []
    monkeypatch.setattr(amp, 'print_log', lambda line, **kwargs: lines.append(line))
    monkeypatch.setattr(amp, 'computes_bfloat16', lambda device: able)
    model = nn.Linear(2, 2)
    wrapper = BFloat16OptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=1.0))
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        out = model.cpu()(torch.ones(1, 2)) if get_device() == 'cpu' else model(torch.ones(1, 2))
    assert get_device() != 'cpu' or out.dtype == (torch.bfloat16 if able else torch.float32)
    assert any('training in float32' in line for line in lines) == (not able)
    wrapper.update_params(out.float().sum())
    assert model.weight.dtype == torch.float32 and not torch.equal(model.weight, before)


def test_only_a_cpu_may_lack_bfloat16(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, 'is_available', lambda: False)
    assert amp.computes_bfloat16('cuda') and not amp.computes_bfloat16('cpu')


@pytest.mark.parametrize('device, kind', [('cuda', 'AmpOptimWrapper'), ('cpu', 'mmcgc.BFloat16OptimWrapper')])
@pytest.mark.parametrize(
    'before',
    [{}, dict(type='OptimWrapper'), dict(type='AmpOptimWrapper', loss_scale=512.0)],
    ids=['default', 'plain', 'amp'],
)
def test_amp_suits_the_device(monkeypatch, device, kind, before):
    monkeypatch.setattr(amp, 'get_device', lambda: device)
    cfg = ConfigDict(before)
    amp.enable_amp(cfg)
    assert cfg.type == kind and ('loss_scale' in cfg) == (device == 'cuda')


def test_amp_refuses_other_wrappers():
    with pytest.raises(ValueError, match="'ApexOptimWrapper'"):
        amp.enable_amp(ConfigDict(type='ApexOptimWrapper'))
