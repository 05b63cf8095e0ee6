"""What MMEngine's, fvcore's and mmpretrain's counters say of gated networks."""

import re
import subprocess
import sys
from pathlib import Path

import mmpretrain
import pytest
import torch
from fvcore.nn import ActivationCountAnalysis, FlopCountAnalysis
from mmengine.analysis import ActivationAnalyzer, FlopAnalyzer, get_model_complexity_info
from torch import nn

from mmcgc import CGConv1d, CGConv2d, CGConv3d, zoo
from mmcgc.analysis.counting.get_complexity import analyse
from mmcgc.ops.context.pooling import average_pool

SHAPES = {
    CGConv1d: (2, 16, 9),
    CGConv2d: (2, 16, 9, 7),
    CGConv3d: (2, 16, 5, 9, 7),
}
COUNTERS = pytest.mark.parametrize('counter', [FlopAnalyzer, FlopCountAnalysis], ids=['mmengine', 'fvcore'])


class Pooling(nn.Module):
    def forward(self, x):
        return average_pool(x, (3,) * (x.dim() - 2))


def quiet(counter, network, x):
    return counter(network, (x,)).unsupported_ops_warnings(False).uncalled_modules_warnings(False)


@COUNTERS
@pytest.mark.parametrize('layer', SHAPES, ids=lambda layer: layer.__name__)
def test_a_layer_counts_as_in_our_own_analysis(counter, layer):
    """All but the norms, which we do not count, and pooling, which is a product with matrices."""
    network, x = layer(16, 32, 3, padding=1).eval(), torch.zeros(SHAPES[layer])
    found, own = quiet(counter, network, x).by_operator(), analyse(network, x)
    pooling = quiet(counter, Pooling(), x).total()
    assert found['bmm'] + found['mm'] - pooling + found['linear'] == sum(
        own.gates[part] for part in ('context encoding', 'channel interacting', 'gate decoding')
    )
    assert found['gate_product'] == own.gates['gating the kernel']
    assert found['conv'] == own.multiply_adds - sum(own.gates.values())
    assert found.total() - found['batch_norm'] - pooling == own.multiply_adds - own.gates['pooling']


@pytest.mark.parametrize('counter', [ActivationAnalyzer, ActivationCountAnalysis], ids=['mmengine', 'fvcore'])
def test_activations_are_those_of_the_plain_convolution(counter):
    x = torch.zeros(2, 16, 9, 7)
    plain = quiet(counter, nn.Conv2d(16, 32, 3), x).by_operator()
    assert quiet(counter, CGConv2d(16, 32, 3).eval(), x).by_operator()['conv'] == plain['conv']


def test_the_summary_of_mmengine():
    """Beside a plain network of the same shape: as much again and the gates, and not a tenth."""
    x = (16, 32, 32)
    plain, gated = (
        get_model_complexity_info(layer(16, 64, 3, padding=1).eval(), x)['flops'] for layer in (nn.Conv2d, CGConv2d)
    )
    assert plain < gated < 1.1 * plain


@pytest.mark.slow
def test_the_tool_of_mmpretrain():
    tool = Path(mmpretrain.__file__).parent / '.mim/tools/analysis_tools/get_flops.py'
    found = []
    for name in ('resnet20_1xb32-10e_digits', 'cgc-resnet20_1xb32-10e_digits'):
        done = subprocess.run(
            [sys.executable, tool, zoo.models()[name]['Config'], '--shape', '16', '16'], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        found.append(float(re.search(r'^Flops: ([\d.]+)M$', done.stdout, re.MULTILINE)[1]))
    assert found[0] < found[1] < 1.2 * found[0]
