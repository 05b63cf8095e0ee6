"""Frames that do not come clip by clip are refused before a gate mixes them."""

from types import SimpleNamespace

import pytest
import torch
from helpers import ROOT
from mmengine.dataset import Compose
from mmengine.registry import MODELS, TRANSFORMS

from mmcgc.apis import launch
from mmcgc.engine import ClipsHook, check_clips

GATED = dict(type='CGConv', num_segments=8)
TSN = dict(
    type='Recognizer2D',
    backbone=dict(type='ResNet', depth=18),
    cls_head=dict(type='TSNHead', num_classes=2, in_channels=512),
)
TSM = dict(
    type='Recognizer2D',
    backbone=dict(type='ResNetTSM', depth=18),
    cls_head=dict(type='TSMHead', num_classes=2, in_channels=512),
)


def build(config, head=None, **backbone):
    backbone, head = dict(config['backbone'], **backbone), dict(config['cls_head'], **(head or {}))
    config = dict(config, backbone=backbone, cls_head=head)
    with torch.device('meta'), MODELS.switch_scope_and_registry('mmaction') as registry:
        return registry.build(config)


def pipeline(*transforms):
    with TRANSFORMS.switch_scope_and_registry('mmaction'):
        return Compose(list(transforms))


def sample(**options):
    return dict(dict(type='SampleFrames', clip_len=1, num_clips=8, test_mode=True), **options)


THREE_CROPS = dict(type='ThreeCrop', crop_size=8)
FIT = {
    'one-clip': [sample()],
    'two-clips-three-crops': [sample(twice_sample=True), THREE_CROPS],
    'one-clip-of-consecutive-frames': [sample(clip_len=8, num_clips=1)],
    'ten-clips-of-consecutive-frames': [sample(clip_len=8, num_clips=10)],
    'dense': [sample(type='DenseSampleFrames', sample_range=64, num_sample_positions=10)],
    'no-sampling': [THREE_CROPS],
}
UNFIT = {
    '25-clips-ten-crops': [sample(num_clips=25), dict(type='TenCrop', crop_size=8)],
    'divides-only-with-the-crops': [sample(num_clips=12), dict(type='TenCrop', crop_size=8)],
    'half-a-clip-twice': [sample(num_clips=4, twice_sample=True)],
    'three-clips-of-another-length': [sample(clip_len=4, num_clips=6)],
    'a-third-of-the-video-each': [sample(num_clips=24)],
    'sixteen-frames': [sample(clip_len=16, num_clips=1)],
}


@pytest.mark.parametrize('steps', FIT.values(), ids=FIT)
def test_whole_clips_pass(steps):
    check_clips(build(TSN, conv_cfg=GATED), pipeline(*steps).transforms)


@pytest.mark.parametrize('steps', UNFIT.values(), ids=UNFIT)
@pytest.mark.parametrize('conv_cfg', [GATED, None, dict(type='CGConv')], ids=['gated', 'plain', 'frame-by-frame'])
def test_frames_that_would_mix_are_refused(steps, conv_cfg):
    model = build(TSN, conv_cfg=conv_cfg or dict(type='Conv'))
    if conv_cfg is not GATED:  # nothing reads more than a frame
        return check_clips(model, pipeline(*steps).transforms)
    with pytest.raises(ValueError, match='num_segments=8.*set num_clips=8'):
        check_clips(model, pipeline(*steps).transforms)


@pytest.mark.parametrize(
    ('head', 'backbone'),
    [
        pytest.param(dict(num_segments=16), dict(conv_cfg=dict(GATED, num_segments=16)), id='backbone-left-at-8'),
        pytest.param(dict(num_segments=16), dict(num_segments=16, conv_cfg=GATED), id='gates-left-at-8'),
        pytest.param(dict(), dict(num_segments=16, conv_cfg=dict(GATED, num_segments=16)), id='head-left-at-8'),
        pytest.param(dict(temporal_pool=True), dict(temporal_pool=True, conv_cfg=GATED), id='temporal-pool'),
    ],
)
def test_lengths_that_differ_within_a_network_are_refused(head, backbone):
    with pytest.raises(ValueError, match='num_segments=.*, but (4|8|16) in'):
        check_clips(build(TSM, head, **backbone), ())


def runner_of(model, dataset):
    return SimpleNamespace(model=model, test_loop=SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset)))


@pytest.mark.parametrize(
    'wrap',
    [
        lambda dataset: dataset,
        lambda dataset: SimpleNamespace(dataset=dataset),
        lambda dataset: SimpleNamespace(datasets=[SimpleNamespace(pipeline=pipeline(sample())), dataset]),
    ],
    ids=['alone', 'repeated', 'concatenated'],
)
def test_the_hook_looks_into_every_data_set(wrap):
    dataset = SimpleNamespace(pipeline=pipeline(sample(num_clips=25)))
    with pytest.raises(ValueError, match='num_clips=25'):
        ClipsHook().before_test_epoch(runner_of(build(TSN, conv_cfg=GATED), wrap(dataset)))


@pytest.mark.parametrize('stack', [list, torch.stack], ids=['listed', 'stacked'])
def test_the_hook_counts_the_frames_of_every_video(stack):
    """Even where the whole batch would divide."""
    hook = ClipsHook()
    runner = runner_of(build(TSN, conv_cfg=GATED), SimpleNamespace())
    hook.before_test_epoch(runner)
    hook.before_test_iter(runner, 0, dict(inputs=stack([torch.zeros(24, 3, 2, 2)] * 2)))
    with pytest.raises(ValueError, match='12 frames'):
        hook.before_test_iter(runner, 0, dict(inputs=stack([torch.zeros(12, 3, 2, 2)] * 2)))
    runner = runner_of(build(TSN), SimpleNamespace())
    hook.before_test_epoch(runner)
    hook.before_test_iter(runner, 0, dict(inputs=stack([torch.zeros(12, 3, 2, 2)] * 2)))


def test_the_tools_check_configs_that_do_not_ask_for_it(tmp_path, own_scope):
    config = ROOT / 'configs/quickstart/tsn-cgc-resnet10_1xb64-1x1x8-5e_moving-digits.py'
    dataset = 'train_dataloader.dataset'
    with pytest.raises(ValueError, match='num_clips=12'):
        launch.train(
            str(config),
            work_dir=str(tmp_path),
            no_validate=True,
            cfg_options={
                'custom_hooks': [],
                'train_dataloader.num_workers': 0,
                f'{dataset}.num_clips': 8,
                f'{dataset}.data_root': str(tmp_path),
                f'{dataset}.pipeline.1.num_clips': 12,
            },
        )
