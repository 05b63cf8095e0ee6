"""CGConv1d/2d/3d: parity with the written-out gate and the reference operator, generalisations, clips, errors."""

import copy
import inspect

import pytest
import torch
from helpers import assert_close
from reference_gate import reference_gate
from torch import nn
from torch.nn import functional as F

from mmcgc import CGConv1d, CGConv2d, CGConv3d
from mmcgc.ops import gate_values

CONVS = {CGConv1d: F.conv1d, CGConv2d: F.conv2d, CGConv3d: F.conv3d}


def expected(conv, x):
    """The layer, step by step: gate, gated kernels, padding, one convolution a sample."""
    terms = reference_gate(conv.gate, x)
    kernels = conv.weight * gate_values(*terms, conv.out_channels, conv.groups, conv.gate.combine)
    padding = conv.padding
    if conv.padding_mode != 'zeros':
        x, padding = F.pad(x, conv._reversed_padding_repeated_twice, mode=conv.padding_mode), 0
    rest = conv.bias, conv.stride, padding, conv.dilation, conv.groups
    return torch.cat([CONVS[type(conv)](s, k, *rest) for s, k in zip(x.split(1), kernels, strict=True)])


def check(conv, x):
    leaves = [x.requires_grad_(), *conv.parameters()]
    results = []
    for y in (conv(x), expected(conv, x)):
        results.append([y, *torch.autograd.grad(y.square().mean(), leaves)])
    for name, a, b in zip(['y', 'x', *dict(conv.named_parameters())], *results, strict=True):
        assert_close(a, b, name)


CASES = {
    '1d': (CGConv1d, (8, 12, 3), dict(padding=1), (8, 9)),
    '1d-same': (CGConv1d, (8, 12, 4), dict(padding='same'), (8, 9)),
    '1d-short': (CGConv1d, (6, 6, 5), dict(padding=2), (6, 2)),
    '2d': (CGConv2d, (32, 16, 3), dict(padding=1), (32, 9, 7)),
    '2d-7x7': (CGConv2d, (3, 64, 7), dict(stride=2, padding=3), (3, 17, 23)),
    '2d-5x5': (CGConv2d, (16, 16, 5), dict(padding=2), (16, 6, 6)),
    '2d-1x3': (CGConv2d, (16, 16, (1, 3)), dict(padding=(0, 1)), (16, 5, 8)),
    '2d-groups': (CGConv2d, (16, 32, 3), dict(padding=1, groups=4), (16, 6, 6)),
    '2d-depthwise': (CGConv2d, (24, 24, 3), dict(padding=1, groups=24), (24, 5, 5)),
    '2d-dilated': (CGConv2d, (24, 24, 3), dict(padding=2, dilation=2), (24, 7, 7)),
    '2d-reflect': (CGConv2d, (8, 8, 3), dict(padding=1, padding_mode='reflect'), (8, 6, 7)),
    '2d-circular': (CGConv2d, (8, 8, 3), dict(padding=2, padding_mode='circular'), (8, 6, 7)),
    '2d-no-bias': (CGConv2d, (8, 8, 3), dict(bias=False), (8, 6, 7)),
    '2d-tiny': (CGConv2d, (8, 8, 3), dict(padding=1), (8, 1, 2)),
    '2d-odd-channels': (CGConv2d, (20, 30, 3), dict(), (20, 4, 5)),
    '2d-product': (CGConv2d, (16, 16, 3), dict(gate=dict(combine='product')), (16, 5, 5)),
    '2d-only-in': (CGConv2d, (16, 16, 3), dict(gate=dict(branches='in')), (16, 5, 5)),
    '3d': (CGConv3d, (8, 8, 3), dict(padding=1), (8, 4, 5, 6)),
    '3d-temporal': (CGConv3d, (16, 16, (3, 1, 1)), dict(padding=(1, 0, 0)), (16, 8, 3, 4)),
    '3d-temporal-stride': (CGConv3d, (16, 16, (5, 1, 1)), dict(stride=(2, 1, 1), padding=(2, 0, 0)), (16, 8, 3, 4)),
}


@pytest.mark.parametrize('backend', [None, 'reference'], ids=['default', 'reference'])
@pytest.mark.parametrize('case', CASES.values(), ids=CASES.keys())
def test_parity(case, backend):
    layer, args, kwargs, size = case
    torch.manual_seed(0)
    conv = layer(*args, **kwargs, backend=backend).double()
    check(conv, torch.randn(3, *size, dtype=torch.float64))


@pytest.mark.parametrize('decoder', ['joint', 'additive'])
def test_clips_of_frames(decoder):
    conv = CGConv2d(16, 8, 3, padding=1, num_segments=4, gate=dict(temporal_decoder=decoder)).double()
    check(conv, torch.randn(8, 16, 6, 5, dtype=torch.float64))


def test_clip_gate_sees_the_whole_clip_and_no_other():
    conv = CGConv2d(8, 8, 3, padding=1, num_segments=4).eval()
    x = torch.randn(8, 8, 6, 6)
    y = conv(x)
    x[0] += 1
    changed = (conv(x) - y).flatten(1).abs().amax(1) > 1e-6
    assert changed.tolist() == [True] * 4 + [False] * 4


def test_frames_of_a_5d_clip_equal_the_folded_form():
    spatial = CGConv3d(8, 6, (1, 3, 3), padding=(0, 1, 1), num_frames=4).double().eval()
    folded = CGConv2d(8, 6, 3, padding=1, num_segments=4).double().eval()
    folded.load_state_dict({k: v.squeeze(2) if k == 'weight' else v for k, v in spatial.state_dict().items()})
    x = torch.randn(2, 8, 4, 5, 6, dtype=torch.float64)
    y = folded(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (2, 4)).transpose(1, 2)
    assert_close(spatial(x), y)


@pytest.mark.parametrize('layer', CONVS, ids=lambda c: c.__name__)
def test_constructor_begins_with_the_arguments_of_the_plain_one(layer):
    own = [(p.name, p.kind, p.default) for p in inspect.signature(layer).parameters.values()]
    plain = [(p.name, p.kind, p.default) for p in inspect.signature(layer.__bases__[1]).parameters.values()]
    assert own[: len(plain)] == plain
    assert {kind for _, kind, _ in own[len(plain) :]} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize('layer', CONVS, ids=lambda c: c.__name__)
def test_every_argument_of_the_plain_one_counts_by_position(layer):
    given = (4, 6, 3, 2, 5, 7, 2, False, 'circular', 'meta', torch.float64)
    conv, plain = layer(*given), layer.__bases__[1](*given)
    for name in ('stride', 'padding', 'dilation', 'groups', 'bias', 'padding_mode'):
        assert getattr(conv, name) == getattr(plain, name)
    assert conv.weight.is_meta and conv.weight.dtype == torch.float64 and conv.weight.shape == plain.weight.shape


@pytest.mark.parametrize('layer', CONVS, ids=lambda c: c.__name__)
def test_one_element_kernel_is_the_plain_convolution(layer):
    conv, plain = layer(4, 6, 1), layer.__bases__[1](4, 6, 1)
    assert list(conv.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(conv.state_dict())
    x = torch.randn(2, 4, *[5] * (conv.weight.dim() - 2))
    assert torch.equal(conv(x), plain(x))


@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
def test_batch_of_one_and_unbatched(training):
    conv = CGConv2d(16, 8, 3).double().train(training)
    x = torch.randn(16, 6, 6, dtype=torch.float64)
    alone = copy.deepcopy(conv)(x)
    assert alone.shape == (8, 4, 4)
    assert_close(alone, conv(x[None])[0])


@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
def test_empty_batch_reaches_every_parameter(training):
    conv = CGConv2d(16, 8, 3).train(training)
    y = conv(torch.randn(0, 16, 6, 6))
    assert y.shape == (0, 8, 4, 4)
    y.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() == 0 for p in conv.parameters())


@pytest.mark.parametrize('conv, size', [
    (CGConv1d(2, 3, 3), (2, 5)), (CGConv2d(2, 3, 2), (2, 3, 3)), (CGConv3d(2, 2, (2, 1, 2)), (2, 3, 2, 3)),
], ids=['1d', '2d', '3d'])  # fmt: skip
def test_gradcheck(conv, size):
    conv = conv.double().eval()
    torch.manual_seed(0)
    for norm in (conv.gate.context_norm, conv.gate.interact_norm, conv.gate.interacted_norm):
        nn.init.normal_(norm.bias)  # away from the kink of the ReLU, where a batch of zeros would sit
    x = torch.randn(2, *size, dtype=torch.float64, requires_grad=True)
    names, values = zip(*conv.named_parameters(), strict=True)

    def call(x, *values):
        return torch.func.functional_call(conv, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x, *values))


def test_gate_is_built_on_the_device_and_in_the_dtype_of_the_weight():
    assert CGConv2d(4, 4, 3, dtype=torch.float64).gate.decode_in.weight.dtype == torch.float64
    assert CGConv2d(4, 4, 3, device='meta').gate.decode_in.weight.is_meta


def test_twenty_steps_give_the_same_losses_on_every_backend():
    losses = []
    for backend in ('tiled', 'reference'):
        torch.manual_seed(0)
        net = nn.Sequential(
            CGConv2d(3, 16, 3, padding=1, backend=backend), nn.BatchNorm2d(16), nn.ReLU(),
            CGConv2d(16, 16, 3, 2, 1, backend=backend), nn.BatchNorm2d(16), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
        ).double()  # fmt: skip
        optimiser = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
        x, target = torch.randn(16, 3, 8, 8, dtype=torch.float64), torch.arange(16) % 4
        losses.append([])
        for _ in range(20):
            loss = F.cross_entropy(net(x), target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses[-1].append(loss.item())
    assert losses[0][-1] < losses[0][0] / 2
    assert losses[0] == pytest.approx(losses[1], rel=1e-8)


@pytest.mark.parametrize(
    'build, size, words',
    [
        (lambda: CGConv2d(8, 8, 3, gate=dict(pooling='max')), None, "unknown gate options.*'pooling'.*'pool'"),
        (lambda: CGConv3d(8, 8, 3, num_frames=4), None, 'needs a \\(1, k, k\\) kernel'),
        (lambda: CGConv2d(8, 8, 3, num_segments=0), None, 'num_frames=0'),
        (lambda: CGConv2d(8, 8, 3), (2, 8, 9), 'takes \\(B, 8, \\*S\\)'),
        (lambda: CGConv2d(8, 8, 3), (2, 4, 9, 9), 'takes \\(B, 8, \\*S\\)'),
        (lambda: CGConv2d(8, 8, 3), (2, 8, 2, 9), 'larger than the input'),
        (lambda: CGConv2d(8, 8, 3, num_segments=8), (12, 8, 9, 9), 'num_segments=8 does not divide'),
        (lambda: CGConv3d(8, 8, (1, 3, 3), num_frames=4), (1, 8, 5, 6, 6), 'has 5 frames'),
        (lambda: CGConv2d(8, 8, 3, backend='gpu'), (2, 8, 9, 9), "backend='gpu'"),
    ],
    ids=['option', 'kernel', 'zero', 'rank', 'channels', 'kernel-size', 'segments', 'frames', 'backend'],
)
def test_bad_input(build, size, words):
    with pytest.raises(ValueError, match=words):
        build()(torch.randn(size))
