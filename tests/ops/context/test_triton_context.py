"""Parity of the fused context network with the modules one by one: on a GPU, or in Triton's interpreter.

Without a GPU ``test_triton_conv.py`` runs this page in a process of its own, as the interpreter has to be asked for
before Triton is imported.
"""

import copy

import pytest
import torch
from helpers import assert_close
from torch import nn

from mmcgc.layers.gate import ContextGate
from mmcgc.ops import triton_device
from mmcgc.ops.context import network, triton_context, triton_pool

GPU = torch.cuda.is_available()
DEVICE = 'cuda' if GPU else 'cpu'
problem = triton_device.no_device(DEVICE, None, torch.float32)
if problem is not None:
    pytest.skip(f'{problem} (test_triton_conv.py does, in a process of its own)', allow_module_level=True)

# in, out, kernel, batch, input, options of the gate
CASES = [
    (16, 16, (3, 3), 4, (6, 5), {}),
    (3, 16, (3, 3), 3, (8, 8), {}),
    (3, 64, (7, 7), 2, (9, 9), {}),
    (32, 64, (3, 3), 2, (4, 4), {}),
    (64, 32, (3, 3), 5, (3, 3), {}),
    (24, 36, (3, 3), 2, (5, 5), {}),
    (16, 32, (3, 3), 70, (4, 4), {}),
    (5, 7, (3, 3), 2, (2, 9), dict(channel_groups=1)),
    (16, 16, (3, 3), 2, (4, 4), dict(latent='full')),
    (16, 16, (3, 3), 2, (4, 4), dict(pool='max')),
    (16, 16, (3, 3), 2, (7, 7), dict(pool_scale=2)),
    (8, 8, (3,), 3, (11,), {}),
    (8, 8, (5, 1, 1), 2, (6, 2, 2), {}),
    (16, 16, (3, 3), 6, (5, 5), dict(num_frames=3)),
    (16, 32, (3, 3), 8, (4, 4), dict(num_frames=4)),
]


def name(case):
    c, o, kernel, batch, _, options = case
    return f'c{c}o{o}k{"x".join(map(str, kernel))}b{batch}' + ''.join(f'-{key}-{v}' for key, v in options.items())


def gates(case, layout=torch.contiguous_format):
    """The gate to try, with the input, and both in float64 on the CPU, where PyTorch computes."""
    torch.manual_seed(0)
    c, o, kernel, batch, size, options = case
    gate = ContextGate(c, o, kernel, **options)
    for norm in [m for m in gate.modules() if isinstance(m, nn.BatchNorm1d)]:
        nn.init.uniform_(norm.weight, -1, 2)
        nn.init.normal_(norm.bias)
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    x = torch.randn(batch, c, *size) + torch.linspace(-3, 3, c).view(-1, *[1] * len(size))
    expected, x_ref = copy.deepcopy(gate).double(), x.double().requires_grad_()
    return gate.to(DEVICE), x.to(DEVICE).contiguous(memory_format=layout).requires_grad_(), expected, x_ref


def fused(gate, x):
    """The gate's terms through the kernels, on any device."""
    context = gate._pool(x)
    assert triton_context.can_run(context, *gate._parts(), gate.channel_groups) is None
    terms = triton_context.run(context, *gate._parts(), gate.channel_groups)
    return [gate._as_kernels(term.transpose(1, 2)) for term in terms]


def compare(case, layout=torch.contiguous_format):
    gate, x, expected, x_ref = gates(case, layout)
    terms, terms_ref = fused(gate, x), expected(x_ref)
    make = torch.Generator().manual_seed(1)
    weights = [torch.randn(t.shape, generator=make, dtype=torch.float64) for t in terms_ref]
    for term, ref, side in zip(terms, terms_ref, ('G1', 'G2'), strict=True):
        assert_close(term.cpu(), ref, side, 1e-5)
    sum((t * w.to(t)).sum() for t, w in zip(terms, weights, strict=True)).backward()
    sum((t * w).sum() for t, w in zip(terms_ref, weights, strict=True)).backward()
    assert_close(x.grad.cpu(), x_ref.grad, 'x', 2e-5)
    for (key, p), ref in zip(gate.named_parameters(), expected.parameters(), strict=True):
        assert_close(p.grad.cpu(), ref.grad, key, 2e-5)
    for (key, b), ref in zip(gate.named_buffers(), expected.buffers(), strict=True):
        assert_close(b.cpu().double(), ref, key, 1e-5)
    return [*terms, x.grad, *(p.grad for p in gate.parameters())]


@pytest.mark.parametrize('case', CASES, ids=name)
def test_equals_the_modules(case):
    """Terms, every gradient, and the running statistics."""
    compare(case)


def test_equals_the_modules_channels_last():
    compare(CASES[3], torch.channels_last)


@pytest.mark.parametrize('case', CASES, ids=name)
def test_running_statistics_at_inference(case):
    gate, x, expected, x_ref = gates(case)
    with torch.no_grad():
        terms, terms_ref = fused(gate.eval(), x), expected.eval()(x_ref)
    for term, ref, side in zip(terms, terms_ref, ('G1', 'G2'), strict=True):
        assert_close(term.cpu(), ref, side, 1e-5)


@pytest.mark.skipif(not GPU, reason='the interpreter runs one program after the other')
def test_same_result_every_time():
    assert all(torch.equal(a, b) for a, b in zip(compare(CASES[6]), compare(CASES[6]), strict=True))


def test_half_precision_context_and_one_term_of_two():
    gate, x, expected, x_ref = gates(CASES[0])
    context = gate._pool(x).detach().half().requires_grad_()
    gate_in, _ = triton_context.run(context, *gate._parts(), gate.channel_groups)
    gate_in.sum().backward()
    assert context.grad.dtype == torch.float16 and gate.decode_in.weight.grad.abs().max() > 0
    assert gate.decode_out.weight.grad.abs().max() == 0
    assert_close(gate_in.transpose(1, 2).unflatten(2, (3, 3)).cpu(), expected(x_ref)[0], 'G1', 5e-3)


POOLS = [
    ((2, 5, 9, 7), (3, 3)), ((1, 70, 6, 6), (3, 3)), ((2, 3, 20, 30), (7, 7)), ((2, 4, 2, 2), (3, 3)),
    ((3, 16, 8, 8), (1, 3)), ((2, 6, 11), (5,)), ((2, 6, 7, 3, 2), (3, 1, 1)), ((1, 16, 16, 16), (6, 6)),
]  # fmt: skip


@pytest.mark.parametrize('last', [False, True], ids=['contiguous', 'channels-last'])
@pytest.mark.parametrize('shape, targets', POOLS, ids=str)
def test_pooling_equals_torch(shape, targets, last):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    x_ref = x.double().requires_grad_()
    if last and x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    x = x.to(DEVICE).requires_grad_()
    assert triton_pool.can_run(x, targets) is None
    pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[len(targets) - 1](targets)
    y, y_ref = triton_pool.run(x, targets), pool(x_ref).flatten(2)
    weights = torch.randn(y_ref.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert_close(y.cpu(), y_ref, 'pooled', 1e-6)
    (y * weights.to(y)).sum().backward()
    (y_ref * weights).sum().backward()
    assert_close(x.grad.cpu(), x_ref.grad, 'gradient', 1e-6)
    assert x.grad.stride() == x.stride()


def test_pooling_of_half_precision_sums_in_float32():
    x = torch.full((1, 4, 64, 64), 3.0).half().to(DEVICE)
    assert (triton_pool.run(x, (3, 3)) == 3).all()


def test_pooling_operator_is_registered():
    x = torch.randn(2, 5, 7, 6, device=DEVICE, requires_grad=True)
    torch.library.opcheck(torch.ops.mmcgc.context_pool.default, (x, [3, 3]))


def test_pooling_is_left_to_torch_where_a_program_is_exported():
    class Pool(nn.Module):
        def forward(self, x):
            return x * (triton_pool.can_run(x, (3, 3)) is not None)

    x = torch.randn(2, 5, 7, 6, device=DEVICE)
    assert Pool()(x).abs().max() == 0
    assert torch.export.export(Pool(), (x,)).module()(x).abs().max() > 0


@pytest.mark.parametrize('shape, targets, words', [
    ((1, 4, 6, 6, 6), (3, 3, 3), 'two axes'), ((1, 4, 99, 99), (9, 9), 'too large'), ((0, 4, 9, 9), (3, 3), 'samples'),
], ids=['3d', 'large', 'empty'])  # fmt: skip
def test_pooling_says_why_it_cannot_run(shape, targets, words):
    assert words in triton_pool.can_run(torch.zeros(shape, device=DEVICE), targets)


def reason(change, case=CASES[0], grad=True):
    gate, x, *_ = gates(case)
    change(gate)
    with torch.set_grad_enabled(grad):
        return triton_context.can_run(gate._pool(x), *gate._parts(), gate.channel_groups)


@pytest.mark.parametrize('change, words', [
    (lambda gate: gate.eval(), 'running statistics'),
    (lambda gate: gate.interact_norm.eval(), 'running statistics'),
    (lambda gate: gate.double(), 'float32'),
    (lambda gate: setattr(gate, 'interact_norm', nn.BatchNorm1d(16, momentum=None)), 'momentum'),
    (lambda gate: setattr(gate, 'interact_norm', nn.BatchNorm1d(16, track_running_stats=False)), 'statistics'),
], ids=['eval', 'half-eval', 'float64', 'cumulative', 'untracked'])  # fmt: skip
def test_says_why_it_cannot_run(change, words):
    assert words in reason(change)


@pytest.mark.parametrize('change', [
    lambda gate: gate.decode_in.register_forward_hook(lambda *_: None),
    lambda gate: setattr(gate, 'interact_norm', nn.SyncBatchNorm(16)),
    lambda gate: setattr(gate, 'decode_out', nn.Linear(5, 9)),
], ids=['hook', 'sync', 'bias'])  # fmt: skip
def test_layers_that_have_to_be_called_give_no_tensors(change):
    gate, *_ = gates(CASES[0])
    assert gate._parts() is not None
    change(gate)
    assert gate._parts() is None


@pytest.mark.parametrize('takes', [True, False], ids=['taken', 'refused'])
def test_the_kernels_are_asked_on_an_accelerator_alone(monkeypatch, takes):
    gate, x, *_ = gates(CASES[0])
    context = gate._pool(x)
    asked = []

    class OnAccelerator(torch.Tensor):
        is_cuda = True

    monkeypatch.setattr(triton_context, 'can_run', lambda *args: asked.append(args) or (None if takes else 'no'))
    monkeypatch.setattr(triton_context, 'run', lambda *args: 'terms')
    assert network.fused_terms(context.detach().cpu(), gate._parts, 1) is None and not asked
    there = context.detach().as_subclass(OnAccelerator)
    assert network.fused_terms(there, gate._parts, 1) == ('terms' if takes else None)
    assert len(asked) == 1 and network.fused_terms(there, lambda: None, 1) is None


def test_says_which_sizes_are_too_large():
    assert 'too large' in reason(lambda gate: None, (128, 128, (3, 3), 2, (4, 4), dict(channel_groups=1)))


def test_says_that_tensors_are_watched():
    from torch.utils.flop_counter import FlopCounterMode

    gate, x, *_ = gates(CASES[0])
    arguments = gate._pool(x), *gate._parts(), gate.channel_groups
    with FlopCounterMode(display=False):
        assert gate._parts() is None  # the mode has hooks in all modules
        assert 'watched' in triton_context.can_run(*arguments)


@pytest.mark.skipif(not GPU, reason='on the CPU the modules are quicker than the interpreter')
@pytest.mark.parametrize('training', [True, False], ids=['train', 'eval'])
def test_the_gate_takes_the_kernels_on_a_gpu(training, monkeypatch):
    calls = []
    monkeypatch.setattr(triton_context, 'run', lambda *args, run=triton_context.run: calls.append(1) or run(*args))
    gate, x, expected, x_ref = gates(CASES[13])
    with torch.set_grad_enabled(training):
        terms, terms_ref = gate.train(training)(x), expected.train(training)(x_ref)
    for term, ref in zip(terms, terms_ref, strict=True):
        assert_close(term.cpu(), ref, '', 1e-5)
    assert calls == [1]


@pytest.mark.parametrize('case', CASES[3:4] + CASES[11:12], ids=name)
def test_second_derivatives(case):
    """The gradient of a gradient's norm, with respect to the input and every parameter; pooling by its kernel too."""
    gate, x, expected, x_ref = gates(case)
    results = []
    for module, leaf in ((gate, x), (expected, x_ref)):
        if module is gate:
            pooled = triton_pool.run(leaf, gate.pool_size)
            terms = triton_context.run(pooled, *gate._parts(), gate.channel_groups)
            terms = [gate._as_kernels(term.transpose(1, 2)) for term in terms]
        else:
            terms = module(leaf)
        first = torch.autograd.grad(sum(t.square().sum() for t in terms), leaf, create_graph=True)[0]
        results.append(torch.autograd.grad(first.square().sum(), [leaf, *module.parameters()]))
    for ours, other in zip(*results, strict=True):
        assert_close(ours.cpu(), other, tolerance=1e-4)
