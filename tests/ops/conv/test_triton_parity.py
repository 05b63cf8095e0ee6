"""Parity of the Triton kernels with the literal reference: on a GPU, or without one in Triton's interpreter.

The interpreter has to be asked for before Triton is imported, as ``test_triton_conv.py`` does in a process of its own:
``TRITON_INTERPRET=1 pytest tests/ops/conv/test_triton_parity.py``.  Errors are relative to the largest magnitude
expected.
"""

import pytest
import torch
from helpers import assert_close
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmcgc.ops import context_gated_conv, multiply_adds, triton_device
from mmcgc.ops.conv import functional, triton_conv, triton_tiles

GPU = torch.cuda.is_available()
DEVICE = 'cuda' if GPU else 'cpu'
problem = triton_device.no_device(DEVICE, None, torch.float32)
if problem is not None:
    pytest.skip(f'{problem} (test_triton_conv.py does, in a process of its own)', allow_module_level=True)

TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
LAST = {4: torch.channels_last, 5: torch.channels_last_3d}

# batch, in, out, kernel, input, stride, padding, dilation
CASES = [
    (2, 5, 7, (3, 3), (6, 5), 1, 1, 1),
    (1, 16, 16, (3, 3), (4, 4), 1, 1, 1),
    (1, 1, 1, (3, 3), (5, 5), 1, 1, 1),
    (2, 3, 8, (7, 7), (9, 8), 2, 3, 1),
    (2, 17, 9, (3, 3), (7, 6), 2, 1, 1),
    (1, 33, 20, (3, 3), (3, 4), 1, 1, 1),
    (1, 70, 66, (1, 2), (2, 3), 1, (0, 1), 1),
    (1, 8, 130, (1, 3), (3, 4), 1, (0, 1), 1),
    (3, 4, 6, (3, 3), (1, 1), 1, 1, 1),
    (2, 6, 5, (3, 3), (8, 7), 3, 1, 1),
    (2, 6, 5, (2, 2), (7, 7), 3, 0, 1),
    (2, 6, 5, (1, 2), (5, 5), 2, 0, 1),
    (2, 4, 6, (5, 5), (7, 6), 1, 2, 1),
    (2, 4, 6, (5, 3), (9, 6), (2, 1), (2, 0), 1),
    (2, 8, 8, (3, 3), (9, 7), (1, 2), (2, 0), (2, 1)),
    (2, 4, 4, (3, 3), (8, 7), 2, 2, 2),
    (1, 4, 4, (3, 3), (9, 9), 3, 3, 3),
    (1, 5, 4, (3, 3), (9, 9), 2, 1, 3),
    (2, 16, 16, (2, 4), (10, 9), (3, 2), (1, 2), (1, 2)),
    (2, 4, 4, (3, 3), (4, 4), 1, 3, 1),
    (2, 12, 24, (3, 3), (5, 4), 1, 1, 1),
    (1, 3, 5, (4, 4), (6, 6), 2, 1, 1),
    (5, 2, 3, (3, 3), (4, 9), 3, 1, 1),
    (1, 4, 4, (3, 3), (12, 12), 1, 1, 1),
    (2, 4, 6, (3,), (9,), 1, 1, 1),
    (1, 5, 7, (5,), (11,), 2, 2, 1),
    (3, 8, 8, (3,), (6,), 1, 0, 2),
    (1, 3, 5, (7,), (4,), 1, 3, 1),
    (2, 7, 3, (4,), (10,), 3, 2, 1),
    (2, 40, 33, (3,), (12,), 1, 1, 1),
    (1, 2, 4, (31,), (20,), 1, 15, 1),
    (1, 6, 6, (3, 1, 1), (6, 3, 2), 1, (1, 0, 0), 1),
    (2, 4, 8, (5, 1, 1), (9, 2, 3), (2, 1, 1), (2, 0, 0), 1),
    (2, 6, 6, (3, 1, 1), (6, 2, 2), 1, (2, 0, 0), (2, 1, 1)),
    (1, 20, 17, (3, 1, 1), (4, 1, 1), 1, (1, 0, 0), 1),
    (2, 4, 4, (1, 3, 3), (3, 5, 4), 1, (0, 1, 1), 1),
    (1, 3, 6, (1, 3, 3), (2, 6, 5), (1, 2, 2), (0, 1, 1), 1),
    (2, 5, 4, (1, 2, 3), (2, 4, 6), 1, (0, 0, 1), (1, 2, 1)),
]


def name(case):
    b, c, o, kernel, size, s, p, d = case
    return f'b{b}c{c}o{o}k{"x".join(map(str, kernel))}in{"x".join(map(str, size))}s{s}p{p}d{d}'.replace(' ', '')


def leaves(case, dtype, last, seed=0):
    """The tensors, and the same values in float64 on the CPU."""
    b, c, o, kernel, size = case[:5]
    make = torch.Generator().manual_seed(seed)
    shapes = [(b, c, *size), (o, c, *kernel), (b, c, *kernel), (b, o, *kernel), (o,)]
    actual = [torch.randn(shape, generator=make, dtype=torch.float64).to(dtype) for shape in shapes]
    expected = [t.double().requires_grad_() for t in actual]
    if last and actual[0].dim() > 3:
        actual[0] = actual[0].contiguous(memory_format=LAST[actual[0].dim()])
    return [t.to(DEVICE).requires_grad_() for t in actual], expected


def run(case, tensors, backend='triton'):
    return context_gated_conv(*tensors, *case[5:], backend=backend)


def compare(case, dtype=torch.float32, last=True, drop=None, wanted=range(5)):
    """Output and gradients; ``drop`` leaves a gate term out, ``wanted`` are the inputs to differentiate."""
    actual, expected = leaves(case, dtype, last)
    for tensors in (actual, expected):
        if drop is not None:
            tensors[drop] = None
        for index, t in enumerate(tensors):
            if t is not None:
                t.requires_grad_(index in wanted)
    y, y_ref = run(case, actual), run(case, expected, 'reference')
    assert y.dtype == dtype
    assert_close(y.cpu(), y_ref, 'output', TOLERANCE[dtype])
    grad = torch.randn(y_ref.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    inputs = [index for index in wanted if actual[index] is not None]
    grads = torch.autograd.grad(y, [actual[i] for i in inputs], grad.to(DEVICE))
    grads_ref = torch.autograd.grad(y_ref, [expected[i] for i in inputs], grad.double())
    for index, g, r in zip(inputs, grads, grads_ref, strict=True):
        assert_close(g.cpu(), r, f'gradient of input {index}', TOLERANCE[dtype])
    return y, *grads


@pytest.fixture(autouse=True)
def no_tf32(monkeypatch):
    monkeypatch.setattr(triton_conv, '_precision', lambda: 'ieee')


@pytest.mark.parametrize('case', CASES, ids=name)
def test_equals_reference(case):
    compare(case)


@pytest.mark.parametrize('case', [CASES[0], CASES[3], CASES[14], CASES[32], CASES[35]], ids=name)
def test_equals_reference_on_contiguous_inputs(case):
    compare(case, last=False)


@pytest.mark.parametrize('case', [CASES[4], CASES[5], CASES[20], CASES[30]], ids=name)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(case, dtype):
    if dtype == torch.bfloat16 and not GPU:
        pytest.skip('the interpreter has no bfloat16')
    compare(case, dtype)


@pytest.mark.skipif(not GPU, reason='the interpreter computes tf32 as float32')
def test_tf32(monkeypatch):
    monkeypatch.setattr(triton_conv, '_precision', lambda: 'tf32')
    monkeypatch.setitem(TOLERANCE, torch.float32, 3e-3)
    compare(CASES[20])


@pytest.mark.parametrize('case', [CASES[0], CASES[3], CASES[25], CASES[36]], ids=name)
@pytest.mark.parametrize('drop', [2, 3], ids=['only-out', 'only-in'])
def test_one_term(case, drop):
    compare(case, drop=drop)


@pytest.mark.parametrize('wanted', [0, 1, 2, 3, 4], ids=['x', 'weight', 'gate_in', 'gate_out', 'bias'])
def test_gradient_of_one_input_alone(wanted):
    compare(CASES[0], wanted=[wanted])


@pytest.mark.parametrize('rows, pixels', [(16, 32), (64, 16)])
def test_any_tiles(monkeypatch, rows, pixels):
    """Several tiles along every axis, and runs of samples that the batch does not fill."""
    tiles = [triton_tiles.Tiles(rows, pixels, 16, 1, 4, 1)]
    monkeypatch.setattr(triton_conv, 'conv_tiles', lambda *_: tiles)
    monkeypatch.setattr(triton_conv, 'weight_grad_tiles', lambda *_: tiles)
    monkeypatch.setattr(triton_conv, '_PROGRAMS', 20)
    compare((3, 18, 20, (1, 2), (4, 5), 1, 0, 1))


@pytest.mark.skipif(not GPU, reason='the interpreter runs one program after the other')
def test_same_result_every_time():
    first, second = compare(CASES[0]), compare(CASES[0])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize('last', [False, True], ids=['contiguous', 'channels-last'])
def test_result_and_gradient_keep_the_layout(last):
    actual, _ = leaves(CASES[0], torch.float32, last)
    y = run(CASES[0], actual)
    grad = torch.autograd.grad(y.sum(), actual[0])[0]
    layout = torch.channels_last if last else torch.contiguous_format
    assert y.is_contiguous(memory_format=layout) and grad.is_contiguous(memory_format=layout)


def test_extreme_and_missing_terms():
    """Gates of 0 and 1, to the last bit that float32 has, and NaN that stays where it is."""
    actual, expected = leaves((3, 4, 5, (3, 3), (4, 4), 1, 1, 1), torch.float32, True)
    for tensors in (actual, expected):
        with torch.no_grad():
            tensors[2][0], tensors[3][0] = 60, -200
            tensors[2][1], tensors[3][1] = 1e30, 3
            tensors[2][2], tensors[3][2] = 70, -69
            tensors[2][2, 1], tensors[3][2, 2] = 200, -150
            tensors[2][2, 3], tensors[3][2, 4] = -1e30, float('inf')
    args = (1, 1, 1)
    y, y_ref = run((*CASES[0][:5], *args), actual), run((*CASES[0][:5], *args), expected, 'reference')
    assert_close(y.cpu(), y_ref, tolerance=1e-5)
    grads, grads_ref = (torch.autograd.grad(t.square().sum(), ts) for t, ts in ((y, actual), (y_ref, expected)))
    for g, r in zip(grads, grads_ref, strict=True):
        assert_close(g.cpu(), r, tolerance=1e-5)
    with torch.no_grad():
        actual[2][1] = float('nan')
        actual[2][0, 0], actual[3][0, 0] = float('inf'), -float('inf')
    y = context_gated_conv(*actual, *args, backend='triton')
    assert y[1].isnan().all() and y[0, 0].isnan().all() and not y[0, 1:].isnan().any() and not y[2].isnan().any()


@pytest.mark.parametrize('terms, gate', [
    ((200, -150), 1), ((-200, 150), 0), ((150, -150), 0.5), ((300, -301), 0.26894142),
])  # fmt: skip
def test_terms_that_cancel(terms, gate):
    actual, _ = leaves(CASES[0], torch.float32, True)
    with torch.no_grad():
        actual[2].fill_(terms[0]), actual[3].fill_(terms[1])
    x, weight, *_, bias = (t.detach() for t in actual)
    assert_close(run(CASES[0], actual), nn.functional.conv2d(x, weight * gate, bias, padding=1), tolerance=1e-5)


def test_operator_registration():
    actual, _ = leaves(CASES[0], torch.float32, True)
    torch.library.opcheck(torch.ops.mmcgc.triton_conv.default, (*actual, [1, 1], [1, 1], [1, 1]))


class Layer(nn.Module):
    def __init__(self, case):
        super().__init__()
        self.settings = case[5:]

    def forward(self, *tensors):
        return context_gated_conv(*tensors, *self.settings, backend='triton') * 2


@pytest.mark.parametrize(
    'case, dynamic', [(CASES[25], False), (CASES[35], False), (CASES[0], True)], ids=['1d', 'frames', 'dynamic']
)
def test_compile_in_one_graph(case, dynamic):
    torch._dynamo.reset()
    compiled = torch.compile(Layer(case), fullgraph=True, backend='aot_eager', dynamic=dynamic)
    actual, _ = leaves(case, torch.float32, True)
    y, expected = compiled(*actual), Layer(case)(*actual)
    assert_close(y, expected.double(), 'output', 1e-6)
    grads = [torch.autograd.grad(out.square().sum(), actual) for out in (y, expected)]
    for a, b in zip(*grads, strict=True):
        assert_close(a, b.double(), 'gradient', 1e-5)


def test_export():
    actual, _ = leaves(CASES[0], torch.float32, True)
    actual = tuple(t.detach() for t in actual)
    program = torch.export.export(Layer(CASES[0]), actual)
    assert 'mmcgc.triton_conv' in str(program.graph)
    assert torch.equal(program.module()(*actual), Layer(CASES[0])(*actual))


def test_autocast_casts_the_convolution_and_not_the_gate():
    actual, expected = leaves(CASES[20], torch.float32, True)
    with torch.autocast(DEVICE, torch.float16):
        y = run(CASES[20], actual)
    assert y.dtype == torch.float16
    assert_close(y.cpu(), run(CASES[20], expected, 'reference'))
    assert [g.dtype for g in torch.autograd.grad(y.float().sum(), actual)] == [torch.float32] * 5


def test_flop_counter_sees_both_passes():
    actual, _ = leaves(CASES[0], torch.float32, True)
    with FlopCounterMode(display=False) as counter:
        y = run(CASES[0], actual)
        y.sum().backward()
    conv, product = multiply_adds(actual[0].shape, actual[1].shape, y.shape)
    assert counter.get_total_flops() == 2 * (3 * conv + (1 + 3) * product)


@pytest.mark.skipif(GPU, reason='on a GPU Triton comes first')
def test_the_interpreter_has_to_be_asked_for():
    actual, _ = leaves(CASES[0], torch.float32, True)
    arguments = (*actual, (1, 1), (1, 1), (1, 1), 1, 'sum')
    assert functional._choose('triton', arguments) is triton_conv
    assert functional._choose(None, arguments) is functional.BACKENDS['tiled']


@pytest.mark.skipif(not GPU, reason='needs more memory than a test should take without a GPU')
def test_offsets_beyond_31_bits():
    """The third sample starts beyond 2^31 elements."""
    x = torch.zeros(3, 8192, 8192, 16, dtype=torch.float16, device=DEVICE).permute(0, 3, 1, 2)  # channels-last
    x[2].normal_()
    tensors = [torch.randn(shape, device=DEVICE) for shape in [(8, 16, 3, 3), (3, 16, 3, 3), (3, 8, 3, 3)]]
    whole = context_gated_conv(x, tensors[0].half(), *tensors[1:], stride=4096, backend='triton')
    alone = context_gated_conv(x[2:], tensors[0].half(), *(t[2:] for t in tensors[1:]), stride=4096, backend='triton')
    assert torch.equal(whole[2:], alone) and alone.abs().max() > 0
