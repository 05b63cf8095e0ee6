"""The layers of a gate are called if they are watched, replaced, quantised or computed, instead of being bypassed."""

import pytest
import torch
from helpers import assert_close
from torch import nn
from torch.nn import functional as F

from mmcgc import ContextGate


@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
def test_layers_with_hooks_and_layers_in_their_place_are_called(training):
    gate, x = ContextGate(16, 32, (3, 3)).train(training), torch.randn(2, 16, 7, 6)
    layers, expected, seen = dict(gate.named_children()), gate(x), []
    assert len(layers) == 7
    for name, layer in layers.items():
        layer.register_forward_hook(lambda *_, name=name: seen.append(name))
    torch.testing.assert_close(gate(x), expected)
    assert sorted(seen) == sorted(layers)
    for name, layer in layers.items():
        setattr(gate, name, nn.Sequential(layer))
    torch.testing.assert_close(gate(x), expected)
    assert sorted(seen) == sorted([*layers] * 2)


class _Adapted(nn.Linear):
    def forward(self, t):
        return super().forward(t) + 1


class _OwnTensor(torch.Tensor):
    """A class of tensors whose products are its own business, as those of quantised weights."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is not F.linear:
            return super().__torch_function__(func, types, args, kwargs or {})
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {})) + 1


def _instance(layer):
    layer.forward = lambda t, old=layer.forward: old(t) + 1


def _subclass(layer):
    layer.__class__ = _Adapted


def _tensor_subclass(layer):
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(_OwnTensor))


def _parametrised(layer):
    class Shifted(nn.Module):
        def forward(self, weight):
            return weight + 1

    nn.utils.parametrize.register_parametrization(layer, 'weight', Shifted())


def _weight_norm(layer):
    nn.utils.weight_norm(layer)
    layer.weight_g.data += 1


def _bias(layer):
    layer.bias = nn.Parameter(torch.ones(layer.out_features))


@pytest.mark.parametrize(
    'change', [_instance, _subclass, _tensor_subclass, _parametrised, _weight_norm, _bias], ids=lambda f: f.__name__
)
@pytest.mark.parametrize('name', ['context_encoding', 'channel_interacting', 'decode_in', 'decode_out'])
def test_linear_layers_that_are_no_longer_plain_are_called(name, change):
    """The result is that of the layer called by hand; unseen, the change would have no effect."""
    torch.manual_seed(0)
    gate, x = ContextGate(16, 32, (3, 3)).eval(), torch.randn(2, 16, 7, 6)
    plain = gate(x)
    change(getattr(gate, name))
    layers = {key: layer for key, layer in gate.named_children() if isinstance(layer, nn.Linear)}

    def terms():
        z = layers['context_encoding'](F.adaptive_avg_pool2d(x, 3).flatten(2))  # (B, C, d)
        g1 = layers['decode_in'](gate.context_norm(z).relu())
        rows = gate.interact_norm(z).relu().transpose(1, 2).unflatten(2, (gate.channel_groups, -1))
        mixed = layers['channel_interacting'](rows).flatten(2).transpose(1, 2)  # (B, O, d)
        return g1, layers['decode_out'](gate.interacted_norm(mixed).relu())

    results, expected = gate(x), terms()
    for ours, other in zip(results, expected, strict=True):
        assert_close(ours, other.reshape(ours.shape))
    assert any(not torch.equal(a, b) for a, b in zip(results, plain, strict=True))


def _norm_instance(norm):
    norm.forward = lambda t, old=norm.forward: old(t) + 1


def _norm_parametrised(norm):
    class Shifted(nn.Module):
        def forward(self, bias):
            return bias + 1

    nn.utils.parametrize.register_parametrization(norm, 'bias', Shifted())


@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
@pytest.mark.parametrize('change', [_norm_instance, _norm_parametrised], ids=lambda f: f.__name__)
@pytest.mark.parametrize('name', ['context_norm', 'interact_norm', 'interacted_norm'])
def test_norms_that_are_no_longer_plain_are_called(name, change, training):
    """Both changes add one to what the norm gives, as a bias of one does."""
    torch.manual_seed(0)
    gate, x = ContextGate(16, 32, (3, 3)).train(training), torch.randn(2, 16, 7, 6)
    norm = getattr(gate, name)
    with torch.no_grad():
        norm.bias += 1
        expected = gate(x)
        norm.bias -= 1
    change(norm)
    for ours, other in zip(gate(x), expected, strict=True):
        assert_close(ours, other)


def test_a_hook_for_all_modules_sees_the_layers():
    gate, seen = ContextGate(16, 32, (3, 3)).eval(), []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(module))
    try:
        gate(torch.randn(2, 16, 7, 6))
    finally:
        handle.remove()
    assert set(seen) == set(gate.modules())


def test_a_class_whose_forward_was_replaced(monkeypatch):
    gate, x = ContextGate(16, 32, (3, 3)).eval(), torch.randn(2, 16, 7, 6)
    calls = []
    monkeypatch.setattr(nn.Linear, 'forward', lambda layer, t: calls.append(layer) or F.linear(t, layer.weight))
    gate(x)
    assert len(calls) == 4


@pytest.mark.parametrize('dtype', [torch.qint8, torch.float16], ids=str)
def test_quantised_linear_layers(dtype):
    torch.manual_seed(0)
    gate, x = ContextGate(16, 32, (3, 3)).eval(), torch.randn(2, 16, 7, 6)
    quantised = torch.ao.quantization.quantize_dynamic(gate, {nn.Linear}, dtype=dtype)
    assert not any(type(m) is nn.Linear for m in quantised.modules())
    results = [torch.cat([t.flatten() for t in g(x)]) for g in (gate, quantised)]
    assert not torch.equal(*results)
    assert_close(results[1], results[0], tolerance=0.05)
