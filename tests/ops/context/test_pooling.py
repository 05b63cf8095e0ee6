"""average_pool: what PyTorch's adaptive pooling is said to compute, for any size, target and layout, traced or not."""

import itertools
import math

import pytest
import torch
from helpers import assert_close
from torch._subclasses.fake_tensor import FakeTensorMode

from mmcgc.ops.context.pooling import average_pool

SIZES = [
    ((7,), (3,)),
    ((2,), (5,)),
    ((9, 4), (3, 3)),
    ((5, 33), (3, 3)),
    ((1, 1), (3, 3)),
    ((3, 3), (3, 3)),
    ((5, 6, 7), (3, 3, 3)),
    ((2, 6, 5), (3, 3, 3)),
    ((24, 23), (3, 3)),
    ((96, 89), (3, 3)),
    ((600,), (3,)),
]


def by_windows(x, targets):
    """Average each window by itself: along an axis, window i goes from floor(i s / t) to ceil((i + 1) s / t)."""
    pooled = []
    for index in itertools.product(*map(range, targets)):
        window = x
        for axis, (i, target, size) in enumerate(zip(index, targets, x.shape[2:], strict=True), 2):
            start, stop = math.floor(i * size / target), math.ceil((i + 1) * size / target)
            window = window.narrow(axis, start, stop - start)
        pooled.append(window.flatten(2).mean(2))
    return torch.stack(pooled, dim=2)


@pytest.mark.parametrize('traced', [False, True], ids=['eager', 'traced'])
@pytest.mark.parametrize('last', [False, True], ids=['contiguous', 'channels-last'])
@pytest.mark.parametrize('size, targets', SIZES)
def test_average_pool(size, targets, last, traced):
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    x = (x.movedim(1, -1).contiguous().movedim(-1, 1) if last else x).requires_grad_()

    def pool(x):
        return average_pool(x, targets)

    run = torch.jit.trace(pool, x.detach()) if traced else pool
    weight = torch.randn(2, 4, math.prod(targets), dtype=torch.float64)
    results = [
        [y := f(x), *torch.autograd.grad((y * weight).sum(), x)] for f in (run, lambda x: by_windows(x, targets))
    ]
    for ours, expected in zip(*results, strict=True):
        assert_close(ours, expected)


@pytest.mark.parametrize('size', [(6, 5), (90, 82)], ids=['small', 'large'])
def test_it_may_be_differentiated_twice(size):
    x = torch.randn(1, 1, *size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: average_pool(x, (3, 3)).sin(), x, fast_mode=True)


def test_what_inference_made_serves_training():
    size, x = (11, 13), torch.randn(1, 2, 11, 13, requires_grad=True)
    with torch.inference_mode():
        average_pool(torch.randn(1, 2, *size), (3, 3))
    average_pool(x, (3, 3)).sum().backward()
    assert_close(x.grad.sum(), torch.tensor(18.0))


@pytest.mark.parametrize(
    'around',
    [
        torch.func.grad,
        lambda f: lambda x: torch.func.jvp(f, (x,), (x,)),
        lambda f: lambda x: torch.func.vmap(f)(x[None]),
        lambda f: torch.compile(f, backend='eager'),
    ],
    ids=['grad', 'jvp', 'vmap', 'compile'],
)
def test_nothing_outlives_the_transformation_that_made_it(around):
    x = torch.randn(1, 2, 7, 11)
    around(lambda x: average_pool(x, (2, 5)).sum())(x)
    assert_close(average_pool(x, (2, 5)), by_windows(x, (2, 5)), tolerance=1e-6)


def test_fake_tensors_leave_nothing_behind():
    with FakeTensorMode():
        average_pool(torch.empty(1, 2, 9, 11), (2, 5))
    x = torch.randn(1, 2, 9, 11)
    assert_close(average_pool(x, (2, 5)), by_windows(x, (2, 5)), tolerance=1e-6)


@pytest.mark.parametrize('size', [(9, 9), (90, 82)], ids=['small', 'large'])
def test_under_autocast(size):
    x = torch.randn(4, 4, *size, requires_grad=True)
    with torch.autocast('cpu', torch.bfloat16):
        pooled = average_pool(x, (3, 3))
    expected = by_windows(x, (3, 3))
    assert_close(pooled.float(), expected, tolerance=0.02)
    grads = [torch.autograd.grad(y.float().square().sum(), x)[0] for y in (pooled, expected)]
    assert_close(*grads, tolerance=0.05)
