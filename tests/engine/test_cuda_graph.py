"""When the captured pass is replayed and when the module runs as usual; on a GPU, that both train alike."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from torch import nn

from mmcgc.engine import CUDAGraphHook
from mmcgc.engine.cuda_graph import _Replayed
from mmcgc.layers import CGConv2d

GPU = torch.cuda.is_available()


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(CGConv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 4, 1))


def runner(backbone: nn.Module, **changes) -> SimpleNamespace:
    made = dict(
        model=SimpleNamespace(backbone=backbone),
        optim_wrapper=SimpleNamespace(_accumulative_counts=1),
        logger=logging.getLogger('test'),
    )
    return SimpleNamespace(**made | changes)


@pytest.fixture
def replays(monkeypatch):
    """Stands in for the capture: the passes that warm up really run, and a replay is noted."""
    seen = []

    def capture(module, args, allow_unused_input):
        for _ in range(3):
            module(*args)
        forward = module.forward
        module.forward = lambda x: seen.append(tuple(x.shape)) or forward(x)

    monkeypatch.setattr(torch.cuda, 'make_graphed_callables', capture)
    return seen


def test_replays_training_passes_of_the_first_size_alone(replays):
    module, plain = network(), network()
    module.forward = _Replayed(module, channels_last=True)
    x, small = torch.randn(4, 3, 8, 8), torch.randn(2, 3, 8, 8)
    for batch in (x, small, x):
        torch.testing.assert_close(module(batch), plain(batch))
    assert replays == [(4, 3, 8, 8)] * 2
    for (name, buffer), expected in zip(module.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(buffer, expected, msg=f'{name} kept what the warm-up left')
    with torch.no_grad():
        module(x)
    module.eval()(x)
    assert len(replays) == 2


def test_runs_as_usual_while_a_hook_waits(replays):
    module = network()
    module.forward = _Replayed(module, channels_last=False)
    x = torch.randn(4, 3, 8, 8)
    module(x)
    looked = []
    handle = module[0].gate.register_forward_hook(lambda *_: looked.append(1))
    module(x)
    handle.remove()
    module(x)
    assert looked == [1] and len(replays) == 2


@pytest.mark.skipif(GPU, reason='with a GPU it captures')
def test_without_a_gpu_nothing_changes(caplog):
    backbone = network()
    with caplog.at_level(logging.INFO, 'test'):
        CUDAGraphHook().before_train(runner(backbone))
    assert 'there is no GPU' in caplog.text and 'forward' not in vars(backbone)
    CUDAGraphHook().after_train(runner(backbone))


def test_refuses_accumulated_gradients():
    with pytest.raises(ValueError, match='accumulative_counts=2: set it to 1'):
        CUDAGraphHook().before_train(runner(network(), optim_wrapper=SimpleNamespace(_accumulative_counts=2)))


def test_refuses_several_processes():
    wrapped = MMDistributedDataParallel.__new__(MMDistributedDataParallel)
    with pytest.raises(ValueError, match='takes one process'):
        CUDAGraphHook().before_train(runner(network(), model=wrapped))


@pytest.mark.skipif(not GPU, reason='needs a GPU')
def test_trains_as_without_it():
    states = []
    for graphed in (False, True):
        module = network().cuda().to(memory_format=torch.channels_last)
        if graphed:
            CUDAGraphHook().before_train(runner(module))
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        make = torch.Generator('cuda').manual_seed(0)
        for size in (8, 8, 4, 8):
            x = torch.randn(size, 3, 8, 8, device='cuda', generator=make)
            optimizer.zero_grad()
            module(x).square().mean().backward()
            optimizer.step()
        states.append(module.state_dict())
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, msg=key)
