"""The tools that draw, as a user calls them: pictures from files and data sets, clips, and mistakes."""

import csv
import json
import re
import runpy
import shutil
import sys

import cv2
import numpy as np
import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from PIL import Image
from stand_ins import picture

from mmcgc.analysis.network import build_network
from mmcgc.analysis.pictures import plot_kernels_history as kernels_history
from mmcgc.analysis.pictures.samples import class_by_class, read_samples
from mmcgc.analysis.trained import load_trained

CLIPS = ROOT / 'configs' / 'quickstart' / 'tsn-cgc-resnet10_1xb64-1x1x8-5e_moving-digits.py'


@pytest.fixture
def call(monkeypatch, capsys, own_scope):
    """Runs ``tools/analysis/<name>.py`` in this process, without a display, and returns what it printed."""

    def run(name, *args):
        monkeypatch.delenv('DISPLAY', raising=False)
        monkeypatch.setattr(sys, 'argv', [name, *map(str, args)])
        runpy.run_path(str(ROOT / 'tools' / 'analysis' / f'{name}.py'), run_name='__main__')
        return capsys.readouterr().out

    return run


def save_checkpoint(config, path, **meta):
    torch.manual_seed(0)
    torch.save(dict(state_dict=build_network(Config.fromfile(config)).state_dict(), meta=meta), path)
    return path


@pytest.fixture(scope='module')
def checkpoint(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'tiny.pth'
    return save_checkpoint(tiny.config, path, dataset_meta=dict(classes=tuple('abcd')))


@pytest.fixture(scope='module')
def plain(tiny, tmp_path_factory):
    """The config without gates and its checkpoint."""
    config = tmp_path_factory.mktemp('plain') / 'plain.py'
    config.write_text(tiny.config.read_text().replace(", conv_cfg=dict(type='CGConv')", ''))
    return config, save_checkpoint(config, config.with_name('plain.pth'))


@pytest.fixture
def folder(tmp_path):
    """Two pictures, one of them not square, and a file of another kind."""
    folder = tmp_path / 'pictures'
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, size in (('red.png', (8, 8)), ('wide.jpg', (8, 8))):
        Image.fromarray(random.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / name)
    (folder / 'notes.txt').write_text('not a picture')
    return folder


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    """A gated video config, its checkpoint, and options that keep its data small and here."""
    root = tmp_path_factory.mktemp('clips')
    options = [
        f'val_dataloader.dataset.data_root={root}',
        'val_dataloader.dataset.num_clips=16',
        'val_dataloader.num_workers=0',
        'val_dataloader.batch_size=8',
    ]
    return CLIPS, save_checkpoint(CLIPS, root / 'clips.pth'), options


def picture_size(path):
    image = cv2.imread(str(path))
    assert image is not None and image.std() > 5
    return image.shape[:2]


def test_grad_cam_of_a_folder_side_by_side(call, tiny, checkpoint, plain, folder, tmp_path):
    out = tmp_path / 'new' / 'sheet.jpg'
    printed = call('show_grad_cam', folder, '--model', *plain, '--model', tiny.config, checkpoint, '--out', out)
    assert printed.splitlines()[-1] == (
        'Grad-CAM++ of plain (backbone.layer3.0.conv2) and tiny (backbone.layer3.0.conv2) on 2 pictures: ' + str(out)
    )
    height, width = picture_size(out)
    assert 1 < width / height < 4


def test_grad_cam_of_the_validation_set_for_one_class(call, tiny, checkpoint, tmp_path):
    out = tmp_path / 'sheet.png'
    printed = call('show_grad_cam', '--samples', 5, '--model', tiny.config, checkpoint, '--target', 'c', '--out', out)
    assert 'on 5 pictures' in printed and picture_size(out)


def test_grad_cam_of_clips_as_strips(call, clips, tmp_path):
    config, weights, options = clips
    out = tmp_path / 'sheet.jpg'
    printed = call('show_grad_cam', '--samples', 2, '--model', config, weights, '--out', out, '--cfg-options', *options)
    assert 'on 2 clips' in printed and picture_size(out)


def test_gates_of_two_pictures(call, tiny, checkpoint, folder, tmp_path):
    out = tmp_path / 'gates.png'
    layers = ['backbone.conv1', 'backbone.layer3.0.conv2']
    printed = call('show_gates', tiny.config, checkpoint, folder, '--layers', *layers, '--out', out)
    change = float(printed.split('backbone.layer3.0.conv2 ')[1].split(':')[0])
    assert 'for 2 pictures' in printed and change > 0 and picture_size(out)


def test_gates_of_one_picture_have_nothing_to_differ_from(call, tiny, checkpoint, tmp_path):
    assert 'conv2 0: ' in call('show_gates', tiny.config, checkpoint, '--samples', 1, '--out', tmp_path / 'g.png')


def test_gates_of_the_frames_of_a_clip(call, clips, tmp_path):
    config, weights, options = clips
    out = tmp_path / 'gates.png'
    printed = call('show_gates', config, weights, '--samples', 1, '--out', out, '--cfg-options', *options)
    assert 'for 4 frames' in printed and picture_size(out)


def test_gate_analysis_with_its_control(call, tiny, checkpoint, tmp_path):
    out = tmp_path / 'classes.png'
    *before, printed = call('analyze_gates', tiny.config, checkpoint, '--control', '--out', out).splitlines()
    assert not any('init_weights' in line for line in before)
    assert 'backbone.layer3.0.conv2 over 20 samples of 4 classes' in printed and 'the 12 pairs' in printed
    assert printed.count('%') == 2 and 'random initial weights' in printed
    assert picture_size(out) and picture_size(tmp_path / 'classes-kernels.png')


def test_gates_by_class_over_the_epochs(call, tiny, checkpoint, tmp_path, monkeypatch):
    run = tmp_path / 'run'
    log = run / '20260101_000000' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text(''.join(f'{json.dumps({"accuracy/top1": 10.0 * epoch, "step": epoch})}\n' for epoch in (1, 2, 3)))
    for epoch in (1, 2, 3):
        shutil.copy(checkpoint, run / f'epoch_{epoch}.pth')
    out, layer = tmp_path / 'history.png', 'backbone.layer3.0.conv2'
    single = call('analyze_gates', tiny.config, checkpoint, '--out', tmp_path / 'g.png')
    share, ratio = re.search(r'trained (\S+)% \(inter / intra (\S+) on', single).groups()
    arguments = ('plot_kernels_history', tiny.config, run, '--every', 2, '--layers', layer, '--out', out)
    printed = call(*arguments)
    assert f'{layer} {share}%, inter / intra {ratio}: ' in printed and picture_size(out) == (480, 1200)
    with out.with_suffix('.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [(row['layer'], row['epoch'], row['value']) for row in rows] == [(layer, '1', '10.0'), (layer, '3', '30.0')]
    monkeypatch.setattr(kernels_history, 'measure_class_kernels', None)  # nothing is measured twice
    assert call(*arguments) == printed


def test_gate_analysis_of_clips(call, clips, tmp_path):
    config, weights, options = clips
    printed = call('analyze_gates', config, weights, '--out', tmp_path / 'c.png', '--cfg-options', *options)
    assert 'over 16 samples of 8 classes' in printed


@pytest.mark.parametrize('tool, args, message', [
    ('analyze_gates', ['{config}', '{checkpoint}', '--layer', 'backbone.stem'],
     "no gated layer 'backbone.stem'; there are backbone.conv1, "),
    ('analyze_gates', ['{plain}', '{weights}'], 'no gated layer; its config needs'),
    ('analyze_gates', ['{config}', '{checkpoint}', '--cfg-options', 'val_dataloader.dataset.indices=[0,1,2,3,4,5]'],
     'only one image of b'),
    ('analyze_gates', ['{config}', 'missing.pth'], "no checkpoint 'missing.pth'"),
    ('analyze_gates', ['{config}', '{weights}'], 'does not fit the model'),
    ('analyze_gates', ['{config}', '{checkpoint}', '--device', 'cuda'], "device 'cuda' cannot be used here"),
    ('analyze_gates', ['{config}', '{checkpoint}', '--out', 'gates.txt'], 'a picture ends in .png'),
    ('show_gates', ['{config}', '{checkpoint}'], 'give either pictures'),
    ('show_gates', ['{config}', '{checkpoint}', '{folder}', '--channels', '0'], 'got 0'),
    ('show_grad_cam', ['{folder}/no.png', '--model', '{config}', '{checkpoint}'], 'no .*no.png here'),
    ('show_grad_cam', ['{folder}/notes.txt', '--model', '{config}', '{checkpoint}'], 'cannot read .*notes.txt'),
    ('show_grad_cam', ['{cut}', '--model', '{config}', '{checkpoint}'], 'cannot read .*cut.jpg: .* truncated'),
    ('show_grad_cam', ['{empty}', '--model', '{config}', '{checkpoint}'], 'holds no picture'),
    ('show_grad_cam', ['{folder}', '--model', '{config}', '{checkpoint}', '--layer', 'head.fc'],
     "no convolution 'head.fc' larger than 1x1; there are backbone.conv1, "),
    ('show_grad_cam', ['{folder}', '--model', '{config}', '{checkpoint}', '--target', 'e'],
     "no class 'e'; tiny has a, b, c, d"),
], ids=['layer', 'no-gate', 'one-image', 'no-checkpoint', 'misfit', 'no-gpu', 'suffix', 'nothing-to-show', 'channels',
        'no-picture', 'unreadable', 'truncated', 'empty-folder', 'convolution', 'class'])  # fmt: skip
def test_mistakes_end_with_a_clear_line(tool, args, message, call, tiny, checkpoint, plain, folder, tmp_path):
    if 'cuda' in args and torch.cuda.is_available():
        pytest.skip('about machines without an accelerator')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'cut.jpg').write_bytes(picture(3)[:-50])
    names = dict(
        config=tiny.config,
        checkpoint=checkpoint,
        plain=plain[0],
        weights=plain[1],
        folder=folder,
        empty=tmp_path / 'empty',
        cut=tmp_path / 'cut.jpg',
    )
    if '--out' not in args:
        args = [*args, '--out', tmp_path / 'out.png']
    with pytest.raises(SystemExit, match=f'^error: .*{message}'):
        call(tool, *(str(arg).format(**names) for arg in args))


def test_colours_come_as_the_network_saw_them_in_training(tiny, tmp_path, own_scope):
    """A red picture is red in what is shown, and in the channel that the network takes for red."""
    Image.new('RGB', (8, 8), (250, 0, 0)).save(tmp_path / 'red.png')
    for to_rgb in (True, False):
        options = dict(data_preprocessor=dict(mean=[0] * 3, std=[2] * 3, to_rgb=to_rgb))
        trained = load_trained(str(tiny.config), None, 'cpu', options)
        (sample,) = read_samples(trained, [str(tmp_path)])
        assert sample.frames.shape == (1, 8, 8, 3) and sample.frames[0, 4, 4].tolist() == [250, 0, 0]
        assert sample.inputs['inputs'][0, :, 4, 4].tolist() == [125, 0, 0]


def test_samples_take_the_classes_in_turn():
    assert class_by_class([2, 2, 2, 0, 1, 0]) == [3, 4, 0, 5, 1, 2]
