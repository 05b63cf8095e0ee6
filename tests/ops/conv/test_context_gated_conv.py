"""Parity of the tiled backend with the literal reference, and of the reference with the formula by hand."""

import pytest
import torch
from helpers import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mmcgc.ops import COMBINES, context_gated_conv, gate_values

LAST = {4: torch.channels_last, 5: torch.channels_last_3d}

# batch, in, out, kernel, input, stride, padding, dilation, groups
SHAPES_1D = [
    (2, 4, 6, (3,), (9,), 1, 1, 1, 1),
    (1, 5, 7, (5,), (11,), 2, 2, 1, 1),
    (3, 8, 8, (3,), (6,), 1, 0, 2, 8),
    (2, 6, 4, (2,), (7,), 1, 0, 1, 2),
    (1, 3, 5, (7,), (4,), 1, 3, 1, 1),
    (4, 16, 16, (3,), (1,), 1, 1, 1, 4),
    (2, 7, 3, (4,), (10,), 3, 2, 1, 1),
]
SHAPES_2D = [
    (2, 3, 16, (3, 3), (8, 8), 1, 1, 1, 1),
    (3, 5, 7, (3, 3), (9, 8), 1, 1, 1, 1),
    (2, 3, 16, (7, 7), (15, 13), 2, 3, 1, 1),
    (4, 32, 24, (3, 3), (7, 7), 2, 1, 1, 1),
    (1, 64, 64, (3, 3), (7, 7), 1, 1, 1, 1),
    (2, 8, 8, (3, 3), (6, 5), 1, 1, 1, 8),
    (2, 8, 16, (3, 3), (6, 6), 1, 1, 1, 4),
    (2, 12, 6, (1, 5), (4, 9), 1, (0, 2), 1, 2),
    (3, 6, 9, (5, 3), (9, 7), (2, 1), (2, 0), (1, 2), 3),
    (1, 4, 4, (2, 2), (2, 2), 1, 0, 1, 1),
    (1, 17, 19, (3, 3), (1, 1), 1, 1, 1, 1),
    (2, 24, 24, (3, 3), (5, 4), 1, 2, 2, 1),
    (5, 2, 3, (3, 3), (4, 31), 3, 1, 1, 1),
    (2, 512, 8, (3, 3), (3, 3), 1, 1, 1, 1),
    (1, 1, 1, (3, 3), (12, 12), 1, 1, 1, 1),
]
SHAPES_3D = [
    (2, 4, 6, (3, 3, 3), (4, 6, 5), 1, 1, 1, 1),
    (1, 6, 6, (3, 1, 1), (8, 4, 5), 1, (1, 0, 0), 1, 1),
    (2, 4, 8, (5, 1, 1), (9, 3, 3), (2, 1, 1), (2, 0, 0), 1, 1),
    (2, 4, 4, (1, 3, 3), (3, 6, 5), 1, (0, 1, 1), 1, 2),
    (1, 5, 3, (2, 3, 1), (5, 5, 5), (1, 2, 1), (0, 1, 0), 1, 1),
    (2, 6, 6, (3, 1, 1), (6, 2, 2), 1, (2, 0, 0), (2, 1, 1), 6),
    (1, 8, 4, (3, 1, 1), (6, 4, 4), (1, 2, 2), (1, 0, 0), 1, 1),
]
SHAPES = SHAPES_1D + SHAPES_2D + SHAPES_3D
CASES = [(shape, 'sum', last) for shape in SHAPES for last in (False, True) if not last or len(shape[3]) > 1]
CASES += [(shape, combine, False) for shape in SHAPES[::3] for combine in COMBINES[1:]]


def name(case):
    (b, c, o, kernel, size, s, p, d, g), combine, last = case
    text = f'b{b}c{c}o{o}k{"x".join(map(str, kernel))}in{"x".join(map(str, size))}s{s}p{p}d{d}g{g}-{combine}'
    return text.replace(' ', '') + ('-last' if last else '')


def tensors(shape, dtype, last=False, seed=0):
    b, c, o, kernel, size, _, _, _, g = shape
    make = torch.Generator().manual_seed(seed)
    sizes = [(b, c, *size), (o, c // g, *kernel), (b, c, *kernel), (b, o, *kernel), (o,)]
    made = [torch.randn(s, generator=make, dtype=torch.float64).to(dtype) for s in sizes]
    if last:
        made[0] = made[0].contiguous(memory_format=LAST[made[0].dim()])
    return [t.requires_grad_() for t in made]


def run(shape, leaves, backend, combine='sum'):
    s, p, d, g = shape[5:]
    return context_gated_conv(*leaves, s, p, d, g, combine=combine, backend=backend)


def compare(shape, dtype, combine, last, tolerance=None, spread=1):
    actual, expected = tensors(shape, dtype, last), tensors(shape, torch.float64)
    with torch.no_grad():
        for term in (*actual[2:4], *expected[2:4]):
            term *= spread
    y, y_ref = run(shape, actual, 'tiled', combine), run(shape, expected, 'reference', combine)
    assert_close(y, y_ref, 'output', tolerance)
    grad = torch.randn(y_ref.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    grads, grads_ref = torch.autograd.grad(y, actual, grad.to(dtype)), torch.autograd.grad(y_ref, expected, grad)
    for key, g, r in zip(('x', 'weight', 'gate_in', 'gate_out', 'bias'), grads, grads_ref, strict=True):
        assert_close(g, r, f'gradient of {key}', tolerance)


@pytest.mark.parametrize('case', CASES, ids=name)
def test_tiled_equals_reference_in_float64(case, many):
    compare(case[0], torch.float64, *case[1:])


@pytest.mark.parametrize('case', CASES[::2], ids=name)
def test_tiled_equals_reference_in_float32(case, many):
    compare(case[0], torch.float32, *case[1:])


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize('shape', SHAPES_2D[:4], ids=lambda s: f'{s[:4]}')
def test_tiled_in_half_precision(shape, dtype, many):
    compare(shape, dtype, 'sum', False, 4e-2)


@pytest.mark.parametrize('shape', SHAPES[::4], ids=lambda s: f'{s[:5]}')
@pytest.mark.parametrize('drop', [2, 3], ids=['only-out', 'only-in'])
def test_one_term(shape, drop):
    grads = []
    for backend in ('tiled', 'reference'):
        leaves = tensors(shape, torch.float64)
        leaves[drop] = None
        y = run(shape, leaves, backend)
        grads.append((y, *torch.autograd.grad(y.square().sum(), [t for t in leaves if t is not None])))
    for a, b in zip(*grads, strict=True):
        assert_close(a, b)


@pytest.mark.parametrize('wanted', [0, 1, 2, 3, 4], ids=['x', 'weight', 'gate_in', 'gate_out', 'bias'])
def test_gradient_of_one_input_alone(wanted):
    shape, results = SHAPES_2D[1], []
    for backend in ('tiled', 'reference'):
        leaves = [t.detach() for t in tensors(shape, torch.float64)]
        leaves[wanted].requires_grad_()
        results.append(torch.autograd.grad(run(shape, leaves, backend).square().sum(), leaves[wanted])[0])
    assert_close(*results)


def test_reference_is_the_formula():
    x, w, a, b, bias = (t.detach() for t in tensors((2, 6, 4, (3, 2), (5, 6), 1, 0, 1, 2), torch.float64))
    y = context_gated_conv(x, w, a, b, bias, groups=2, backend='reference')
    for n in range(2):
        for h in range(4):
            inputs = range(h // 2 * 3, h // 2 * 3 + 3)
            kernel = torch.stack([w[h, j] / (1 + torch.exp(-a[n, i] - b[n, h])) for j, i in enumerate(inputs)])
            expected = F.conv2d(x[n : n + 1, list(inputs)], kernel[None])[0, 0] + bias[h]
            assert_close(y[n, h], expected, f'sample {n}, output {h}')


@pytest.mark.parametrize('shape', [SHAPES_1D[0], SHAPES_2D[9], SHAPES_3D[4]], ids=['1d', '2d', '3d'])
@pytest.mark.parametrize('backend', ['tiled', 'reference'])
def test_gradcheck(shape, backend):
    assert torch.autograd.gradcheck(lambda *leaves: run(shape, leaves, backend), tensors(shape, torch.float64))


@pytest.mark.parametrize('shape', [SHAPES_2D[9]], ids=['2d'])
def test_reference_is_twice_differentiable(shape):
    assert torch.autograd.gradgradcheck(lambda *leaves: run(shape, leaves, 'reference'), tensors(shape, torch.float64))


@pytest.mark.parametrize('last', [False, True], ids=['contiguous', 'channels-last'])
def test_result_keeps_the_layout(last):
    leaves = tensors(SHAPES_2D[1], torch.float32, last)
    y = run(SHAPES_2D[1], leaves, 'tiled')
    assert y.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize('spread', [12, 40, 1000])
def test_gate_terms_of_any_size(spread, dtype, many):
    """Terms that cancel although the exponential of each would overflow, and gates that are 0 or 1."""
    compare(SHAPES_2D[3], dtype, 'sum', False, spread=spread)


def test_infinite_and_undefined_gate_terms(many):
    """Infinite terms close or open the gate; an undefined one spoils its own sample and no other."""
    x, w, a, b, bias = (t.detach() for t in tensors(SHAPES_2D[1], torch.float64))
    a[0, 0], b[1, 2], a[2, 3, 1, 1] = float('inf'), -float('inf'), float('nan')
    y, expected = (run(SHAPES_2D[1], (x, w, a, b, bias), backend) for backend in ('tiled', 'reference'))
    assert y[2].isnan().any() and not y[:2].isnan().any()
    assert_close(y[:2], expected[:2])


def test_without_onednn():
    with torch.backends.mkldnn.flags(enabled=False):
        compare(SHAPES_2D[4], torch.float32, 'sum', False)


def test_operator_registration():
    x, w, a, b, bias = tensors(SHAPES_2D[1], torch.float32)
    args = (x, w, a, b, bias, [1, 1], [1, 1], [1, 1], 1, 'sum')
    torch.library.opcheck(torch.ops.mmcgc.tiled_conv.default, args)


def test_the_result_may_be_changed_in_place():
    """As by an activation without a norm before it; one sample and several, one axis and two."""
    for batch, axes in ((1, 1), (1, 2), (3, 2)):
        x, weight = torch.randn(batch, 4, *[5] * axes), torch.randn(4, 4, *[3] * axes, requires_grad=True)
        terms = torch.randn(2, batch, 4, *[3] * axes)
        context_gated_conv(x, weight, *terms, padding=1).relu_().sum().backward()
        assert weight.grad.abs().sum() > 0


def test_padding_as_words():
    x, w, a, b, bias = (t.detach() for t in tensors((2, 3, 4, (4, 3), (9, 8), 1, 0, 1, 1), torch.float64))
    for backend in ('tiled', 'reference'):
        same = context_gated_conv(x, w, a, b, bias, padding='same', backend=backend)
        assert same.shape == (2, 4, 9, 8)
        gated = (w * gate_values(a, b, 4))[0]
        assert_close(same[0], F.conv2d(x, gated, bias, padding='same')[0])
        valid = context_gated_conv(x, w, a, b, bias, padding='valid', backend=backend)
        assert_close(valid[0], F.conv2d(x, gated, bias)[0])


def test_autocast_casts_the_convolution_and_not_the_gate():
    leaves = tensors(SHAPES_2D[0], torch.float32)
    expected = run(SHAPES_2D[0], leaves, 'reference')
    for backend in ('tiled', 'reference'):
        with torch.autocast('cpu', torch.bfloat16):
            y = run(SHAPES_2D[0], leaves, backend)
        assert y.dtype == torch.bfloat16
        assert_close(y, expected, backend)
        assert torch.autograd.grad(y.float().sum(), leaves)[2].dtype == torch.float32


def test_empty_batch():
    leaves = tensors((0, 3, 4, (3, 3), (5, 5), 1, 1, 1, 1), torch.float32)
    for backend in ('tiled', 'reference'):
        y = run((0, 3, 4, (3, 3), (5, 5), 1, 1, 1, 1), leaves, backend)
        assert y.shape == (0, 4, 5, 5)
        assert torch.autograd.grad(y.sum(), leaves[1])[0].abs().max() == 0


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_shape(data):
    draw, nd = data.draw, data.draw(st.integers(1, 3))
    g = draw(st.integers(1, 3))
    b, c, o = draw(st.integers(1, 5)), g * draw(st.integers(1, 5)), g * draw(st.integers(1, 5))

    def axes(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(nd))

    kernel, stride, padding, dilation = axes(1, 4), axes(1, 3), axes(0, 2), axes(1, 2)
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, p, d in zip(kernel, padding, dilation, strict=True)]
    size = tuple(draw(st.integers(low, low + 4)) for low in least)
    last = nd > 1 and draw(st.booleans())
    compare((b, c, o, kernel, size, stride, padding, dilation, g), torch.float64, draw(st.sampled_from(COMBINES)), last)


@pytest.mark.parametrize(
    'change, words',
    [
        (dict(x=(2, 3, 9)), 'same rank'),
        (dict(x=(2, 4, 9, 9)), '3 input channels'),
        (dict(gate_in=(2, 3, 3, 2)), 'gate_in must be'),
        (dict(gate_out=(1, 4, 3, 3)), 'gate_out must be'),
        (dict(gate_in=None, gate_out=None), 'give gate_in'),
        (dict(x=(2, 3, 2, 9)), 'larger than the input'),
        (dict(stride=(1, 1, 1)), 'stride must be'),
        (dict(padding='around'), "'around'"),
        (dict(padding='same', stride=2), 'needs stride 1'),
        (dict(combine='mean'), "combine='mean'"),
        (dict(backend='fast'), "backend='fast'"),
    ],
    ids=lambda v: v if isinstance(v, str) else None,
)
def test_bad_input(change, words):
    arguments = dict(x=(2, 3, 9, 9), weight=(4, 3, 3, 3), gate_in=(2, 3, 3, 3), gate_out=(2, 4, 3, 3), **{})
    arguments.update(change)
    for key in ('x', 'weight', 'gate_in', 'gate_out'):
        if arguments[key] is not None:
            arguments[key] = torch.randn(arguments[key])
    with pytest.raises(ValueError, match=words):
        context_gated_conv(**arguments)


def test_tiled_refuses_integers():
    x = torch.ones(1, 1, 3, 3, dtype=torch.long)
    with pytest.raises(ValueError, match='floating-point'):
        context_gated_conv(x, x.float(), x.float(), x.float(), backend='tiled')
