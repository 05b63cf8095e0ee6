"""A resumed run removes nothing because a file said so: not elsewhere, and not here what it did not write."""

import json
import shutil

import pytest
import torch

from mmcgc.apis import launch
from mmcgc.checkpoints.average import last_checkpoints
from mmcgc.checkpoints.record import RECORD

OPTIONS = {'default_hooks.checkpoint': dict(type='CheckpointHook', interval=1, max_keep_ckpts=1, save_best='auto')}


@pytest.fixture
def better(monkeypatch):
    """Every validation is better than the one before, so that a new best checkpoint is due."""
    monkeypatch.setattr(
        'mmcgc.engine.safe_checkpoint.SafeCheckpointHook.rule_map', dict(greater=lambda *_: True, less=lambda *_: True)
    )


def train(tiny, work_dir, epochs: int, resume=None) -> list[str]:
    launch.train(
        str(tiny.config), work_dir=str(work_dir), resume=resume, cfg_options={**OPTIONS, 'train_cfg.max_epochs': epochs}
    )
    return sorted(path.name for path in work_dir.glob('*.pth'))


def test_a_hostile_checkpoint_removes_nothing(tiny, trained, own_scope, tmp_path, better):
    elsewhere, work_dir = tmp_path / 'elsewhere', tmp_path / 'run'
    elsewhere.mkdir()
    work_dir.mkdir()
    (elsewhere / 'thesis.tex').touch()
    mine = ['best_accuracy_top1_epoch_1.pth', 'epoch_1.pth', 'notes.pth']
    for name in mine:
        (work_dir / name).touch()
    evil = torch.load(trained / 'epoch_2.pth')
    for name in (str(elsewhere), str(work_dir / mine[0])):
        info = dict(best_ckpt=name, best_score=-1.0, keep_ckpt_ids=[0, 1], last_ckpt=name)
        evil['message_hub']['runtime_info'].update(info)
        evil['message_hub']['resumed_keys'].update(dict.fromkeys(info, True))
        torch.save(evil, work_dir / 'epoch_2.pth')
        left = train(tiny, work_dir, 3, str(work_dir / 'epoch_2.pth'))
        assert {*mine, 'epoch_3.pth', 'best_accuracy_top1_epoch_3.pth'} <= set(left)
        assert (elsewhere / 'thesis.tex').exists()
        (work_dir / RECORD).unlink()


def test_going_on_elsewhere_leaves_the_first_run_whole(tiny, own_scope, tmp_path, better):
    first, second = tmp_path / 'first', tmp_path / 'second'
    before = train(tiny, first, 1)
    assert before == ['best_accuracy_top1_epoch_1.pth', 'epoch_1.pth']
    assert train(tiny, second, 2, str(first / 'epoch_1.pth')) == ['best_accuracy_top1_epoch_2.pth', 'epoch_2.pth']
    assert sorted(path.name for path in first.glob('*.pth')) == before
    copy = shutil.copytree(first, tmp_path / 'copy')
    assert train(tiny, copy, 2, 'auto') == ['best_accuracy_top1_epoch_2.pth', 'epoch_2.pth']
    assert sorted(path.name for path in first.glob('*.pth')) == before


def test_a_resumed_run_removes_its_own(tiny, own_scope, tmp_path, better):
    train(tiny, tmp_path, 1)
    assert train(tiny, tmp_path, 2, 'auto') == ['best_accuracy_top1_epoch_2.pth', 'epoch_2.pth']
    assert json.loads((tmp_path / RECORD).read_text()) == {'best_accuracy_top1_epoch_2.pth': 2, 'epoch_2.pth': 2}


def test_a_damaged_note_is_named(tiny, own_scope, tmp_path):
    (tmp_path / RECORD).write_text('{"epoch_1.pth"')
    with pytest.raises(ValueError, match=f'{RECORD} is damaged.*delete it'):
        train(tiny, tmp_path, 1)


class TestLastCheckpoints:
    @pytest.fixture
    def work_dir(self, tmp_path):
        for number in (15, 30, 45, 60):
            (tmp_path / f'iter_{number}.pth').touch()
        return tmp_path

    @staticmethod
    def names(paths):
        return [path.name for path in paths]

    def test_what_comes_after_the_last_one_is_of_another_run(self, work_dir):
        (work_dir / 'last_checkpoint').write_text('iter_30.pth')
        assert self.names(last_checkpoints(work_dir, 2)) == ['iter_15.pth', 'iter_30.pth']
        with pytest.raises(FileNotFoundError, match='2 checkpoints.*fewer than 3'):
            last_checkpoints(work_dir, 3)

    def test_so_is_what_the_note_does_not_name(self, work_dir):
        (work_dir / 'last_checkpoint').write_text('iter_60.pth')
        (work_dir / RECORD).write_text(json.dumps({f'iter_{number}.pth': number for number in (15, 30, 60)}))
        assert self.names(last_checkpoints(work_dir, 2)) == ['iter_30.pth', 'iter_60.pth']
