"""Light convolutions against the formulas, written out position by position."""

import math

import pytest
import torch
from helpers import assert_close
from torch import nn

from mmcgc.layers import CGLightweightConv, DynamicConv, LightweightConv
from mmcgc.layers.light_conv import sentence_averaging
from mmcgc.ops import band_conv as op
from mmcgc.ops.band_conv import light_conv

KINDS = [LightweightConv, DynamicConv, CGLightweightConv]
F64 = torch.float64


def literal_conv(x, weight, before):
    """x (B, T, C), weight (B, T, H, k): every output from its own sum."""
    batch, steps, channels = x.shape
    heads, size = weight.shape[2:]
    rows = []
    for b in range(batch):
        for t in range(steps):
            for c in range(channels):
                head = c // (channels // heads)
                terms = [
                    weight[b, t, head, j] * x[b, t + j - before, c] for j in range(size) if 0 <= t + j - before < steps
                ]
                rows.append(sum(terms, x.new_zeros(())))
    return torch.stack(rows).view(batch, steps, channels)


def literal_gate(layer, x, length):
    """The gate (H, k) of one sentence x (T, C) of ``length`` tokens."""
    gate, pooled = layer.gate, []
    size = 3 * layer.kernel_size
    for head in x[:length].unflatten(1, (layer.heads, -1)).unbind(1):  # (n, R)
        line = torch.cat([head.mean(1), x.new_zeros(max(0, size - length))])
        pooled.append(nn.functional.adaptive_avg_pool1d(line[None, None], size)[0, 0])
    latent = torch.stack(pooled) @ gate.context_encoding.weight.T  # (H, d)
    latent = nn.functional.layer_norm(latent, latent.shape[1:], gate.context_norm.weight, gate.context_norm.bias)
    return torch.sigmoid(latent.relu() @ gate.decode_in.weight.T)


def literal(layer, x, lengths):
    """The whole layer, from its weights, for sentences of the given lengths."""
    kernels = []
    for sentence, length in zip(x, lengths, strict=True):
        if isinstance(layer, DynamicConv):
            weight = (sentence @ layer.weight_linear.weight.T).unflatten(1, (layer.heads, -1)).softmax(-1)
        else:
            weight = layer.weight.softmax(-1)
            if isinstance(layer, CGLightweightConv) and layer.kernel_size > 1:
                gate = literal_gate(layer, sentence, length)
                weight = (layer.weight * gate).softmax(-1) if layer.gate_before_softmax else weight * gate
            weight = weight.expand(len(sentence), -1, -1)
        kernels.append(weight)
    before = layer.kernel_size - 1 if layer.causal else (layer.kernel_size - 1) // 2
    return literal_conv(x, torch.stack(kernels), before)


def build(kind, kernel_size, causal=False, **kwargs):
    torch.manual_seed(0)
    layer = kind(8, 2, kernel_size, causal=causal, **kwargs).to(F64)
    if kind is CGLightweightConv and kernel_size > 1:
        nn.init.uniform_(layer.gate.context_norm.weight, 0.5, 2)
        nn.init.normal_(layer.gate.context_norm.bias)
    return layer


def batch(lengths, channels=8):
    """Random sentences, and where their padding is."""
    torch.manual_seed(1)
    x = torch.randn(len(lengths), max(lengths), channels, dtype=F64)
    padding = torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]
    return x, padding


CASES = [
    (kind, k, causal)
    for kind in KINDS
    for k in (1, 3, 4, 7)
    for causal in (False, True)
    if not (causal and kind is CGLightweightConv)
]
IDS = [f'{kind.__name__}-{k}{"-causal" if causal else ""}' for kind, k, causal in CASES]
LENGTHS = pytest.mark.parametrize('lengths', [(1,), (5, 2, 3), (12, 9), (31, 4)], ids=str)


@LENGTHS
@pytest.mark.parametrize('kind, kernel_size, causal', CASES, ids=IDS)
def test_outputs_and_gradients_are_those_of_the_formula(kind, kernel_size, causal, lengths):
    layer = build(kind, kernel_size, causal)
    x, padding = batch(lengths)
    x.requires_grad_()
    got = layer(x, padding)
    expected = literal(layer, x.masked_fill(padding[..., None], 0), lengths)
    assert_close(got, expected, 'output')
    grad = torch.randn_like(got)
    inputs = [x, *layer.parameters()]
    for name, a, b in zip(
        ['x', *dict(layer.named_parameters())],
        torch.autograd.grad(got, inputs, grad),
        torch.autograd.grad(expected, inputs, grad),
        strict=True,
    ):
        assert_close(a, b, name)


def test_gating_before_the_softmax():
    layer = build(CGLightweightConv, 5, gate_before_softmax=True)
    x, _ = batch((9, 9))
    assert_close(layer(x), literal(layer, x, (9, 9)))
    assert (layer(x) - build(CGLightweightConv, 5)(x)).abs().max() > 1e-3


@pytest.mark.parametrize(
    'kind, kernel_size, causal',
    [case for case in CASES if case[1] == 3],
    ids=[i for i, case in zip(IDS, CASES, strict=True) if case[1] == 3],
)
def test_gradcheck(kind, kernel_size, causal):
    layer = build(kind, kernel_size, causal)
    x, padding = batch((4, 2))
    names = list(dict(layer.named_parameters()))

    def run(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x, padding))

    assert torch.autograd.gradcheck(run, (x.requires_grad_(), *layer.parameters()))
    assert torch.autograd.gradgradcheck(run, (x, *layer.parameters()))


@pytest.mark.parametrize('shape', ['shared', 'sentence', 'position'])
@pytest.mark.parametrize('before, after', [(0, 0), (2, 2), (4, 0), (0, 4), (9, 1)])
def test_blocks_join_without_a_seam(monkeypatch, shape, before, after):
    torch.manual_seed(0)
    x = torch.randn(2, 23, 6, dtype=F64)
    steps = 23 + before + after - 4
    size = {'shared': (3, 5), 'sentence': (2, 3, 5), 'position': (2, steps, 3, 5)}[shape]
    weight = torch.randn(size, dtype=F64)
    whole = light_conv(x, weight, (before, after))
    assert whole.shape == (2, steps, 6)
    for block in (1, 4, 7):
        monkeypatch.setattr(op, '_BLOCK', block)
        assert_close(light_conv(x, weight, (before, after)), whole, tolerance=1e-12)


@pytest.mark.parametrize('kind', [LightweightConv, DynamicConv], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize('chunks', [(1,) * 9, (4, 5), (1, 7, 1)], ids=str)
@pytest.mark.parametrize('kernel_size', [1, 3, 7, 15])
def test_step_by_step_equals_at_once(kind, chunks, kernel_size):
    layer = build(kind, kernel_size, causal=True)
    x, _ = batch((9, 9))
    state = {}
    steps = torch.cat([layer(chunk, None, state) for chunk in x.split(chunks, dim=1)], dim=1)
    assert_close(steps, layer(x), tolerance=1e-12)
    assert state['inputs'].shape[1] == min(kernel_size - 1, 9)


@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.__name__)
def test_padding_and_neighbours_change_nothing(kind):
    layer = build(kind, 7)
    x, padding = batch((25, 22, 3))
    x[padding] = math.nan  # whatever stands there
    together = layer(x, padding)
    for i, n in enumerate((25, 22, 3)):
        assert_close(together[i, :n], layer(x[i : i + 1, :n])[0], tolerance=1e-12)


def test_the_gate_sees_the_whole_sentence():
    layer = build(CGLightweightConv, 3)
    x, _ = batch((40,))
    other = x.clone()
    other[:, -1] += 1
    change = (layer(x) - layer(other)).abs()[0].amax(1)
    assert (change > 1e-9).all()
    plain = build(LightweightConv, 3)
    assert ((plain(x) - plain(other)).abs()[0].amax(1) > 0).nonzero().flatten().tolist() == [38, 39]


@pytest.mark.parametrize('size, target', [(5, 9), (9, 9), (10, 9), (17, 9), (27, 9), (100, 21)])
def test_averaging_is_adaptive_pooling_of_the_sentence(size, target):
    x = torch.randn(1, 1, size, dtype=F64)
    matrix = sentence_averaging(torch.tensor([size]), size + 4, target, x)[0]  # with four places of padding
    padded = nn.functional.pad(x, (0, max(0, target - size)))
    expected = nn.functional.adaptive_avg_pool1d(padded, target)[0, 0]
    assert_close(matrix @ nn.functional.pad(x, (0, 4))[0, 0], expected)
    assert not matrix[:, max(size, target) :].any()


@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.__name__)
def test_drop_connect_drops_elements_of_the_kernels_in_training_only(kind):
    layer = build(kind, 5, weight_dropout=0.4)
    plain = build(kind, 5)
    x = torch.ones(2, 300, 8, dtype=F64)
    assert torch.equal(layer.eval()(x), plain(x))
    torch.manual_seed(0)
    y = torch.stack([layer.train()(x) for _ in range(20)])
    assert len(y[0, 0, 2:-2, 0].unique()) > 20  # each position drops its own
    assert_close(y.mean((0, 2)), plain(x).mean(1), tolerance=0.05)  # the same on average


def test_a_light_checkpoint_loads_with_the_gates_keys_missing():
    gated = CGLightweightConv(8, 2, 7)
    keys = gated.load_state_dict(LightweightConv(8, 2, 7).state_dict(), strict=False)
    assert not keys.unexpected_keys and set(keys.missing_keys) == {
        'gate.context_encoding.weight',
        'gate.context_norm.weight',
        'gate.context_norm.bias',
        'gate.decode_in.weight',
    }


@pytest.mark.parametrize('kernel_size, latent, extra', [(3, 2, 28), (7, 4, 120), (15, 8, 496), (31, 16, 2016)])
def test_sizes_of_the_gate(kernel_size, latent, extra):
    gate = CGLightweightConv(512, 4, kernel_size).gate
    assert gate.decode_in.in_features == latent
    assert sum(p.numel() for p in gate.parameters()) == extra


def test_glorot_initialisation():
    torch.manual_seed(0)
    gate = CGLightweightConv(8, 2, 63).gate
    for linear in (gate.context_encoding, gate.decode_in):
        bound = math.sqrt(6 / (linear.in_features + linear.out_features))
        assert 0.98 * bound < linear.weight.abs().max() <= bound and linear.bias is None


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.__name__)
def test_lower_precision_is_close(kind, dtype):
    layer = build(kind, 7)
    x, padding = batch((25, 3))
    expected = layer(x, padding)
    assert_close(layer.to(dtype)(x.to(dtype), padding), expected)


def test_compiles_without_a_graph_break():
    torch._dynamo.reset()
    layer = build(CGLightweightConv, 7)
    x, padding = batch((25, 3))
    compiled = torch.compile(layer, fullgraph=True, backend='eager')
    assert_close(compiled(x, padding), layer(x, padding))


def test_an_empty_batch_stays_empty():
    assert CGLightweightConv(8, 2, 3)(torch.zeros(0, 5, 8)).shape == (0, 5, 8)


@pytest.mark.parametrize(
    'shape, weight',
    [
        ((2, 5), (2, 3)),
        ((2, 5, 7), (2, 3)),
        ((2, 5, 8), (3, 2, 3)),
        ((2, 5, 8), (2, 4, 2, 3)),
        ((2, 2, 8), (2, 3)),
    ],
    ids=['rank', 'heads', 'batch', 'steps', 'kernel'],
)
def test_shapes_that_do_not_fit_are_named(shape, weight):
    with pytest.raises(ValueError, match=r'light_conv takes x \(B, T, C\)'):
        light_conv(torch.zeros(shape), torch.zeros(weight))


def test_heads_that_do_not_divide_are_named():
    with pytest.raises(ValueError, match='3 heads do not divide 8 channels'):
        LightweightConv(8, 3, 3)


def test_a_causal_gate_is_refused():
    with pytest.raises(ValueError, match='use it in the encoder'):
        CGLightweightConv(8, 2, 3, causal=True)
