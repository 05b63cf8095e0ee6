"""Gates in TSN and TSM: order in time, views, shift, and what mmaction2's options and weights do to them."""

import pytest
import torch
from helpers import ROOT, assert_close
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from mmcgc import CGConv2d

CONFIGS = ROOT / 'configs' / 'action'
GATED = dict(type='CGConv', num_segments=8)


def config(name, **backbone):
    """The model of a config, with a ResNet-18."""
    model = Config.fromfile(CONFIGS / name / f'{name}_imagenet-pretrained-r50_8xb8-1x1x8-45e_sthv1-rgb.py').model
    model.backbone.update(depth=18, **backbone)
    model.cls_head.in_channels = 512
    return model


def network(name, **backbone):
    """From scratch: TSM's ResNet needs ``pretrained2d=False`` beside ``pretrained=None``."""
    torch.manual_seed(0)
    scratch = dict(pretrained=None, **(dict(pretrained2d=False) if name == 'tsm' else dict()))
    with MODELS.switch_scope_and_registry('mmaction') as registry:
        model = registry.build(config(name, **scratch, **backbone))
    model.init_weights()
    return model


def warmed(model):
    """In eval mode, with running statistics of its own."""
    torch.manual_seed(1)
    with torch.no_grad():
        model.train()
        for _ in range(3):
            model(torch.randn(2, 8, 3, 32, 32))
    model.eval()
    return model


@torch.no_grad()
def logits(model, clips):
    """(N, M, 3, H, W) -> (N, classes)"""
    return model(clips.contiguous(), stage='head')


@torch.no_grad()
def scores(model, videos):
    """(N, M, 3, H, W) -> (N, classes), as a test pass has them."""
    from mmaction.structures import ActionDataSample

    samples = model(videos, [ActionDataSample() for _ in videos], mode='predict')
    return torch.stack([sample.pred_score for sample in samples])


def test_order_in_time_counts_for_gates_alone():
    """TSN averages its frames; with gates the same frames backwards are something else."""
    clips = torch.randn(2, 8, 3, 32, 32)
    wide = dict(GATED, gate=dict(init='kaiming'))
    plain, gated = (warmed(network('tsn', conv_cfg=cfg)) for cfg in (dict(type='Conv'), wide))
    assert_close(logits(plain, clips.flip(1)), logits(plain, clips), tolerance=1e-5)
    forwards, backwards = logits(gated, clips), logits(gated, clips.flip(1))
    assert (forwards - backwards).abs().max() > 1e-2 * forwards.abs().max()
    frame_by_frame = warmed(network('tsn', conv_cfg=dict(type='CGConv')))
    assert_close(logits(frame_by_frame, clips.flip(1)), logits(frame_by_frame, clips), tolerance=1e-5)


@pytest.mark.parametrize('name', ['tsn', 'tsm'])
def test_several_views_are_the_mean_of_theirs(name):
    """Crop after crop, clip after clip, as the pipeline lays them out; and videos do not see each other."""
    model = warmed(network(name, conv_cfg=GATED))
    videos = torch.randn(2, 4, 8, 3, 32, 32)  # two videos, two clips in each of two crops
    alone = torch.stack([logits(model, videos[:, view]) for view in range(4)], 1)  # (2, 4, classes)
    expected = alone.mean(1).softmax(-1) if name == 'tsn' else alone.softmax(-1).mean(1)  # where the heads average
    assert_close(scores(model, videos.flatten(1, 2)), expected)
    assert (alone[:, 0] - alone[:, 1]).abs().max() > 1e-2 * alone.abs().max()


def test_scratch_weights_are_initialised():
    """TSM from scratch: ``pretrained=None`` with ``pretrained2d=False``."""
    model = network('tsm', conv_cfg=GATED)
    convs = {name: m for name, m in model.backbone.named_modules() if isinstance(m, CGConv2d) and m.gate is not None}
    assert len(convs) == 17
    for name, conv in convs.items():
        assert conv.weight.std().item() == pytest.approx((2 / conv.weight[:, 0].numel()) ** 0.5, rel=0.15), name
        assert conv.gate.decode_in.weight.abs().max() > 0


@pytest.mark.parametrize('place', ['blockres', 'block'])
def test_shift_and_gate(place):
    """The gate reads what its convolution reads: the shifted frames where the shift stands before it."""
    from mmaction.models.backbones.resnet_tsm import TemporalShift

    model = warmed(network('tsm', shift_place=place, conv_cfg=GATED))
    shifts = {name: m for name, m in model.named_modules() if isinstance(m, TemporalShift)}
    assert len(shifts) == 8
    seen, read = {}, {}
    for name, module in model.named_modules():
        if isinstance(module, CGConv2d) and module.gate is not None:
            module.register_forward_pre_hook(lambda _, x, name=name: seen.update({name: x[0]}))
            module.gate.register_forward_pre_hook(lambda _, x, name=name: read.update({name: x[0]}))
    inputs = {}
    for name, shift in shifts.items():
        shift.register_forward_pre_hook(lambda _, x, name=name: inputs.update({name: x[0]}))
    logits(model, torch.randn(1, 8, 3, 32, 32))
    assert len(read) == 17 and all(torch.equal(read[name], seen[name]) for name in read)
    for name, x in inputs.items():
        gated = f'{name}.net' if place == 'blockres' else f'{name}.net.conv1.conv'
        assert torch.equal(read[gated], TemporalShift.shift(x, 8, 8)) and not torch.equal(read[gated], x)


@pytest.mark.parametrize('name', ['tsn', 'tsm'])
def test_partial_bn_leaves_the_gates_alone(name):
    """All BatchNorm2d but the stem's hold still; a gate's norms go on learning."""
    model = network(name, partial_bn=True, conv_cfg=GATED)
    model.train()
    norms = {name: m for name, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    learning = {name for name, m in norms.items() if m.training and m.weight.requires_grad}
    assert learning == {name for name in norms if 'gate' in name} | {'backbone.conv1.bn'}
    assert len(learning) == 17 * 3 + 1


@pytest.fixture(scope='module')
def torchvision_weights(tmp_path_factory):
    """A ResNet-18 in torchvision's names."""
    import torchvision

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'resnet18.pth'
    torch.save(torchvision.models.resnet18().state_dict(), path)
    return str(path)


@pytest.mark.parametrize(
    ('name', 'init', 'shift'),
    [
        ('tsn', 'kaiming', dict()),
        ('tsn', 'preserve', dict()),
        ('tsm', 'kaiming', dict()),
        ('tsm', 'preserve', dict()),
        ('tsm', 'preserve', dict(shift_place='block')),
        ('tsm', 'preserve', dict(is_shift=False)),
    ],
    ids=['tsn', 'tsn-preserve', 'tsm', 'tsm-preserve', 'tsm-block-preserve', 'tsn-as-tsm-without-shift-preserve'],
)
def test_pretrained_weights_reach_gated_convolutions(torchvision_weights, name, init, shift):
    models = []
    for conv_cfg in (dict(type='Conv'), dict(GATED, gate=dict(init=init))):
        backbone = config(name, pretrained=torchvision_weights, conv_cfg=conv_cfg, **shift).backbone
        with MODELS.switch_scope_and_registry('mmaction') as registry:
            models.append(registry.build(backbone))
        models[-1].init_weights()
    plain, gated = models
    plain.eval(), gated.eval()
    reference = torch.load(torchvision_weights)
    assert_close(plain.conv1.conv.weight, reference['conv1.weight'])
    state = gated.state_dict()
    for key, value in plain.state_dict().items():
        assert torch.equal(state[key], value), key
    x = torch.randn(8, 3, 32, 32)
    with torch.no_grad():
        same = (gated(x) - plain(x)).abs().max() < 1e-4 * plain(x).abs().max()
    assert same == (init == 'preserve')
