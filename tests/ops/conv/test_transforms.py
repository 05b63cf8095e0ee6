"""Derivatives of every kind and order: against finite differences, whatever backend the forward pass chose."""

import functools
import signal

import pytest
import torch
from helpers import assert_close
from test_context_gated_conv import SHAPES_1D, SHAPES_2D, SHAPES_3D, run, tensors

from mmcgc.ops import COMBINES, context_gated_conv
from mmcgc.ops.conv import tiles

KINDS = {
    '1d': (SHAPES_1D[3], 'sum'),
    '2d': ((2, 2, 4, (2, 3), (4, 4), (2, 1), 1, 1, 2), 'sum'),
    '3d': (SHAPES_3D[4], 'sum'),
    **{combine: ((2, 2, 2, (2, 2), (3, 3), 1, 0, 1, 1), combine) for combine in COMBINES[1:]},
}


@pytest.mark.parametrize('backend', [None, 'tiled', 'portable'])
@pytest.mark.parametrize('shape, combine', KINDS.values(), ids=KINDS)
def test_second_derivatives(shape, combine, backend):
    def function(*leaves):
        return run(shape, leaves, backend, combine)

    assert torch.autograd.gradcheck(function, tensors(shape, torch.float64), check_batched_grad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(
        function, tensors(shape, torch.float64), check_batched_grad=True, fast_mode=True
    )


@pytest.mark.parametrize('shape, combine', KINDS.values(), ids=KINDS)
def test_derivatives_taken_forward(shape, combine):
    function = functools.partial(_of_leaves, shape, combine)
    options = dict(check_forward_ad=True, check_backward_ad=False, check_batched_forward_grad=True)
    assert torch.autograd.gradcheck(function, tensors(shape, torch.float64), **options)


def _of_leaves(shape, combine, *leaves):
    return run(shape, leaves, None, combine)


def _slope(function, leaves, directions, step=1e-6):
    """The directional derivative by central differences."""
    ahead, behind = ([t + sign * v for t, v in zip(leaves, directions, strict=True)] for sign in (step, -step))
    return (function(*ahead) - function(*behind)) / (2 * step)


@pytest.mark.parametrize('shape, combine', KINDS.values(), ids=KINDS)
def test_transformations_of_functions(shape, combine):
    leaves = [t.detach() for t in tensors(shape, torch.float64)]
    directions = [t.detach() for t in tensors(shape, torch.float64, seed=1)]
    function = functools.partial(_of_leaves, shape, combine)
    everyone = tuple(range(len(leaves)))
    expected = _slope(function, leaves, directions)
    assert_close(torch.func.jvp(function, tuple(leaves), tuple(directions))[1], expected, 'jvp', 1e-7)
    assert_close(torch.func.linearize(function, *leaves)[1](*directions), expected, 'linearize', 1e-7)

    def loss(*leaves):
        return function(*leaves).square().sum()

    gradients = torch.func.grad(loss, everyone)
    value = sum((g * v).sum() for g, v in zip(gradients(*leaves), directions, strict=True))
    assert_close(value, _slope(loss, leaves, directions), 'grad', 1e-7)
    hessian = torch.func.hessian(loss)(*leaves)  # of x
    directions = [directions[0], *map(torch.zeros_like, leaves[1:])]
    curved = _slope(lambda *leaves: gradients(*leaves)[0], leaves, directions)
    assert_close(torch.tensordot(hessian, directions[0], directions[0].dim()), curved, 'hessian', 1e-7)

    pairs = [torch.stack([t, t.flip(0)]) for t in leaves]
    for i, g in enumerate(zip(*(gradients(*pair) for pair in zip(*pairs, strict=True)), strict=True)):
        assert_close(torch.func.vmap(gradients)(*pairs)[i], torch.stack(g), f'vmap of the gradient of {i}')


def test_a_transformation_of_a_compiled_program():
    shape, combine = KINDS['2d']
    leaves = [t.detach() for t in tensors(shape, torch.float64)]

    def gradient(x):
        return torch.func.grad(lambda x: run(shape, (x, *leaves[1:]), None, combine).square().sum())(x)

    torch.compiler.reset()
    assert_close(torch.compile(gradient, backend='aot_eager')(leaves[0]), gradient(leaves[0]))


def test_a_backend_that_takes_no_transformation_says_so():
    x, weight, a, b, _ = (t.detach() for t in tensors(SHAPES_2D[0], torch.float32))
    with pytest.raises(ValueError, match='no transformation of functions.*leave backend=None'):
        torch.func.grad(lambda x: context_gated_conv(x, weight, a, b, backend='tiled').sum())(x)


def test_ordinary_passes_keep_to_the_operators():
    """What derivatives of a higher order need costs a training pass nothing."""
    leaves = tensors(SHAPES_2D[0], torch.float32)
    with torch.profiler.profile() as profile:
        run(SHAPES_2D[0], leaves, None).sum().backward()
    names = {event.name for event in profile.events()}
    assert {'mmcgc::tiled_conv', 'mmcgc::tiled_conv_backward'} <= names


def test_a_call_within_a_call_on_the_same_thread(monkeypatch):
    """As from a signal's handler: the call that it interrupts keeps its buffers."""
    shapes = [SHAPES_2D[3], SHAPES_2D[4]]
    alone = [run(shape, tensors(shape, torch.float32), 'tiled') for shape in shapes]
    inner, raised = [], []

    def handler(*_):
        leaves = tensors(shapes[1], torch.float32)
        with torch.no_grad():
            inner.append(run(shapes[1], leaves, 'tiled'))

    def interrupted(tiling, gate, t, out, apply=tiles.Tiles.apply):
        if not raised:
            raised.append(True)
            signal.raise_signal(signal.SIGUSR1)
        return apply(tiling, gate, t, out)

    old = signal.signal(signal.SIGUSR1, handler)
    try:
        monkeypatch.setattr(tiles.Tiles, 'apply', interrupted)
        outer = run(shapes[0], tensors(shapes[0], torch.float32), 'tiled')
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert torch.equal(outer, alone[0]) and torch.equal(inner[0], alone[1])
