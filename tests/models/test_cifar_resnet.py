"""CIFARResNet: sizes, shortcuts, and the options of mmpretrain's ResNet."""

import pytest
import torch
from torch import nn

from mmcgc.models import CIFARResNet
from mmcgc.models.cifar_resnet import ZeroPadShortcut

HEAD = 64 * 10 + 10
CGC = dict(type='CGConv')


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        pytest.param(dict(), 1_730_714, id='projection'),
        pytest.param(dict(conv_cfg=CGC), 1_797_681, id='projection-cgc'),
        pytest.param(dict(shortcut='A'), 1_730_714 - (16 + 2) * 32 - (32 + 2) * 64, id='zero-padding'),
    ],
)
def test_resnet110_has_the_published_number_of_parameters(options, expected):
    assert count(CIFARResNet(110, **options)) + HEAD == expected


@pytest.mark.parametrize('depth', [8, 20, 32, 44, 56])
def test_depth_counts_the_weighted_layers(depth):
    convs = [m for m in CIFARResNet(depth, shortcut='A').modules() if isinstance(m, nn.Conv2d)]
    assert len(convs) + 1 == depth  # and one linear layer in the head


@pytest.mark.parametrize('shortcut', ['A', 'B'])
@pytest.mark.parametrize('conv_cfg', [None, CGC], ids=['plain', 'cgc'])
@pytest.mark.parametrize('size', [(32, 32), (17, 23)], ids=str)
def test_stages_halve_the_size_and_double_the_channels(shortcut, conv_cfg, size):
    model = CIFARResNet(8, shortcut=shortcut, conv_cfg=conv_cfg, out_indices=(0, 1, 2))
    stages = model(torch.randn(2, 3, *size))
    for i, stage in enumerate(stages):
        assert stage.shape == (2, 16 * 2**i, -(-size[0] // 2**i), -(-size[1] // 2**i))


def test_zero_padding_shortcut_keeps_every_second_pixel():
    x = torch.randn(2, 16, 7, 8)
    y = ZeroPadShortcut(16, 32, 2)(x)
    torch.testing.assert_close(y[:, :16], x[:, :, ::2, ::2])
    assert y.shape == (2, 32, 4, 4) and not y[:, 16:].any()


def test_weights_start_as_he_et_al():
    torch.manual_seed(0)
    model = CIFARResNet(20, conv_cfg=CGC)
    model.init_weights()
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 2000:
            fan_out = module.out_channels * module.weight[0, 0].numel()
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1), name
    assert all((m.weight == 1).all() for m in model.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize('norm_eval', [False, True])
def test_frozen_stages_and_norm_eval_hold_in_training(norm_eval):
    model = CIFARResNet(8, frozen_stages=1, norm_eval=norm_eval, conv_cfg=CGC)
    model.train()
    before = {name: b.clone() for name, b in model.named_buffers()}
    model(torch.randn(2, 3, 16, 16))[0].sum().backward()
    trained = {name.split('.')[0] for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {'layer2', 'layer3'}
    moved = {name.split('.')[0] for name, b in model.named_buffers() if not torch.equal(b, before[name])}
    assert moved == (set() if norm_eval else trained)


@pytest.mark.parametrize('conv_cfg', [None, CGC], ids=['plain', 'cgc'])
def test_checkpointing_changes_no_gradient(conv_cfg):
    x = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    gradients = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = CIFARResNet(8, with_cp=with_cp, conv_cfg=conv_cfg).double()
        model(x.clone().requires_grad_())[0].square().sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize('depth', [18, 21, 2, 20.0], ids=str)
def test_unfit_depth_is_refused(depth):
    with pytest.raises(ValueError, match='6n\\+2'):
        CIFARResNet(depth)


def test_unknown_shortcut_is_refused():
    with pytest.raises(ValueError, match="'C'"):
        CIFARResNet(20, shortcut='C')
