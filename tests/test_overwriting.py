"""No tool writes over what it reads: a file, a folder, or a file in a folder."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT
from mmengine.config import Config
from stand_ins import imagenette_files, parallel_text, picture, sthv1_frames, sthv1_labels, write_folder

from mmcgc.analysis.pictures.plot_curves import compare_curves
from mmcgc.analysis.pictures.plot_kernels_history import draw_kernels_history
from mmcgc.analysis.pictures.show_gates import show_gates
from mmcgc.analysis.pictures.show_grad_cam import show_grad_cam
from mmcgc.analysis.speed.plot_benchmark import draw_points
from mmcgc.apis import launch
from mmcgc.apis.demo_video import classify_video
from mmcgc.checkpoints.average import average_checkpoints
from mmcgc.checkpoints.convert import convert_checkpoint
from mmcgc.datasets.camera_motion import make_camera_motion
from mmcgc.datasets.prepare_imagenette import prepare_imagenette
from mmcgc.datasets.prepare_sthv1 import prepare_sthv1
from mmcgc.datasets.translation.prepare import prepare_corpus
from mmcgc.datasets.translation.subword import CODES

CONFIG = ROOT / 'configs/quickstart/tsn-cgc-resnet10_1xb64-1x1x8-5e_moving-digits.py'


def corpus_of_codes(folder: Path) -> None:
    parallel_text(folder / 'raw')
    (folder / 'out').mkdir()
    (folder / 'out' / CODES).write_text('#version: 0.2\n')
    prepare_corpus(folder / 'raw', folder / 'out', codes=folder / 'out' / CODES)


WRITERS = {
    'average': lambda f: average_checkpoints([f / 'a.pth', f / 'b.pth'], f / 'a.pth'),
    'average, linked': lambda f: average_checkpoints([f / 'a.pth', f / 'b.pth'], f / 'link.pth'),
    'convert': lambda f: convert_checkpoint(f / 'a.pth', f / 'a.pth', to='timm'),
    'test': lambda f: launch.test(str(CONFIG), str(f / 'a.pkl'), dump=str(f / 'a.pkl')),
    'test, metrics': lambda f: launch.test(str(CONFIG), str(f / 'a.pkl'), out=str(f / 'a.pkl'), out_item='metrics'),
    'demo': lambda f: classify_video(str(CONFIG), str(f / 'a.pth'), str(f / 'a.mp4'), out=str(f / 'a.mp4')),
    'gates': lambda f: show_gates(str(CONFIG), str(f / 'a.pth'), str(f / 'a.png'), [str(f / 'a.png')]),
    'gates, folder': lambda f: show_gates(str(CONFIG), str(f / 'a.pth'), str(f / 'gates.png'), [str(f)]),
    'grad-cam': lambda f: show_grad_cam([(str(CONFIG), str(f / 'a.pth'))], str(f / 'a.png'), [str(f / 'a.png')]),
    'curves': lambda f: compare_curves([['net', str(f)]], str(f / 'curves.png')),
    'kernels': lambda f: draw_kernels_history(str(CONFIG), [str(f)], str(f / 'curves.png')),
    'benchmark': lambda f: draw_points(str(f / 'a.csv'), str(f / 'csv.png')),
    'corpus': lambda f: prepare_corpus(parallel_text(f / 'raw'), f / 'raw', merges=20),
    'corpus, below': lambda f: prepare_corpus(parallel_text(f / 'raw'), f / 'raw/out', merges=20),
    'corpus, codes': corpus_of_codes,
    'imagenette': lambda f: prepare_imagenette([write_folder(f / 'in', imagenette_files())], f / 'in', partial=True),
    'imagenette, above': lambda f: prepare_imagenette(
        [write_folder(f / 'train/in', imagenette_files())], f, partial=True
    ),
    'sthv1': lambda f: prepare_sthv1(sthv1_labels(f / 'labels'), sthv1_frames(f / 'frames'), f / 'frames'),
    'camera motion': lambda f: make_camera_motion(f, f / 'out', train_clips=1, val_clips=1),
}


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ('a.pth', 'b.pth', 'a.pkl', 'a.mp4', 'a.csv', 'curves.csv'):
        (tmp_path / name).write_text(name)
    (tmp_path / 'a.png').write_bytes(picture(0, 'PNG'))
    (tmp_path / 'link.pth').hardlink_to(tmp_path / 'a.pth')
    (tmp_path / 'csv.png').hardlink_to(tmp_path / 'a.csv')
    return tmp_path


@pytest.mark.parametrize('writer', WRITERS)
def test_an_output_that_is_read_is_refused(folder, writer):
    before = {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}
    with pytest.raises(ValueError, match='cannot write .*, which is read; give another place'):
        WRITERS[writer](folder)
    for path, content in before.items():
        assert path.read_bytes() == content, path


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_a_config_in_the_work_directory_is_not_written_over(tiny, trained, own_scope, tmp_path, tool):
    """MMEngine copies the config, with all that the command line changes, to its name in the work directory."""
    config = tmp_path / 'mine.py'
    config.write_text(f'# by hand\n_base_ = {str(tiny.config)!r}\n')
    options = dict(work_dir=str(tmp_path), cfg_options={'train_cfg.max_epochs': 1})
    if tool == 'train':
        launch.train(str(config), no_validate=True, **options)
    else:
        launch.test(str(config), str(trained / 'epoch_2.pth'), **options)
    assert config.read_text() == f'# by hand\n_base_ = {str(tiny.config)!r}\n'
    (copy,) = (path for path in tmp_path.glob('*.py') if path != config)
    assert Config.fromfile(copy).train_cfg.max_epochs == 1


@pytest.mark.parametrize('name', ['a.txt', 'link.txt'])
def test_translate_does_not_write_over_its_input(tmp_path, name):
    (tmp_path / 'a.txt').write_text('ein Hund\n')
    (tmp_path / 'link.txt').symlink_to('a.txt')
    done = subprocess.run(
        [sys.executable, ROOT / 'tools/translate.py', 'none.py', 'none.pth', '--input', 'a.txt', '--output', name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and 'error: cannot write' in done.stderr, done.stderr
    assert (tmp_path / 'a.txt').read_text() == 'ein Hund\n'


def test_translate_leaves_what_was_there_on_failure(tmp_path):
    (tmp_path / 'a.txt').write_text('ein Hund\n')
    (tmp_path / 'out.txt').write_text('a dog\n')
    done = subprocess.run(
        [sys.executable, ROOT / 'tools/translate.py', 'none.py', 'none.pth', '--input', 'a.txt', '--output', 'out.txt'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "error: no config file 'none.py'" in done.stderr
    assert (tmp_path / 'out.txt').read_text() == 'a dog\n' and sorted(p.name for p in tmp_path.iterdir()) == [
        'a.txt',
        'out.txt',
    ]
