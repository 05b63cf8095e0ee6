"""Every tool tells a mistake with its files in one line, exits with an error, and leaves all files as they are."""

import re
import runpy
import sys
from pathlib import Path

import pytest
from helpers import ROOT
from stand_ins import picture

TOOLS = [str(path.relative_to(ROOT / 'tools')) for path in sorted(ROOT.glob('tools/**/*.py'))]
CONFIG = str(ROOT / 'configs/quickstart/tsn-cgc-resnet10_1xb64-1x1x8-5e_moving-digits.py')
TEXT = str(ROOT / 'configs/quickstart/cgc-lightconv_1xt2k-1k_number-words.py')
# For each tool its arguments with FILE for an input, and with OUT for the output, None where it writes no file.
ARGUMENTS = {
    'average_checkpoints.py': ('FILE', 'a.pth --out OUT'),
    'compare.py': ('FILE', f'{CONFIG} --work-dir OUT'),
    'convert_checkpoint.py': ('FILE b.pth --to timm', 'a.pth OUT.pth --to timm'),
    'demo_video.py': (f'{CONFIG} a.pth FILE', f'{CONFIG} a.pth a.mp4 --out OUT.mp4'),
    'test.py': (f'{CONFIG} FILE', f'{CONFIG} a.pth --out OUT.pkl'),
    'train.py': ('FILE', f'{CONFIG} --work-dir OUT'),
    'translate.py': (f'{TEXT} a.pth --input FILE', f'{TEXT} a.pth --input a.txt --output OUT'),
    'analysis/analyze_gates.py': (f'{CONFIG} FILE', f'{CONFIG} a.pth --out OUT.png'),
    'analysis/benchmark.py': ('FILE', f'{CONFIG} --csv OUT'),
    'analysis/benchmark_translation.py': ('FILE', f'{TEXT} --csv OUT'),
    'analysis/benchmark_video_loading.py': ('FILE', None),
    'analysis/get_complexity.py': ('FILE', None),
    'analysis/paper_tables.py': ('--configs FILE', None),
    'analysis/plot_benchmark.py': ('FILE', 'a.csv --out OUT.png'),
    'analysis/plot_curves.py': ('--network net FILE', '--network net . --out OUT.png'),
    'analysis/plot_gate_history.py': ('FILE', '. --out OUT.png'),
    'analysis/plot_kernels_history.py': ('FILE .', f'{CONFIG} . --out OUT.png'),
    'analysis/show_gates.py': (f'{CONFIG} FILE a.png', f'{CONFIG} a.pth a.png --out OUT.png'),
    'analysis/show_grad_cam.py': (f'a.png --model {CONFIG} FILE', f'a.png --model {CONFIG} a.pth --out OUT.png'),
    'data/make_camera_motion.py': ('FILE', 'photos --out OUT'),
    'data/prepare_cifar10.py': ('FILE', 'a.tar.gz --out OUT'),
    'data/prepare_imagenette.py': ('FILE', 'photos --out OUT'),
    'data/prepare_iwslt14.py': ('FILE', 'text --out OUT'),
    'data/prepare_sthv1.py': ('FILE --frames photos', 'labels --frames photos --out OUT'),
}


def test_every_tool_is_here():
    assert sorted(ARGUMENTS) == sorted(TOOLS)


@pytest.fixture
def folder(tmp_path, monkeypatch, own_scope):
    for name in ('a.pth', 'a.mp4', 'a.csv', 'a.txt', 'b.txt', 'a.tar.gz', 'epoch_1.pth'):
        (tmp_path / name).write_text('content\n')
    for name in ('photos', 'text', 'labels'):
        (tmp_path / name).mkdir()
    for path in ('a.png', 'photos/a.png'):
        (tmp_path / path).write_bytes(picture(0, 'PNG'))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def mistake(folder, monkeypatch, tool: str, arguments: str) -> str:
    """What the tool says, run in this process."""
    before = files(folder)
    monkeypatch.setattr(sys, 'argv', [tool, *arguments.split()])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
    message = str(stop.value)
    assert message.startswith('error: ') and '\n' not in message, message
    assert before.items() <= files(folder).items()
    return message


@pytest.mark.parametrize('tool', TOOLS)
@pytest.mark.parametrize('name', ['none.x', 'photos'], ids=['missing', 'folder'])
def test_an_input_that_is_not_there_or_of_another_kind(folder, monkeypatch, tool, name):
    assert name in mistake(folder, monkeypatch, tool, ARGUMENTS[tool][0].replace('FILE', name))


@pytest.mark.parametrize('tool', [tool for tool in TOOLS if '--device' in (ROOT / 'tools' / tool).read_text()])
def test_a_device_that_is_not_here(folder, monkeypatch, tool):
    arguments = ARGUMENTS[tool][1].replace('OUT', 'new')
    assert re.match(
        "error: the device 'gpu' cannot be used here", mistake(folder, monkeypatch, tool, f'{arguments} --device gpu')
    )


@pytest.mark.parametrize('tool', [tool for tool, (_, output) in ARGUMENTS.items() if output])
def test_an_output_that_cannot_be_written_is_refused_at_once(folder, monkeypatch, tool):
    message = mistake(folder, monkeypatch, tool, ARGUMENTS[tool][1].replace('OUT', 'b.txt/out'))
    assert re.search(
        r'cannot write \S*b.txt/out.*b.txt is no folder that can be written to; give another place', message
    )
