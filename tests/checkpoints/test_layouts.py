"""The keys of the real networks map onto each other, and the authors' gate onto ours."""

import copy

import pytest
import torch
from helpers import assert_close
from resnets import BUILDERS, build, logits, randomise
from torch import nn
from torch.nn import functional as F

from mmcgc import CGConv2d
from mmcgc.checkpoints.convert import convert_state


@pytest.mark.parametrize('source', ['torchvision', 'mmpretrain', 'mmaction2', 'tsm'])
@pytest.mark.parametrize('target', list(BUILDERS))
def test_keys_of_the_real_resnet50s(source, target):
    target = build(target, 50)
    result = convert_state(build(source, 50).state_dict(), model=target)
    expected = {key: value.shape for key, value in target.state_dict().items()}
    assert result.unused == []
    assert result.unfilled == [key for key in expected if 'non_local_block' in key]
    assert {key: value.shape for key, value in result.state.items()} == {
        key: shape for key, shape in expected.items() if key not in result.unfilled
    }


@pytest.mark.parametrize('source', ['torchvision', 'mmpretrain', 'mmaction2'])
@pytest.mark.parametrize('target', ['torchvision', 'mmpretrain', 'mmaction2'])
def test_same_network_in_every_library(source, target):
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    source, model = build(source, 18), copy.deepcopy(build(target, 18))
    randomise(model, seed=9)
    with torch.no_grad():
        assert not torch.allclose(logits(model, x), logits(source, x), rtol=1e-2)
        model.load_state_dict(convert_state(source.state_dict(), to=target).state)
        assert_close(logits(model, x), logits(source, x))


class AuthorsConv(nn.Module):
    """A gated 3x3 convolution with the names and the formula of the authors' layer, for channels divisible by 16."""

    def __init__(self, channels, out):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, channels, 3, 3) / 9)
        self.ce, self.ce_bn = nn.Linear(9, 5, bias=False), nn.BatchNorm1d(channels)
        self.ci_bn2 = nn.BatchNorm1d(channels)
        self.ci, self.ci_bn = nn.Linear(16, out * 16 // channels, bias=False), nn.BatchNorm1d(out)
        self.gd, self.gd2 = nn.Linear(5, 9, bias=False), nn.Linear(5, 9, bias=False)

    def forward(self, x):
        encoded = self.ce(F.adaptive_avg_pool2d(x, 3).flatten(2))  # (B, C, 5)
        grouped = F.relu(self.ci_bn2(encoded)).unflatten(1, (-1, 16))  # (B, m, 16, 5)
        mixed = torch.einsum('rs,bmsd->bmrd', self.ci.weight, grouped).flatten(1, 2)  # (B, O, 5)
        g1 = self.gd(F.relu(self.ce_bn(encoded)))  # (B, C, 9)
        g2 = self.gd2(F.relu(self.ci_bn(mixed)))  # (B, O, 9)
        kernels = torch.sigmoid(g1[:, None] + g2[:, :, None]).unflatten(3, (3, 3)) * self.weight  # (B, O, C, 3, 3)
        return torch.cat([F.conv2d(x[i : i + 1], kernels[i], padding=1) for i in range(len(x))])  # (B, O, H, W)


@pytest.mark.parametrize('prefix', ['', 'module.'], ids=['bare', 'parallel'])
def test_authors_layer_and_back(prefix):
    torch.manual_seed(0)
    theirs = randomise(nn.ModuleDict(dict(conv1=AuthorsConv(32, 64), conv2=nn.Conv2d(64, 8, 1, bias=False))))
    ours = nn.ModuleDict(dict(conv1=CGConv2d(32, 64, 3, padding=1, bias=False), conv2=CGConv2d(64, 8, 1, bias=False)))
    result = convert_state({f'{prefix}{key}': value for key, value in theirs.state_dict().items()}, to='torchvision')
    assert (result.source, result.unused) == ('authors', [])
    ours.load_state_dict(result.state)
    x = torch.randn(3, 32, 7, 6)
    for training in (False, True):
        assert_close(ours.train(training).conv1(x), theirs.train(training).conv1(x), f'training={training}')

    back = convert_state(ours.state_dict(), to='authors')
    assert back.unused == []
    assert {key: value.shape for key, value in back.state.items()} == {
        key: value.shape for key, value in theirs.state_dict().items()
    }
    theirs.load_state_dict(back.state)


def test_gates_without_a_name_at_the_authors_are_reported():
    ours = nn.ModuleDict(dict(conv1=CGConv2d(16, 16, 3, gate=dict(separate_encoding=True))))
    assert convert_state(ours.state_dict(), to='authors').unused == ['conv1.gate.interact_encoding.weight']
