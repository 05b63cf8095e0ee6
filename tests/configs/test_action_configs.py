"""The video configs: exact parameters, a training step and a test pass of each, and their data from clips on disk."""

from copy import deepcopy
from functools import cache, partial

import cv2
import numpy as np
import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS

from mmcgc import CGConv2d, CGConv3d
from mmcgc.apis import launch
from mmcgc.compat import widen_action_scores
from mmcgc.engine import check_clips

CONFIGS = ROOT / 'configs' / 'action'
LEAVES = {path.stem: Config.fromfile(path) for path in sorted(CONFIGS.rglob('*.py'))}
R50, STHV1 = '_imagenet-pretrained-r50_8xb', 'e_sthv1-rgb'
EXACT = {
    f'tsn{R50}8-1x1x8-45{STHV1}': 23_864_558,
    f'tsn-nl{R50}8-1x1x8-45{STHV1}': 31_218_926,
    f'tsm{R50}8-1x1x8-45{STHV1}': 23_864_558,
    f'tsm{R50}4-1x1x16-45{STHV1}': 23_864_558,
    f'tsm-nl{R50}8-1x1x8-45{STHV1}': 31_218_926,
    f'p3d{R50}8-32x1x1-50{STHV1}': 25_375_214,
    f'p3d-nl{R50}8-32x1x1-50{STHV1}': 32_729_582,
    f'p3d-cgc-1d{R50}8-32x1x1-50{STHV1}': 25_387_417,
}
SMALL = '_r14-quarter_1xb32-1x1x4-12e_camera-motion-64px-rgb'
TSM_KINETICS = 'tsm-cgc_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb'
# Ours: the paper's text read literally.  Its table has 24.07M, 24.07M, 24.09M, 25.61M and 25.62M, and no last row.
OURS = {
    f'tsn-cgc{R50}8-1x1x8-45{STHV1}': 24_123_790,
    f'tsm-cgc{R50}8-1x1x8-45{STHV1}': 24_123_790,
    f'tsm-cgc{R50}4-1x1x16-45{STHV1}': 24_290_894,
    f'p3d-cgc-3d{R50}8-32x1x1-50{STHV1}': 26_038_990,
    f'p3d-cgc-1d-3d{R50}8-32x1x1-50{STHV1}': 26_051_193,
    TSM_KINETICS: 24_586_864,
    f'tsn{SMALL}': 177_048,
    f'tsm{SMALL}': 177_048,
    f'tsn-cgc{SMALL}': 326_272,
    f'tsm-cgc{SMALL}': 326_272,
}
NETWORKS = [name for name in LEAVES if 'sthv1-video' not in name]  # those have a twin on frames


def build(name):
    """The recognizer without pretrained weights."""
    model = deepcopy(LEAVES[name].model)
    if 'pretrained' in model.backbone:
        model.backbone.pretrained = None
    if model.backbone.type == 'ResNetTSM':
        model.backbone.pretrained2d = False
    with MODELS.switch_scope_and_registry('mmaction') as registry:
        return registry.build(model)


@cache
def weightless(name):
    """The network with nothing in its tensors, which is quick; mmpretrain's ResNet reads some of its own."""
    with torch.device('cpu' if 'r14-quarter' in name else 'meta'):
        return build(name)


@pytest.mark.parametrize(('name', 'expected'), [*EXACT.items(), *OURS.items()])
def test_parameters(name, expected):
    assert sum(p.numel() for p in weightless(name).parameters()) == expected


@pytest.mark.parametrize('name', NETWORKS)
def test_a_network_trains_and_tests(name):
    """Two steps on a small clip: every parameter has a finite gradient and weights move; then a test pass."""
    from mmaction.structures import ActionDataSample

    config = LEAVES[name]
    torch.manual_seed(0)
    model = build(name)
    model.train()
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    frames = next(step for step in config.train_dataloader.dataset.pipeline if step.type == 'SampleFrames')
    shape = (1, 3, 32, 32, 32) if frames.clip_len == 32 else (frames.num_clips, 3, 32, 32)
    video = torch.randint(0, 256, shape, dtype=torch.uint8)
    batch = dict(inputs=[video], data_samples=[ActionDataSample().set_gt_label(3)])
    before = {key: value.clone() for key, value in model.named_parameters()}
    widen_action_scores()  # as launching does
    for _ in range(2):  # the last norm of a block may start at zero, so that what is before it moves in the second step
        wrapper.zero_grad()
        with wrapper.optim_context(model):
            loss = model.parse_losses(model(**model.data_preprocessor(batch, True), mode='loss'))[0]
        wrapper.backward(loss)
        assert loss.isfinite()
        assert [key for key, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
        wrapper.step()
    still = {key for key, p in model.named_parameters() if p.dim() > 2 and torch.equal(p, before[key])}
    assert not {key for key in still if 'non_local' not in key}  # a Non-local block starts as the identity

    model.eval()
    batch = model.data_preprocessor(dict(inputs=[video], data_samples=[ActionDataSample()]))
    with torch.no_grad():
        score = model(**batch, mode='predict')[0].pred_score
    assert score.shape == (config.model.cls_head.num_classes,) and score.sum().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize('name', LEAVES)
def test_gates_are_where_the_name_says(name):
    kinds = {
        'tsn-cgc': (17, 0),
        'tsm-cgc': (17, 0),
        'p3d-cgc-1d': (0, 8),
        'p3d-cgc-3d': (0, 17),
        'p3d-cgc-1d-3d': (0, 25),
        'tsn-cgc-conv1-res1': (5, 0),
        'tsm-cgc-conv1-res1': (5, 0),
    }
    gated = [m for m in weightless(name).modules() if isinstance(m, (CGConv2d, CGConv3d)) and m.gate is not None]
    found = tuple(sum(isinstance(m, kind) for m in gated) for kind in (CGConv2d, CGConv3d))
    all_of_2d = (13, 0) if 'r14-quarter' in name else (17, 0)
    expected = kinds.get(name.split('_')[0], (0, 0))
    assert found == (all_of_2d if expected == (17, 0) else expected)
    assert all(m.backend is None for m in gated)


@pytest.mark.parametrize('name', [name for name in LEAVES if 'sthv1-video' in name])
def test_video_files_change_the_data_alone(name):
    """A leaf on video files is its twin on frames but for the data, and a gated one has a plain one beside it."""
    config, twin = LEAVES[name], LEAVES[name.replace('-video', '')]
    differing = {key for key in config.keys() | twin.keys() if config.get(key) != twin.get(key)}
    parts = ('_dataloader', '_dataset', '_pipeline')
    assert {key for key in differing if not key.endswith(parts)} == {'data', 'opening', 'decoding'}
    assert name[:3] + name[name.index('_') :] in LEAVES


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    """Three moving squares as frame folders and as video files, with annotation lists."""
    root = tmp_path_factory.mktemp('clips')
    frames, videos = [], []
    for i, (length, label) in enumerate([(40, 2), (33, 4), (20, 7)]):
        folder = root / 'rawframes' / str(i)
        folder.mkdir(parents=True)
        (root / 'videos').mkdir(exist_ok=True)
        writer = cv2.VideoWriter(str(root / 'videos' / f'{i}.mp4'), cv2.VideoWriter_fourcc(*'mp4v'), 12, (96, 64))
        for t in range(length):
            image = np.full((64, 96, 3), 30 * i, np.uint8)
            image[20:40, 2 * t : 2 * t + 10] = 200
            cv2.imwrite(str(folder / f'{t + 1:05}.jpg'), image)
            writer.write(image)
        writer.release()
        frames.append(f'{i} {length} {label}\n')
        videos.append(f'{i}.mp4 {label}\n')
    (root / 'rawframes.txt').write_text(''.join(frames))
    (root / 'videos.txt').write_text(''.join(videos))
    return root


def on(clips, config):
    """The config with its data sets on the stand-in clips, and nothing else changed."""
    config = deepcopy(config)
    for phase in ('train', 'val', 'test'):
        loader = config[f'{phase}_dataloader']
        kind = 'videos' if 'VideoDataset' in loader.dataset.type else 'rawframes'
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.update(
            ann_file=str(clips / f'{kind}.txt'),
            data_prefix=dict(video=str(clips / kind)) if kind == 'videos' else dict(img=str(clips / kind)),
        )
    return config


def samples(config, phase):
    with DATASETS.switch_scope_and_registry('mmaction') as registry:
        return registry.build(config[f'{phase}_dataloader'].dataset)


DATA = {
    f'tsn-cgc{R50}8-1x1x8-45{STHV1}': dict(train=(8, 3, 224, 224), val=(8, 3, 224, 224), test=(8, 3, 224, 224)),
    f'tsm-cgc{R50}4-1x1x16-45{STHV1}': dict(train=(16, 3, 224, 224), val=(16, 3, 224, 224), test=(16, 3, 224, 224)),
    f'p3d{R50}8-32x1x1-50{STHV1}': dict(
        train=(1, 3, 32, 224, 224), val=(1, 3, 32, 224, 224), test=(30, 3, 32, 256, 256)
    ),
    f'tsn-cgc{SMALL}': dict(train=(4, 3, 64, 64), val=(4, 3, 64, 64), test=(4, 3, 64, 64)),
    TSM_KINETICS: dict(train=(8, 3, 224, 224), val=(8, 3, 224, 224), test=(80, 3, 224, 224)),
}
for _name in ('tsn-cgc', 'tsm-cgc', 'p3d-cgc-1d-3d'):
    _twin = f'p3d{R50}8-32x1x1-50{STHV1}' if _name.startswith('p3d') else f'tsn-cgc{R50}8-1x1x8-45{STHV1}'
    _frames = '8-32x1x1-50e' if _name.startswith('p3d') else '8-1x1x8-45e'
    DATA[f'{_name}{R50}{_frames}_sthv1-video-rgb'] = DATA[_twin]


@pytest.mark.parametrize('phase', ['train', 'val', 'test'])
@pytest.mark.parametrize('name', DATA)
def test_clips_are_read(clips, name, phase):
    """From frames and from video files: as many frames, views and pixels as the config promises."""
    dataset = samples(on(clips, LEAVES[name]), phase)
    sample = dataset[1]
    assert tuple(sample['inputs'].shape) == DATA[name][phase] and sample['inputs'].dtype == torch.uint8
    assert sample['inputs'].max() > 150
    assert dataset.test_mode == (phase != 'train')


@pytest.mark.parametrize('name', LEAVES)
def test_pipelines_sample_what_the_gates_read(clips, name):
    for phase in ('train', 'val', 'test'):
        pipeline = samples(on(clips, LEAVES[name]), phase).pipeline.transforms
        check_clips(weightless(name), pipeline)
        assert any(hasattr(transform, 'num_clips') for transform in pipeline)


def test_frames_and_video_files_hold_the_same(clips):
    raw, video = (LEAVES[f'tsn-cgc{R50}8-1x1x8-45e_sthv1-{kind}'] for kind in ('rgb', 'video-rgb'))
    raw, video = (samples(on(clips, config), 'test')[0]['inputs'].float() for config in (raw, video))
    assert (raw - video).abs().mean() < 6


@pytest.mark.parametrize(
    ('label', 'flipped'), [(2, 4), (4, 2), (30, 41), (41, 30), (52, 66), (66, 52), (3, 3), (173, 173)]
)
@pytest.mark.parametrize('name', [f'tsm{R50}8-1x1x8-45{STHV1}', f'p3d{R50}8-32x1x1-50{STHV1}'], ids=['tsm', 'p3d'])
def test_left_and_right_swap_when_a_clip_is_flipped(clips, name, label, flipped):
    config = on(clips, LEAVES[name])
    flip = next(t for t in samples(config, 'train').pipeline.transforms if type(t).__name__ == 'Flip')
    assert flip.flip_ratio == 0.5
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    labels = set()
    for _ in range(40):
        sample = flip(dict(imgs=[image.copy()], label=label, img_shape=(2, 2), modality='RGB'))
        assert np.array_equal(sample['imgs'][0], image[:, ::-1] if sample['flip'] else image)
        assert sample['label'] == (flipped if sample['flip'] else label)
        labels.add(sample['label'])
    assert labels == {label, flipped}


def test_the_two_clip_three_crop_test_is_a_few_options(clips):
    """Those that the README names."""
    config = on(clips, LEAVES[f'tsm-cgc{R50}8-1x1x8-45{STHV1}'])
    pipeline = 'test_dataloader.dataset.pipeline'
    config.merge_from_dict({f'{pipeline}.0.twice_sample': True, f'{pipeline}.3': dict(type='ThreeCrop', crop_size=256)})
    assert samples(config, 'test')[0]['inputs'].shape == (48, 3, 256, 256)


def shrink(config, tmp_path):
    """A ResNet-18 on frames of 32 pixels, one epoch of one batch; written to a file."""
    config.model.backbone.update(depth=18, pretrained=None)
    config.model.cls_head.in_channels = 512
    for phase in ('train', 'val', 'test'):
        for step in config[f'{phase}_dataloader'].dataset.pipeline:
            for key, small in dict(scale=32, crop_size=32, input_size=32).items():
                if key in step:
                    step[key] = (-1, 32) if step[key] == (-1, 256) else (32, 32) if key == 'scale' else small
    config.train_cfg.max_epochs = 1
    path = tmp_path / 'small.py'
    config.dump(path)
    return path


@pytest.mark.parametrize('kind', ['rgb', pytest.param('video-rgb', marks=pytest.mark.slow)])
def test_training_and_testing_by_the_tools(clips, tmp_path, own_scope, kind):
    """On clips from disk; then a test with 25 clips of one frame, which the gates would mix, is refused."""
    config = shrink(on(clips, LEAVES[f'tsn-cgc{R50}8-1x1x8-45e_sthv1-{kind}']), tmp_path)
    launch.train(str(config), work_dir=str(tmp_path), seed=0)
    test = partial(launch.test, str(config), str(tmp_path / 'epoch_1.pth'), work_dir=str(tmp_path))
    metrics = test()
    assert 0 <= metrics['acc/top1'] <= metrics['acc/top5'] <= 1
    frames = 'test_dataloader.dataset.pipeline.' + ('0' if kind == 'rgb' else '1')
    with pytest.raises(ValueError, match='num_clips=25'):
        test(cfg_options={f'{frames}.num_clips': 25})
