"""The demo: what it prints of a file is what the test pipeline and the model say."""

from copy import deepcopy

import cv2
import numpy as np
import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS, init_default_scope
from odd_videos import HEIGHT, ODD, WIDTH

from mmcgc.apis.demo_video import classify_video
from mmcgc.datasets.clip_writer import write_clip
from mmcgc.datasets.moving_digits import DIRECTIONS
from mmcgc.datasets.played_frames import play

CONFIGS = ROOT / 'configs'
CONFIG = CONFIGS / 'quickstart' / 'tsn-cgc-resnet10_1xb64-1x1x8-5e_moving-digits.py'
TSN = CONFIG.with_name(CONFIG.name.replace('-cgc', ''))
PIPELINE = (
    "[dict(type='SampleFrames', clip_len=1, num_clips=8, test_mode=True), dict(type='RawFrameDecode'), "
    "dict(type='FormatShape', input_format='NCHW'), dict(type='PackActionInputs')]"
)


@pytest.fixture(autouse=True)
def scope(own_scope):
    """The demo sets a default scope."""


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A folder with ``clip.mp4`` and ``weights.pth``, whose gates tell frames apart."""
    folder = tmp_path_factory.mktemp('demo')
    write_clip(folder / 'clip.mp4', np.random.default_rng(0).integers(0, 256, (12, 32, 64, 3), dtype=np.uint8))
    torch.manual_seed(0)
    with MODELS.switch_scope_and_registry('mmaction') as registry:
        model = registry.build(Config.fromfile(CONFIG).model)
    model.init_weights()
    torch.nn.init.normal_(model.cls_head.fc_cls.weight)
    meta = dict(dataset_meta=dict(classes=tuple(DIRECTIONS)))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / 'weights.pth')
    return folder


def classify(files, config=CONFIG, checkpoint='weights.pth', video='clip.mp4', **options):
    return classify_video(str(config), str(files / checkpoint), str(files / video), device='cpu', **options)


def test_it_says_what_the_test_pipeline_and_the_model_say(files):
    config = Config.fromfile(CONFIG)
    init_default_scope('mmaction')
    model = MODELS.build(config.model)
    model.load_state_dict(torch.load(files / 'weights.pth')['state_dict'])
    sample = dict(filename=str(files / 'clip.mp4'), label=-1, start_index=0, modality='RGB')
    batch = pseudo_collate([Compose(deepcopy(config.test_dataloader.dataset.pipeline))(sample)])
    scores = model.eval().test_step(batch)[0].pred_score.detach()
    classes = classify(files, top=8)
    assert [name for name, _ in classes] == [list(DIRECTIONS)[i] for i in scores.argsort(descending=True)]
    np.testing.assert_allclose([p for _, p in classes], scores.sort(descending=True).values, rtol=1e-5)
    assert sum(p for _, p in classes) == pytest.approx(1) and classes[0][1] > 2 * classes[-1][1]
    assert classify(files, top=3) == classes[:3]


def test_a_config_of_frame_folders_reads_the_file_too(files, tmp_path):
    config = tmp_path / 'frames.py'
    config.write_text(f"_base_ = '{CONFIG}'\ntest_dataloader = dict(dataset=dict(pipeline={PIPELINE}))\n")
    assert classify(files, config) == classify(files)


def test_the_annotated_video_shows_the_same_frames(files, tmp_path):
    classify(files, out=str(tmp_path / 'out.mp4'))
    frames, shown = ([], [])
    for path, images in ((files / 'clip.mp4', frames), (tmp_path / 'out.mp4', shown)):
        video = cv2.VideoCapture(str(path))
        while (read := video.read())[0]:
            images.append(read[1].astype(float))
    assert len(shown) == len(frames) == 12 and shown[0].shape == (240, 480, 3)
    for frame, image in zip(frames, shown, strict=True):
        enlarged = cv2.resize(frame, (480, 240), interpolation=cv2.INTER_CUBIC)
        assert np.abs(image - enlarged)[90:].mean() < 20 < np.abs(image - enlarged)[:60, :60].mean()


@pytest.mark.parametrize('beside', [False, True], ids=['option', 'beside-the-list'])
def test_names_come_from_a_file(files, tmp_path, beside):
    path = tmp_path / 'label_map.txt'
    path.write_text('\n'.join(f'motion {i}' for i in range(8)))
    options = dict(labels=str(path))
    if beside:
        options = dict(cfg_options={'test_dataloader.dataset.ann_file': str(tmp_path / 'list.txt')})
    plain, named = classify(files), classify(files, **options)
    assert [name for name, _ in named] == [f'motion {list(DIRECTIONS).index(name)}' for name, _ in plain]


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        pytest.param(dict(video='none.mp4'), FileNotFoundError, 'no video .*none.mp4', id='no-video'),
        pytest.param(dict(checkpoint='none.pth'), FileNotFoundError, 'no checkpoint .*none.pth', id='no-checkpoint'),
        pytest.param(dict(labels='none.txt'), FileNotFoundError, 'none.txt', id='no-labels'),
        pytest.param(dict(config='none.py'), FileNotFoundError, 'none.py', id='no-config'),
        pytest.param(dict(video='empty.mp4'), ValueError, 'cannot read .*empty.mp4: the file is empty', id='empty'),
        pytest.param(dict(video='text.mp4'), ValueError, 'cannot read the video .*text.mp4', id='text'),
        pytest.param(dict(config=TSN), ValueError, 'weights.pth does not fit', id='another-config'),
        pytest.param(
            dict(config=CONFIGS / 'quickstart' / 'resnet20_1xb32-10e_digits.py'),
            ValueError,
            'no config of a video recognizer',
            id='images',
        ),
        pytest.param(dict(top=0), ValueError, 'at least 1', id='top'),
        pytest.param(dict(out='out.txt'), ValueError, 'out.txt', id='out'),
        pytest.param(dict(cfg_options={'model.cls_head.num_classes': 9}), ValueError, 'does not fit', id='classes'),
    ],
)
def test_mistakes_are_named(files, options, error, message):
    (files / 'empty.mp4').write_bytes(b'')
    (files / 'text.mp4').write_bytes(b'no video ' * 99)
    with pytest.raises(error, match=message):
        classify(files, **options)


def test_the_command(files, run_tool):
    done = run_tool('demo_video.py', CONFIG, files / 'weights.pth', files / 'clip.mp4', '--top', 2)
    expected = [f'{p:7.2%}  {name}' for name, p in classify(files, top=2)]
    assert done.stdout.splitlines()[-2:] == expected
    failed = run_tool('demo_video.py', CONFIG, files / 'weights.pth', files / 'none.mp4', check=False)
    assert failed.returncode == 1 and failed.stderr.splitlines()[-1].startswith('error: no video')


@pytest.mark.parametrize('name', ['h264.ts', 'trimmed.mp4', 'open groups.mp4', 'turned right.mp4'])
def test_the_annotated_video_has_the_frames_that_play(files, tmp_path, name):
    odd = next(odd for odd in ODD if odd.name == name)
    odd.make(tmp_path / name)
    classify(files, video=tmp_path / name, out=str(tmp_path / 'out.mp4'))
    written = list(play(tmp_path / 'out.mp4'))
    assert len(written) == len(odd.plays)
    upright = (HEIGHT, WIDTH) if 'turned' not in name else (WIDTH, HEIGHT)
    assert written[0].shape[0] / written[0].shape[1] == pytest.approx(upright[0] / upright[1])
