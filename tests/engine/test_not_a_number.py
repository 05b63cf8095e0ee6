"""Weights and scores that are no numbers end a tool with an error, never with a result."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import ROOT
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader

from mmcgc.apis import launch
from mmcgc.checkpoints.average import average_checkpoints
from mmcgc.checkpoints.convert import load_state
from mmcgc.checkpoints.load import check_finite, load_weights
from mmcgc.engine import each_sample_once
from mmcgc.engine.each_sample_once import EachSampleOnceHook


@pytest.fixture(params=[float('nan'), float('inf')], ids=['nan', 'inf'])
def broken(request, tmp_path) -> Path:
    model = torch.nn.Linear(2, 3)
    with torch.no_grad():
        model.weight[1] = request.param
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'broken.pth')
    return tmp_path / 'broken.pth'


LOADERS = {
    'for use': lambda path: load_weights(torch.nn.Linear(2, 3), str(path), 'x.py'),
    'to average': lambda path: average_checkpoints([path], path.with_name('average.pth')),
    'to convert': lambda path: load_state(str(path)),
}


@pytest.mark.parametrize('loader', LOADERS)
def test_weights_are_checked_once_when_loaded(broken, loader):
    with pytest.raises(ValueError, match=r'broken\.pth: weight is not finite: 2 of its 6 values'):
        LOADERS[loader](broken)
    assert [path.name for path in broken.parent.iterdir()] == ['broken.pth']


def test_a_test_is_refused(tiny, trained, own_scope, tmp_path):
    checkpoint = torch.load(trained / 'epoch_2.pth')
    checkpoint['state_dict']['head.fc.bias'][0] = float('nan')
    torch.save(checkpoint, tmp_path / 'broken.pth')
    with pytest.raises(ValueError, match=r'head\.fc\.bias is not finite: 1 of its 4'):
        launch.test(str(tiny.config), str(tmp_path / 'broken.pth'), work_dir=str(tmp_path))


def test_a_mask_is_no_broken_weight():
    mask = torch.full((3, 3), float('-inf')).triu(1)
    check_finite(dict(mask=mask, count=torch.tensor(1)), 'x.pth')
    with pytest.raises(ValueError, match='mask is not finite'):
        check_finite(dict(mask=mask + 1), 'x.pth')


def loader(batches, count: int) -> DataLoader:
    return DataLoader([0] * count, batch_sampler=batches)


@pytest.mark.parametrize(
    'ranks',
    [([0, 1, 2, 3], [4, 5, 2, 3]), ([0, 1, 2], [3, 4]), ([0, 2, 4], [1, 3, 3])],
    ids=['twice', 'uneven', 'padded'],
)
def test_samples_that_would_not_count_once_are_refused(monkeypatch, ranks):
    count = max(max(rank) for rank in ranks) + 1 + (len(ranks[0]) == 3 and 5 in ranks[1])
    monkeypatch.setattr(each_sample_once, 'all_gather_object', lambda mine: list(ranks))
    runner = SimpleNamespace(test_dataloader=loader([list(ranks[0])], count))
    if ranks[1] == [1, 3, 3]:  # as DefaultSampler pads: in turn, and cut to the length
        EachSampleOnceHook().before_test_epoch(runner)
    else:
        with pytest.raises(ValueError, match=f'of {count} samples .*DefaultSampler'):
            EachSampleOnceHook().before_test_epoch(runner)


def test_too_few_results_and_broken_scores_are_errors():
    hook, runner = EachSampleOnceHook(), SimpleNamespace(test_dataloader=loader([[0, 1], [2]], 3))
    hook.before_test_epoch(runner)
    good = BaseDataElement(pred_score=torch.ones(2))
    hook.after_test_iter(runner, 0, outputs=[good, good])
    with pytest.raises(ValueError, match='2 results for 3 samples'):
        hook.after_test_iter(runner, 1, outputs=[])
    with pytest.raises(FloatingPointError, match='pred_score of a sample in batch 0 is NaN'):
        hook.after_test_iter(runner, 0, outputs=[BaseDataElement(pred_score=torch.tensor([float('nan')]))])


@pytest.mark.parametrize('label, fine', [([3], True), ([4], False), ([0, 4], False), ([-1], True)])
def test_a_label_beyond_the_classes_is_an_error(label, fine):
    hook, runner = EachSampleOnceHook(), SimpleNamespace(test_dataloader=loader([[0]], 1))
    hook.before_test_epoch(runner)
    outputs = [BaseDataElement(pred_score=torch.ones(4), gt_label=torch.tensor(label))]
    if fine:
        hook.after_test_iter(runner, 0, outputs=outputs)
    else:
        with pytest.raises(ValueError, match='the label 4 of a sample of list is beyond the 4 classes'):
            hook.after_test_iter(runner, 0, outputs=outputs)


def test_images_with_too_many_classes_are_not_scored(tiny, trained, own_scope, tmp_path):
    (tmp_path / 'list.txt').write_text('class0/0.png 0\nclass1/0.png 4\n')
    listed = {'test_dataloader.dataset.ann_file': str(tmp_path / 'list.txt')}
    with pytest.raises(ValueError, match=r'the label 4 of a sample of .*list\.txt is beyond the 4 classes'):
        launch.test(str(tiny.config), str(trained / 'epoch_2.pth'), work_dir=str(tmp_path), cfg_options=listed)


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_a_missing_config_is_one_line(tool):
    command = [sys.executable, ROOT / 'tools' / tool, 'none.py', *(['none.pth'] if tool == 'test.py' else [])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "error: no config file 'none.py'" in done.stderr
    assert 'Traceback' not in done.stderr
