"""PluginResNet and GatedStages: exact parameters of Table 1, places of the plugins, plain behaviour without them."""

import copy

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmcgc import CGConv2d
from mmcgc.models import CIFARResNet, PluginResNet, gated_stages

ResNet = PluginResNet.__base__  # mmpretrain's
CGC = dict(type='CGConv')
HEAD = 2048 * 1000 + 1000
BAM = dict(cfg=dict(type='mmcgc.BAM'), position='after_stage', stages=('layer1', 'layer2', 'layer3'))
GC = dict(cfg=dict(type='ContextBlock', ratio=1 / 16), position='after_conv3')
CBAM = dict(cfg=dict(type='mmcgc.CBAM'), position='after_conv3')


class Recorder(nn.Module):
    """A plugin that records the shapes it is given and changes nothing, or adds a constant."""

    def __init__(self, in_channels, add=0.0):
        super().__init__()
        self.in_channels, self.add, self.seen = in_channels, add, []

    def forward(self, x):
        self.seen.append(tuple(x.shape))
        assert x.shape[1] == self.in_channels
        return x + self.add


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def recorders(model):
    return {name: m for name, m in model.named_modules() if isinstance(m, Recorder)}


@pytest.mark.parametrize('plugins, conv_cfg, expected', [
    ([], None, 25_557_032),
    ([], CGC, 25_589_951),
    ([BAM], None, 25_915_099),
    ([GC], None, 28_105_032),
    ([CBAM], None, 28_089_624),
    ([CBAM], CGC, 28_122_543),
], ids=['plain', 'cgc', 'bam', 'gc', 'cbam', 'cbam-cgc'])  # fmt: skip
def test_resnet50_has_the_published_number_of_parameters(plugins, conv_cfg, expected):
    assert count(PluginResNet(50, plugins=plugins, conv_cfg=conv_cfg)) + HEAD == expected


@pytest.mark.parametrize('with_cp', [False, True], ids=['', 'checkpointing'])
@pytest.mark.parametrize('depth', [18, 50])
def test_without_plugins_it_is_the_plain_network(depth, with_cp):
    torch.manual_seed(0)
    options = dict(drop_path_rate=0.3, out_indices=(0, 1, 2, 3), with_cp=with_cp)
    plain, plugged = ResNet(depth, **options).double(), PluginResNet(depth, **options).double()
    assert plain.state_dict().keys() == plugged.state_dict().keys()
    plugged.load_state_dict(plain.state_dict())
    results = []
    for model in (plain, plugged):
        torch.manual_seed(1)
        x = torch.randn(2, 3, 40, 33, dtype=torch.float64, requires_grad=True)
        model.train()
        outputs = model(x)
        sum(y.square().sum() for y in outputs).backward()
        results.append([*outputs, x.grad, *(p.grad for p in model.parameters())])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize('depth, position, channels', [
    (18, 'after_conv1', 64), (18, 'after_conv2', 64), (18, 'after_stage', 64),
    (50, 'after_conv1', 64), (50, 'after_conv2', 64), (50, 'after_conv3', 256), (50, 'after_stage', 256),
])  # fmt: skip
def test_every_place_is_reached_once(depth, position, channels):
    """Stages 1 and 3 of four, each block or each stage, with the channels and the size of that place."""
    stages = ('layer1', 'layer3')
    model = PluginResNet(depth, plugins=[dict(cfg=dict(type=Recorder), position=position, stages=stages)])
    found = recorders(model)
    blocks = {18: (2, 2), 50: (3, 6)}[depth]
    assert {name.split('.')[0] for name in found} == set(stages)
    assert len(found) == (2 if position == 'after_stage' else sum(blocks))
    model(torch.randn(2, 3, 64, 64))
    for name, recorder in found.items():
        scale = 1 if name.startswith('layer1') else 4
        first = position == 'after_conv1' and depth == 50 and name.startswith('layer3.0')  # before the stride
        assert recorder.seen == [(2, channels * scale, *(16 // scale * (1 + first),) * 2)], name


def test_a_plugin_acts_where_it_stands():
    """After the last convolution it acts on the residual alone, before the shortcut and the last activation."""
    torch.manual_seed(0)
    one_stage = dict(num_stages=1, strides=(1,), dilations=(1,), out_indices=(0,))
    plain = PluginResNet(18, **one_stage)
    shifted = PluginResNet(18, [dict(cfg=dict(type=Recorder, add=0.5), position='after_conv2')], **one_stage)
    shifted.load_state_dict(plain.state_dict())
    plain.eval(), shifted.eval()
    x = torch.randn(1, 3, 32, 32)
    expected = plain.maxpool(plain.relu(plain.norm1(plain.conv1(x))))
    for block in plain.layer1:
        residual = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(expected)))))
        expected = torch.relu(residual + 0.5 + expected)
    torch.testing.assert_close(shifted(x)[0], expected)
    assert not torch.allclose(plain(x)[0], expected)


def test_two_plugins_keep_their_order_and_a_plain_checkpoint_loads():
    plugins = [dict(cfg=dict(type=Recorder), position='after_stage', stages='layer4'), CBAM,
               dict(cfg=dict(type='mmcgc.BAM'), position='after_stage', stages=['layer4'])]  # fmt: skip
    model = PluginResNet(50, plugins)
    assert [type(m).__name__ for m in list(model.layer4)[-2:]] == ['Recorder', 'BAM']
    assert model.feat_dim == 2048
    missing, unexpected = model.load_state_dict(ResNet(50).state_dict(), strict=False)
    assert not unexpected and all('after_conv3.0' in key or key.startswith('layer4.4') for key in missing)


def test_initialising_leaves_a_context_block_the_identity():
    model = PluginResNet(50, [GC], zero_init_residual=False)
    model.init_weights()
    torch.manual_seed(0)
    x = torch.randn(2, 256, 6, 6)
    block = model.layer1[0].after_conv3[0]
    assert torch.equal(block(x), x)
    assert block.channel_add_conv[0].weight.std() > 0


@pytest.mark.parametrize('frozen', [0, 2])
def test_frozen_stages_hold_plugins_too(frozen):
    model = PluginResNet(50, [CBAM, BAM], frozen_stages=frozen)
    learning = {name.split('.')[0] for name, p in model.named_parameters() if p.requires_grad}
    assert learning == {f'layer{i}' for i in range(frozen + 1, 5)}
    model = copy.deepcopy(model)
    model.train()
    assert all(m.training == (frozen == 0) for m in model.layer1.modules())


@pytest.mark.parametrize('plugin, words', [
    (dict(CBAM, position='after_conv4'), "'after_conv4'; the positions are after_conv1, after_conv2, after_conv3, "),
    (dict(CBAM, stages=('layer1', 'layer5')), "'layer5'; its stages are layer1, layer2, layer3, layer4"),
    (dict(CBAM, stages=(True, False, True, True)), 'no stage True'),
    (dict(CBAM, places='layer1'), "'places': 'layer1'"),
    (dict(cfg=dict(type='mmcgc.CBAM')), 'position=...'),
    (dict(position='after_conv3'), 'cfg=...'),
], ids=['position', 'stage', 'booleans', 'unknown-key', 'no-position', 'no-cfg'])  # fmt: skip
def test_bad_plugins_are_refused(plugin, words):
    with pytest.raises(ValueError, match=words):
        PluginResNet(50, [plugin])


def test_basic_blocks_have_two_convolutions():
    with pytest.raises(ValueError, match="'after_conv3'; the positions are after_conv1, after_conv2, after_stage"):
        PluginResNet(18, [CBAM])


@pytest.mark.parametrize('stages, extra', [
    (('conv1', 'layer1', 'layer2', 'layer3'), 11_617),
    (('layer1', 'layer2', 'layer3'), 11_390),
    ('layer3', 903 + 5 * 775),
], ids=['all', 'layers', 'last'])  # fmt: skip
def test_gates_of_the_named_stages_only(stages, extra):
    network = gated_stages('mmcgc.CIFARResNet', stages, depth=20, conv_cfg=CGC)
    assert type(network) is CIFARResNet and count(network) == count(CIFARResNet(20)) + extra
    for name, m in network.named_modules():
        if isinstance(m, CGConv2d) and m.kernel_size == (3, 3):
            assert (m.gate is not None) == (name.split('.')[0] in stages), name


def test_outside_the_stages_the_network_is_plain():
    torch.manual_seed(0)
    network = gated_stages('mmcgc.CIFARResNet', 'layer3', depth=8, conv_cfg=CGC, out_indices=(0, 1, 2))
    plain = CIFARResNet(8, out_indices=(0, 1, 2))
    plain.load_state_dict(network.state_dict(), strict=False)
    network.eval(), plain.eval()
    x = torch.randn(2, 3, 32, 32)
    for i, (a, b) in enumerate(zip(network(x), plain(x), strict=True)):
        assert torch.equal(a, b) == (i < 2)


@pytest.mark.parametrize('scope, backbone', [
    ('mmpretrain', dict(network='ResNet', depth=18)),
    ('mmpretrain', dict(network='mmcgc.PluginResNet', depth=18)),
    ('mmpretrain', dict(network='SEResNet', depth=50)),
    ('mmaction', dict(network='ResNet', depth=18, pretrained=None)),
    ('mmaction', dict(network='ResNetTSM', depth=18, pretrained=None, pretrained2d=False, num_segments=2)),
], ids=lambda v: v['network'] if isinstance(v, dict) else v)  # fmt: skip
def test_networks_of_every_library(scope, backbone):
    with DefaultScope.overwrite_default_scope(scope):
        network = MODELS.build(dict(type='mmcgc.GatedStages', stages=['layer2'], conv_cfg=CGC, **backbone))
    gated = [name for name, m in network.named_modules() if getattr(m, 'gate', None) is not None]
    assert gated and all(name.startswith('layer2') for name in gated)
    network(torch.randn(2, 3, 32, 32))


@pytest.mark.parametrize('options, words', [
    (dict(stages=('layer2', 'res3'), conv_cfg=CGC), "'res3'; its stages are conv1, layer1, layer2, layer3"),
    (dict(stages='layer2'), 'mmcgc.CIFARResNet has no gated convolution.*conv_cfg'),
], ids=['unknown', 'plain'])  # fmt: skip
def test_stages_that_cannot_be_gated(options, words):
    with pytest.raises(ValueError, match=words):
        gated_stages('mmcgc.CIFARResNet', depth=8, **options)
