"""What SECURITY.md promises beyond the checkpoints of test_guard.py: addresses, data files, archives, shells."""

import ast
import functools
import http.server
import io
import json
import os
import pickle
import struct
import subprocess
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT
from mmengine.model import Sequential
from mmengine.runner import checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from PIL import Image

from mmcgc.apis import launch
from mmcgc.apis.translate import Translator
from mmcgc.checkpoints.average import average_checkpoints
from mmcgc.checkpoints.convert import load_state
from mmcgc.datasets.cifar_batches import load_batch
from mmcgc.datasets.prepare_cifar10 import _labels
from mmcgc.datasets.prepare_imagenette import prepare_imagenette
from mmcgc.datasets.translation.sources import TextFiles

SOURCES = sorted([*ROOT.glob('mmcgc/**/*.py'), *ROOT.glob('tools/**/*.py')])


class Command:
    """Pickles as a command that leaves a marker."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f'touch {self.marker}',)


@pytest.fixture
def address(tmp_path, monkeypatch):
    """The address of a folder of this machine, and the folder."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    folder = tmp_path / 'served'
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    monkeypatch.setattr(handler.func, 'log_message', lambda *_: None)
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}', folder
    server.shutdown()
    server.server_close()


class TestAddresses:
    @pytest.mark.parametrize('new', [True, False], ids=['zip', 'legacy'])
    def test_a_checkpoint_from_an_address_cannot_run_a_command(self, address, tmp_path, new):
        url, folder = address
        marker = tmp_path / 'marker'
        torch.save(dict(state_dict=Command(marker)), folder / 'evil.pth', _use_new_zipfile_serialization=new)
        with pytest.raises(pickle.UnpicklingError, match='posix.system.*nothing was loaded'):
            CheckpointLoader.load_checkpoint(f'{url}/evil.pth')
        assert not marker.exists()
        torch.hub.load_state_dict_from_url(f'{url}/evil.pth')
        assert marker.exists(), 'the payload is harmless, so the test shows nothing'

    @pytest.mark.parametrize(
        'name, models', [('torchvision://evil', 'get_torchvision_models'), ('open-mmlab://evil', 'get_external_models')]
    )
    def test_nor_can_one_from_the_list_of_a_library(self, address, tmp_path, monkeypatch, name, models):
        url, folder = address
        torch.save(dict(state_dict=Command(tmp_path / 'marker')), folder / 'evil.pth')
        monkeypatch.setattr(checkpoint, models, lambda: dict(evil=f'{url}/evil.pth'))
        with pytest.raises(pickle.UnpicklingError, match='posix.system.*nothing was loaded'):
            CheckpointLoader.load_checkpoint(name)
        assert not (tmp_path / 'marker').exists()

    @pytest.mark.parametrize('member, places', [('inner.pth', ['cache']), ('../../../escaped.pth', [])])
    def test_a_zip_from_an_address_stays_in_the_cache(self, address, tmp_path, member, places):
        url, folder = address
        content = io.BytesIO()
        torch.save(dict(weight=torch.ones(2)), content, _use_new_zipfile_serialization=False)
        with zipfile.ZipFile(folder / 'old.pth', 'w') as archive:
            archive.writestr(member, content.getvalue())
        try:
            CheckpointLoader.load_checkpoint(f'{url}/old.pth')
        except (OSError, ValueError):
            assert member != 'inner.pth'  # refused, or not found where it would have escaped to
        found = [path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob(Path(member).name)]
        assert found == places or set(found) == {'cache'}

    def test_a_good_one_loads(self, address):
        url, folder = address
        torch.save(dict(state_dict=dict(weight=torch.ones(2))), folder / 'good.pth')
        assert CheckpointLoader.load_checkpoint(f'{url}/good.pth')['state_dict']['weight'].sum() == 2


QUICKSTART = ROOT / 'configs/quickstart/cgc-lightconv_1xt2k-1k_number-words.py'
DOORS = {  # beside training, resuming and testing, which test_tools.py tries as commands
    'load_from': lambda path, tiny: launch.train(
        str(tiny.config), work_dir=str(path.parent), cfg_options=dict(load_from=str(path))
    ),
    'init_cfg': lambda path, _: Sequential(init_cfg=dict(type='Pretrained', checkpoint=str(path))).init_weights(),
    'converting': lambda path, _: load_state(str(path)),
    'averaging': lambda path, _: average_checkpoints([path], path.parent / 'average.pth'),
    'translating': lambda path, _: Translator(str(QUICKSTART), str(path), device='cpu'),
}


@pytest.mark.parametrize('door', DOORS)
def test_a_checkpoint_cannot_run_a_command_through(door, tiny, own_scope, tmp_path):
    path = tmp_path / 'evil.pth'
    torch.save(dict(state_dict=Command(tmp_path / 'marker')), path)
    with pytest.raises(pickle.UnpicklingError, match='posix.system.*nothing was loaded'):
        DOORS[door](path, tiny)
    assert not (tmp_path / 'marker').exists()


class TestDataFiles:
    @pytest.mark.parametrize(
        'name',
        [
            'os system',
            'builtins eval',
            'builtins getattr',
            'numpy load',
            'torch.storage _load_from_bytes',
            '_codecs lookup',
        ],
    )
    def test_a_cifar_batch_has_no_other_names(self, name):
        content = b'c%b\n%b\n.' % tuple(part.encode() for part in name.split())
        with pytest.raises(ValueError, match=f'asks for {name.replace(" ", ".")}'):
            load_batch(content, 'data_batch_1')

    def test_a_cifar_batch_cannot_smuggle_a_call_into_the_names_it_has(self):
        encode = b'c_codecs\nencode\n(Vabc\nVrot13\ntR.'
        with pytest.raises(ValueError, match='encodes bytes as'):
            load_batch(encode, 'data_batch_1')

    def test_labels_are_read_without_pickles(self, tmp_path):
        marker, content = tmp_path / 'marker', io.BytesIO()
        np.save(content, np.array([Command(marker)], dtype=object), allow_pickle=True)
        with pytest.raises(ValueError, match='train_labels.npy'):
            _labels('train_labels.npy', content.getvalue(), count=1)
        assert not marker.exists()

    @pytest.mark.parametrize(
        'header',
        [
            b'{"a": {"dtype": "F32", "shape": [1000000000], "data_offsets": [0, 4]}}',
            b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 4000000000]}}',
            b'{"a": {"dtype": "object", "shape": [1], "data_offsets": [0, 4]}}',
            b'[' * 50_000,
            pickle.dumps(Command(Path('marker'))),
        ],
        ids=['size', 'offsets', 'dtype', 'nested', 'pickle'],
    )
    def test_odd_safetensors_are_refused(self, tmp_path, monkeypatch, header):
        monkeypatch.chdir(tmp_path)
        path = tmp_path / 'odd.safetensors'
        path.write_bytes(struct.pack('<Q', len(header)) + header + bytes(4))
        with pytest.raises(ValueError, match=r'odd.safetensors is truncated or no file of safetensors'):
            load_state(str(path))
        assert os.listdir(tmp_path) == [path.name]

    def test_a_pickle_by_the_name_of_safetensors_is_no_pickle(self, tmp_path):
        marker, path = tmp_path / 'marker', tmp_path / 'evil.safetensors'
        path.write_bytes(pickle.dumps(Command(marker)))
        with pytest.raises(ValueError, match='no file of safetensors'):
            load_state(str(path))
        assert not marker.exists()

    def test_the_curves_of_a_resumed_run_are_text(self):
        """Resuming reads two more files, and both as text: the note of the last checkpoint, and curves.csv."""
        for name in ('curves', 'safe_checkpoint'):
            source = (ROOT / f'mmcgc/engine/{name}.py').read_text(encoding='utf-8')
            assert 'pickle' not in source and 'eval' not in source


def image() -> bytes:
    content = io.BytesIO()
    Image.new('RGB', (4, 4)).save(content, 'JPEG')
    return content.getvalue()


def archive(path: Path, *members: tuple[str, bytes | str], kind: bytes = tarfile.SYMTYPE) -> Path:
    """A tar with files (bytes) and links, or what else ``kind`` says (text)."""
    with tarfile.open(path, 'w') as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = kind, content
            else:
                member.size = len(content)
            tar.addfile(member, None if isinstance(content, str) else io.BytesIO(content))
    return path


class TestArchives:
    @pytest.mark.parametrize(
        'name',
        [
            '../../train/n01440764/a.JPEG',
            '/train/n01440764/a.JPEG',
            'x/../../../train/n01440764/a.JPEG',
            'C:\\train/n01440764/a.JPEG',
        ],
    )
    def test_images_cannot_leave_the_folder(self, tmp_path, name):
        source = archive(tmp_path / 'evil.tar', ('train/n01440764/b.JPEG', image()), (name, image()))
        with pytest.raises(ValueError, match='no archive to trust.*Nothing was written'):
            prepare_imagenette([source], tmp_path / 'out', partial=True)
        assert [path.name for path in tmp_path.rglob('*.JPEG')] == []

    @pytest.mark.parametrize(
        'kind',
        [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE],
        ids=['link', 'hard-link', 'device', 'pipe'],
    )
    def test_a_link_cannot_lead_them_out(self, tmp_path, kind):
        source = archive(
            tmp_path / 'evil.tar',
            ('train', str(tmp_path / 'elsewhere')),
            ('train/n01440764/a.JPEG', image()),
            kind=kind,
        )
        with pytest.raises(ValueError, match='is a link or a device'):
            prepare_imagenette([source], tmp_path / 'out', partial=True)
        assert not (tmp_path / 'elsewhere').exists()

    def test_a_corpus_is_read_in_memory(self, tmp_path):
        source = archive(tmp_path / 'evil.tar', ('../../train.de', b'ein\n'), ('passwd', '/etc/passwd'))
        files = TextFiles(source, 'train.de')
        assert files.lines('train.de') == ['ein'] and 'passwd' not in files
        assert os.listdir(tmp_path) == ['evil.tar']


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    """Every call in a file, by the dotted name of what is called."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


class TestSources:
    """Properties of the text of every module and tool; SECURITY.md says the same in words."""

    @pytest.mark.parametrize(
        'name',
        [
            'eval',
            'exec',
            'os.system',
            'os.popen',
            'pickle.load',
            'pickle.loads',
            'torch.load',
            'torch.hub.load',
            'yaml.load',
            'shutil.unpack_archive',
        ],
    )
    def test_no_source_calls(self, name):
        assert [str(path) for path in SOURCES for called, _ in calls(path) if called == name] == []

    @pytest.mark.parametrize('method', ['extractall', 'extract'])
    def test_no_archive_is_unpacked(self, method):
        assert [str(path) for path in SOURCES for called, _ in calls(path) if called.endswith(f'.{method}')] == []

    def test_processes_are_started_without_a_shell(self):
        started = [(path, node) for path in SOURCES for called, node in calls(path) if called.startswith('subprocess.')]
        assert started
        for path, node in started:
            assert isinstance(node.args[0], ast.List), f'{path}: {ast.unparse(node)}'
            assert not any(keyword.arg == 'shell' for keyword in node.keywords), f'{path}: {ast.unparse(node)}'

    def test_no_inferencer_builds_the_config_of_a_checkpoint(self):
        assert SOURCES
        assert [str(path) for path in SOURCES for called, _ in calls(path) if called.endswith('Inferencer')] == []


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh'])
def test_names_reach_no_shell(tmp_path, script):
    """Stands in for python and srun by a program that writes its arguments down."""
    for program in ('python', 'srun'):
        stub = tmp_path / program
        stub.write_text('#!/usr/bin/env python3\nimport json, sys\njson.dump(sys.argv[1:], open("arguments", "w"))\n')
        stub.chmod(0o755)
    nasty = ['a; touch marker.py', '$(touch marker)', '`touch marker`', 'x\' y" | touch marker', '* ~ $HOME']
    arguments = nasty if script.startswith('slurm') else [nasty[0], '2', *nasty[1:]]
    if script == 'dist_test.sh':
        arguments = [nasty[0], nasty[1], '2', *nasty[2:]]
    subprocess.run(
        ['bash', ROOT / 'tools' / script, *arguments],
        cwd=tmp_path,
        check=True,
        env=dict(os.environ, PATH=f'{tmp_path}:{os.environ["PATH"]}'),
    )
    received = json.loads((tmp_path / 'arguments').read_text())
    assert not (tmp_path / 'marker').exists()
    assert all(any(name in argument for argument in received) for name in nasty)
