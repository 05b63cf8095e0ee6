"""Checkpoints are whole or not there; what ends a training in between costs at most what came after the last one."""

import io
import os
import resource
import shutil
from pathlib import Path

import pytest
import torch

from mmcgc.apis import launch
from mmcgc.checkpoints.latest import latest_checkpoint
from mmcgc.engine.safe_checkpoint import WholeFileBackend


@pytest.fixture
def file_limit():
    """Sets the largest size of a file that this process may write, for the length of a test."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, file_limit):
    path = tmp_path / 'a.pth'
    backend = WholeFileBackend()
    backend.put(b'old', path)
    file_limit(1000)
    with pytest.raises(OSError, match=r'File too large \(5000 bytes\).*a\.pth'):
        backend.put(bytes(5000), path)
    assert path.read_bytes() == b'old' and os.listdir(tmp_path) == ['a.pth']


def test_an_interruption_in_mid_write_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / 'deep/a.pth'
    backend = WholeFileBackend()
    backend.put(b'old', path)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'replace', interrupted)
    with pytest.raises(KeyboardInterrupt):
        backend.put(b'new', path)
    assert path.read_bytes() == b'old' and os.listdir(path.parent) == ['a.pth']


KEEP_ONE = {'default_hooks.checkpoint': dict(type='CheckpointHook', interval=1, max_keep_ckpts=1, save_best='auto')}


@pytest.mark.parametrize('full_at', ['epoch_2.pth', 'best_accuracy_top1_epoch_2.pth'])
def test_a_full_disk_names_the_last_good_checkpoint(tiny, own_scope, tmp_path, monkeypatch, full_at):
    """/dev/full behaves as a file on a full disk; with one checkpoint to keep, its predecessor must outlive the try."""
    put = WholeFileBackend.put

    def put_until_full(self, obj, filepath):
        if Path(filepath).name == full_at:
            path = Path(filepath)
            path.with_name(f'.{path.stem}.{os.getpid()}.part.pth').symlink_to('/dev/full')
        put(self, obj, filepath)

    monkeypatch.setattr(WholeFileBackend, 'put', put_until_full)
    # The accuracy of the second epoch is better than any before it, so that a new best checkpoint is due.
    monkeypatch.setattr(
        'mmcgc.engine.safe_checkpoint.SafeCheckpointHook.rule_map', dict(greater=lambda *_: True, less=lambda *_: True)
    )
    last = 'epoch_1.pth' if full_at == 'epoch_2.pth' else 'epoch_2.pth'
    with pytest.raises(
        OSError,
        match=rf'No space left on device \(\d+ bytes\), writing .*{full_at}; .* MB are free.*'
        rf'{last}, is whole: go on with --resume once there is room',
    ):
        launch.train(str(tiny.config), work_dir=str(tmp_path), cfg_options=KEEP_ONE)
    left = sorted(path.name for path in tmp_path.glob('*.pth'))
    assert 'best_accuracy_top1_epoch_1.pth' in left and full_at not in left and not any('.part' in n for n in left)
    assert torch.load(latest_checkpoint(tmp_path))['meta']['epoch'] == int(last[6])
    monkeypatch.undo()


def test_old_checkpoints_and_half_written_ones_are_removed_in_the_end(tiny, own_scope, tmp_path):
    (tmp_path / '.epoch_1.17.part.pth').write_bytes(b'PK')
    launch.train(str(tiny.config), work_dir=str(tmp_path), cfg_options=KEEP_ONE)
    kept = sorted(path.name for path in tmp_path.glob('*.pth'))
    assert len(kept) == 2 and kept[0].startswith('best_accuracy') and kept[1] == 'epoch_2.pth'


class TestLatestCheckpoint:
    @pytest.fixture
    def work_dir(self, tmp_path):
        folder = tmp_path / 'run'
        folder.mkdir()
        for number, name in enumerate(['epoch_7.pth', 'epoch_2.pth', 'best_acc_epoch_9.pth', '.epoch_3.17.part.pth']):
            (folder / name).touch()
            os.utime(folder / name, (number, number))
        return folder

    def test_is_the_one_that_the_note_names(self, work_dir):
        (work_dir / 'last_checkpoint').write_text(str(work_dir / 'epoch_7.pth'))
        assert latest_checkpoint(work_dir) == str(work_dir / 'epoch_7.pth')

    def test_is_found_where_the_folder_is_now(self, work_dir, tmp_path):
        (work_dir / 'last_checkpoint').write_text('/somewhere/else/epoch_7.pth')
        moved = shutil.move(work_dir, tmp_path / 'moved')
        assert latest_checkpoint(moved) == str(tmp_path / 'moved/epoch_7.pth')

    @pytest.mark.parametrize('note', ['', None], ids=['empty', 'none'])
    def test_is_the_youngest_without_a_note(self, work_dir, note):
        if note is not None:
            (work_dir / 'last_checkpoint').write_text(note)
        assert latest_checkpoint(work_dir) == str(work_dir / 'epoch_2.pth')

    def test_is_none_in_an_empty_folder(self, tmp_path):
        assert latest_checkpoint(tmp_path) is None and latest_checkpoint(tmp_path / 'none') is None

    def test_that_is_gone_is_an_error(self, work_dir):
        (work_dir / 'last_checkpoint').write_text('epoch_8.pth')
        with pytest.raises(FileNotFoundError, match=r'epoch_8\.pth, which is gone: name a checkpoint'):
            latest_checkpoint(work_dir)


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def one_bit(content: bytes) -> bytes:
    """Another bit in the weights of the classifier, which torch.load does not notice."""
    weight = torch.load(io.BytesIO(content))['state_dict']['head.fc.weight'].numpy().tobytes()
    assert content.count(weight) == 1
    flipped = bytearray(content)
    flipped[content.find(weight) + 2] ^= 64
    loaded = torch.load(io.BytesIO(flipped))['state_dict']['head.fc.weight']
    assert loaded.numpy().tobytes() != weight, 'the bit is not one of the weights'
    return bytes(flipped)


@pytest.mark.parametrize('damage, said', [(half, 'truncated'), (one_bit, r'damaged: \w+/data/\d+ does not fit')])
def test_a_damaged_checkpoint_is_not_taken_for_a_good_one(tiny, trained, own_scope, tmp_path, damage, said):
    (tmp_path / 'epoch_2.pth').write_bytes(damage((trained / 'epoch_2.pth').read_bytes()))
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_2.pth'))
    with pytest.raises(ValueError, match=rf'epoch_2.pth \(\d+ bytes\) is {said}'):
        launch.train(str(tiny.config), work_dir=str(tmp_path), resume='auto')


def test_resuming_before_the_first_checkpoint_starts_as_the_config_says(tiny, trained, own_scope, tmp_path):
    options = {
        'load_from': str(trained / 'epoch_2.pth'),
        'train_cfg.max_epochs': 1,
        'optim_wrapper.optimizer.lr': 1e-12,
    }
    runner = launch.train(
        str(tiny.config), work_dir=str(tmp_path), resume='auto', no_validate=True, cfg_options=options
    )
    started = torch.load(trained / 'epoch_2.pth')['state_dict']['backbone.conv1.weight']
    torch.testing.assert_close(runner.model.backbone.conv1.weight.data, started)
