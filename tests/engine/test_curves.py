"""CurvesHook: what a training, a resumed training and a lone validation leave in the work directory."""

import csv

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from mmcgc.engine import CurvesHook

BATCHES = 5


class Slope(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1, bias=False)

    def forward(self, inputs, mode='tensor'):
        loss = self.linear(inputs).square().mean()
        return dict(loss=loss) if mode == 'loss' else [loss]


class Calls(BaseMetric):
    """A metric whose accuracy is the number of validations so far."""

    calls = 0

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        type(self).calls += 1
        return {'accuracy/top1': float(self.calls), 'confusion_matrix': torch.eye(2)}


def make_runner(work_dir, epochs, validate=True, interval=2, **kwargs):
    torch.manual_seed(0)
    loader = DataLoader(torch.ones(BATCHES, 1), batch_size=1, collate_fn=lambda rows: dict(inputs=torch.stack(rows)))
    validation = dict(val_dataloader=loader, val_evaluator=Evaluator([Calls()]), val_cfg=dict()) if validate else {}
    return Runner(
        Slope(),
        str(work_dir),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05)),
        custom_hooks=[CurvesHook(interval)],
        default_hooks=dict(logger=None),
        experiment_name=f'{work_dir.name}-{epochs}-{validate}',
        log_level='WARNING',
        **validation,
        **kwargs,
    )


def read(work_dir):
    with (work_dir / 'curves.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    return {
        name: [(int(row['iter']), float(row['epoch']), float(row['value'])) for row in rows if row['name'] == name]
        for name in dict.fromkeys(row['name'] for row in rows)
    }


@pytest.fixture(autouse=True)
def first_call():
    Calls.calls = 0


def test_a_training_leaves_its_numbers_and_a_picture(tmp_path):
    make_runner(tmp_path, epochs=3).train()
    curves = read(tmp_path)
    assert set(curves) == {'train/loss', 'accuracy/top1'}
    assert curves['accuracy/top1'] == [(5, 1.0, 1.0), (10, 2.0, 2.0), (15, 3.0, 3.0)]
    assert [point[0] for point in curves['train/loss']] == [2, 4, 6, 8, 10, 12, 14, 15]
    losses = [point[2] for point in curves['train/loss']]
    assert losses == sorted(losses, reverse=True)
    assert Image.open(tmp_path / 'curves.png').width > 500


def test_the_loss_is_the_mean_over_the_interval(tmp_path):
    make_runner(tmp_path / 'each', epochs=1, interval=1).train()
    make_runner(tmp_path / 'mean', epochs=1, interval=5).train()
    each, mean = (read(tmp_path / name)['train/loss'] for name in ('each', 'mean'))
    assert len(each) == 5
    assert mean == [(5, 1.0, pytest.approx(sum(point[2] for point in each) / 5))]


def test_a_resumed_run_shows_the_whole_curve(tmp_path):
    make_runner(tmp_path, epochs=3, interval=5).train()
    whole = read(tmp_path)
    Calls.calls = 1
    make_runner(tmp_path, epochs=3, interval=5, load_from=str(tmp_path / 'epoch_1.pth'), resume=True).train()
    resumed = read(tmp_path)
    assert resumed['accuracy/top1'] == whole['accuracy/top1']
    assert resumed['train/loss'] == [(i, e, pytest.approx(value)) for i, e, value in whole['train/loss']]


def test_a_new_run_starts_a_new_curve(tmp_path):
    for epochs in (3, 2):
        make_runner(tmp_path, epochs).train()
    assert [point[0] for point in read(tmp_path)['accuracy/top1']] == [5, 10]


def test_a_training_without_validation_has_its_picture_too(tmp_path):
    make_runner(tmp_path, epochs=1, validate=False).train()
    assert set(read(tmp_path)) == {'train/loss'}
    assert (tmp_path / 'curves.png').exists()


def test_a_lone_validation_writes_nothing(tmp_path):
    make_runner(tmp_path, epochs=1).val()
    assert not list(tmp_path.glob('curves.*'))


@pytest.mark.parametrize('interval', [0, -1])
def test_an_unfit_interval_is_refused(interval):
    with pytest.raises(ValueError, match=str(interval)):
        CurvesHook(interval)
