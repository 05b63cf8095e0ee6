"""The portable backend against the reference, outputs and gradients."""

import pytest
import torch
from helpers import assert_close

from mmcgc.ops import context_gated_conv

CASES = {  # batch, in, out, kernel, input, stride, padding, dilation, groups, combine
    '1d': (2, 4, 6, (3,), (9,), 2, 1, 1, 1, 'sum'),
    '2d': (3, 5, 7, (3, 3), (9, 8), 1, 1, 1, 1, 'sum'),
    '2d-strided': (2, 6, 9, (5, 3), (11, 7), (2, 1), (2, 0), (1, 2), 3, 'product'),
    'depthwise': (2, 8, 8, (3, 3), (6, 5), 1, 1, 1, 8, 'sigmoid_product'),
    '3d': (1, 4, 6, (3, 3, 3), (4, 6, 5), 1, 1, 1, 2, 'sum'),
    'temporal': (2, 4, 8, (5, 1, 1), (9, 3, 3), (2, 1, 1), (2, 0, 0), 1, 1, 'sum'),
}


@pytest.mark.parametrize('terms', ['both', 'in', 'out'])
@pytest.mark.parametrize('case', CASES)
def test_equals_the_reference(case, terms):
    b, c, o, kernel, size, stride, padding, dilation, groups, combine = CASES[case]
    make = torch.Generator().manual_seed(0)
    sizes = [(b, c, *size), (o, c // groups, *kernel), (b, c, *kernel), (b, o, *kernel), (o,)]
    x, weight, gate_in, gate_out, bias = (
        torch.randn(s, generator=make, dtype=torch.float64, requires_grad=True) for s in sizes
    )
    gates = (gate_in if terms != 'out' else None, gate_out if terms != 'in' else None)
    inputs = [t for t in (x, weight, *gates, bias) if t is not None]
    results = []
    for backend in ('portable', 'reference'):
        y = context_gated_conv(
            x, weight, *gates, bias, stride, padding, dilation, groups, combine=combine, backend=backend
        )
        results.append([y, *torch.autograd.grad(y.square().sum(), inputs)])
    for actual, expected in zip(*results, strict=True):
        assert_close(actual, expected)
