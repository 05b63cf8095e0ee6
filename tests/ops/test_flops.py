"""What torch's own counter says of a gated convolution."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mmcgc.ops import context_gated_conv, multiply_adds

CONV, PRODUCT = 2 * 6 * 5 * 5 * 2 * 9, 2 * 6 * 2 * 9  # B O H W (C/g) K and B O (C/g) K of the case below


def test_multiply_adds_of_a_grouped_convolution():
    assert multiply_adds((2, 4, 5, 5), (6, 2, 3, 3), (2, 6, 5, 5)) == (CONV, PRODUCT)


@pytest.mark.parametrize('wanted, convs, products', [
    ('x', 2, 1 + 1),  # forward, input's gradient; the kernel is gated in each pass
    ('weight', 2, 1 + 3),
    ('x weight', 3, 1 + 3),
], ids=['x', 'weight', 'both'])  # fmt: skip
def test_flop_counter_sees_both_passes(wanted, convs, products):
    tensors = dict(x=torch.randn(2, 4, 5, 5), weight=torch.randn(6, 2, 3, 3), gate_in=torch.randn(2, 4, 3, 3),
                   gate_out=torch.randn(2, 6, 3, 3))  # fmt: skip
    for name in wanted.split():
        tensors[name].requires_grad_()
    with FlopCounterMode(display=False) as counter:
        context_gated_conv(**tensors, padding=1, groups=2, backend='tiled').sum().backward()
    assert counter.get_total_flops() == 2 * (convs * CONV + products * PRODUCT)
