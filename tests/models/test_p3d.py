"""P3D-A: where its convolutions over time stand, what it takes over from a 2D network, and its gates."""

import pytest
import torch
from helpers import assert_close
from mmengine.registry import MODELS
from torch import nn

from mmcgc import CGConv3d
from mmcgc.models import ResNetP3DA

TIME = dict(type='CGConv3d')
SPACE = dict(type='CGConv3d', num_frames=8)
GATES = {
    'plain': dict(),
    '1d': dict(temporal_conv_cfg=TIME),
    '3d': dict(conv_cfg=SPACE),
    '1d-3d': dict(conv_cfg=SPACE, temporal_conv_cfg=TIME),
    '3d-additive': dict(conv_cfg=dict(SPACE, gate=dict(temporal_decoder='additive'))),
}
TWO_STAGES = dict(num_stages=2, out_indices=(1,), spatial_strides=(1, 2), temporal_strides=(1, 1), dilations=(1, 1))
HEAD = 2048 * 174 + 174


def small(**options):
    return ResNetP3DA(**dict(dict(base_channels=16), **options))


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def gated(module):
    return [name for name, m in module.named_modules() if isinstance(m, CGConv3d) and m.gate is not None]


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        pytest.param(dict(), 25_375_214, id='plain'),
        pytest.param(dict(temporal_conv_cfg=TIME), 25_387_417, id='1d'),
        pytest.param(dict(conv_cfg=dict(SPACE, num_frames=32)), 26_038_990, id='3d-ours-not-the-papers'),
        pytest.param(
            dict(conv_cfg=dict(SPACE, num_frames=32), temporal_conv_cfg=TIME),
            26_051_193,
            id='1d-3d-ours-not-the-papers',
        ),
    ],
)
def test_parameters(options, expected):
    with torch.device('meta'):
        assert count(ResNetP3DA(**options)) + HEAD == expected


def test_convolutions_over_time_follow_the_stem_and_every_second_convolution_in_space():
    net = small()
    convs = {name: m for name, m in net.named_modules() if isinstance(m, nn.Conv3d) and m.kernel_size[0] > 1}
    assert {name: (m.kernel_size, m.stride) for name, m in convs.items()} == {
        'temporal.conv': ((5, 1, 1), (2, 1, 1)),
        **{
            f'layer{stage}.{block}.temporal.conv': ((3, 1, 1), (1, 1, 1))
            for stage, block in ((1, 1), (2, 1), (2, 3), (3, 1), (3, 3), (3, 5), (4, 1))
        },
    }
    order = [name.rsplit('.', 1)[0] for name, m in net.layer1[1].named_modules() if isinstance(m, nn.Conv3d)]
    assert sorted(order) == ['conv1', 'conv2', 'conv3', 'temporal']
    seen = []
    for name in order:
        net.layer1[1].get_submodule(name).register_forward_hook(lambda *_, name=name: seen.append(name))
    net(torch.randn(1, 3, 16, 32, 32))
    assert seen == ['conv1', 'conv2', 'temporal', 'conv3']


@pytest.mark.parametrize('frames', [32, 8, 7, 1])
def test_frames_are_quartered_and_stages_halved(frames):
    net = small(out_indices=(0, 1, 2, 3))
    net.eval()
    stages = net(torch.randn(1, 3, frames, 64, 48))
    for i, stage in enumerate(stages):
        assert stage.shape == (1, 64 * 2**i, -(-frames // 4), 16 // 2**i, -(-12 // 2**i))


@pytest.mark.parametrize(('gates', 'number'), [('plain', 0), ('1d', 8), ('3d', 17), ('1d-3d', 25), ('3d-additive', 17)])
def test_gates_are_where_they_are_asked_for(gates, number):
    net = small(**GATES[gates])
    names = gated(net)
    assert len(names) == number
    assert all(('temporal' in name) == (net.get_submodule(name).kernel_size[0] > 1) for name in names)
    assert gates != '1d' or all('temporal' in name for name in names)
    frames = {net.get_submodule(name).num_frames for name in names if 'temporal' not in name}
    assert frames == ({8, 2} if '3d' in gates else set())


@pytest.mark.parametrize('gates', GATES)
def test_learns(gates):
    """Every parameter has a finite gradient, and samples do not depend on each other once trained."""
    torch.manual_seed(0)
    net = small(**GATES[gates])
    net.init_weights()
    x = torch.randn(2, 3, 8, 32, 32)
    net(x).square().mean().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    with torch.no_grad():
        net.eval()
        assert_close(net(x), torch.cat([net(x[:1]), net(x[1:])]))


@pytest.mark.parametrize('gates', ['3d', '1d-3d'])
def test_a_clip_of_another_length_is_refused(gates):
    net = small(**GATES[gates])
    with pytest.raises(ValueError, match='num_frames=8.*4 frames'):
        net(torch.randn(1, 3, 4, 32, 32))


@pytest.mark.parametrize('depth', [18, 34, 51])
def test_unfit_depth_is_refused(depth):
    with pytest.raises(ValueError, match=f'depth={depth}'):
        ResNetP3DA(depth)


@pytest.fixture(scope='module')
def plain_2d(tmp_path_factory):
    """Half a 2D ResNet-50 in torchvision's names, on disk and as a dict."""
    from mmaction.models import ResNet

    torch.manual_seed(0)
    state = {}
    net = ResNet(50, num_stages=2, out_indices=(1,), strides=(1, 2), dilations=(1, 1))
    for key, value in net.state_dict().items():
        key = key.replace('downsample.conv', 'downsample.0').replace('downsample.bn', 'downsample.1')
        key = key.replace('.conv.', '.')
        for i in (1, 2, 3):
            key = key.replace(f'conv{i}.bn', f'bn{i}')
        if value.dim() == 1:
            value = torch.rand_like(value) + 0.5
        state[key] = value
    path = tmp_path_factory.mktemp('p3d') / 'resnet50.pth'
    torch.save(state, path)
    return path, state


@pytest.mark.parametrize('init', [None, 'kaiming', 'preserve'])
def test_2d_weights_inflate(plain_2d, init):
    """All of them arrive as they are, gated or not."""
    path, state = plain_2d
    conv_cfg = None if init is None else dict(SPACE, gate=dict(init=init))
    net = ResNetP3DA(pretrained=str(path), conv_cfg=conv_cfg, **TWO_STAGES)
    net.init_weights()
    used = set()
    for name, module in net.named_modules():
        if 'temporal' in name or 'gate' in name or not isinstance(module, (nn.Conv3d, nn.BatchNorm3d)):
            continue
        source = name.replace('downsample.conv', 'downsample.0').replace('downsample.bn', 'downsample.1')
        source = source.removesuffix('.conv')
        for i in (1, 2, 3):
            source = source.replace(f'conv{i}.bn', f'bn{i}')
        for key, value in state.items():
            if key.rsplit('.', 1)[0] == source:
                assert_close(getattr(module, key.rsplit('.', 1)[1]).reshape(value.shape).float(), value.float())
                used.add(key)
    assert used == set(state)


def test_preserved_gates_change_nothing(plain_2d):
    path, _ = plain_2d
    preserve = dict(init='preserve')
    torch.manual_seed(0)
    plain = ResNetP3DA(pretrained=str(path), **TWO_STAGES)
    gates = ResNetP3DA(pretrained=str(path), conv_cfg=dict(SPACE, gate=preserve), **TWO_STAGES)
    for net in (plain, gates):
        net.init_weights()
        net.eval()
    assert len(gated(gates)) == 8
    gates.load_state_dict({k: v for k, v in plain.state_dict().items() if 'temporal' in k}, strict=False)
    x = torch.randn(1, 3, 8, 32, 32)
    with torch.no_grad():
        assert_close(gates(x), plain(x))


def test_frozen_stages_hold_the_stem_with_its_convolution_over_time():
    net = small(frozen_stages=1, **GATES['1d-3d'])
    net.train()
    before = {name: b.clone() for name, b in net.named_buffers()}
    net(torch.randn(2, 3, 8, 32, 32)).sum().backward()
    assert {name.split('.')[0] for name, b in net.named_buffers() if not torch.equal(b, before[name])} == {
        'layer2',
        'layer3',
        'layer4',
    }
    assert {name.split('.')[0] for name, p in net.named_parameters() if p.grad is not None} == {
        'layer2',
        'layer3',
        'layer4',
    }
    assert not any(m.training for m in (net.conv1, net.temporal, net.layer1))


@pytest.mark.parametrize('gates', ['plain', '1d-3d'])
def test_checkpointing_changes_no_gradient(gates):
    x = torch.randn(2, 3, 8, 32, 32, dtype=torch.float64)
    gradients = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        net = small(with_cp=with_cp, stage_blocks=(2, 1, 1, 1), **GATES[gates]).double()
        net(x).square().sum().backward()
        gradients.append([p.grad for p in net.parameters()])
    torch.testing.assert_close(*gradients)


def test_works_in_a_recognizer_of_mmaction2():
    """And the score of several views is the mean of theirs."""
    from mmaction.structures import ActionDataSample

    config = dict(
        type='Recognizer3D',
        backbone=dict(type='mmcgc.ResNetP3DA', base_channels=16, **GATES['1d-3d']),
        cls_head=dict(type='I3DHead', num_classes=5, in_channels=512, average_clips='prob'),
    )
    with MODELS.switch_scope_and_registry('mmaction') as registry:
        model = registry.build(config)
    model.eval()
    views = torch.randn(1, 3, 3, 8, 32, 32)
    with torch.no_grad():
        sample = model(views, [ActionDataSample()], mode='predict')[0]
        alone = [model(views[:, i : i + 1], [ActionDataSample()], mode='predict')[0].pred_score for i in range(3)]
    assert_close(sample.pred_score, torch.stack(alone).mean(0))
