"""The moving digits configs: order of frames, training, and two processes with a resume."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from helpers import ROOT, free_port
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS

from mmcgc.checkpoints.latest import latest_checkpoint

QUICKSTART = ROOT / 'configs' / 'quickstart'
PATHS = {name: QUICKSTART / f'{name}-resnet10_1xb64-1x1x8-5e_moving-digits.py' for name in ('tsn', 'tsn-cgc')}


@pytest.fixture(scope='module')
def batch(tmp_path_factory):
    """Eight clips through the test pipeline, as the data loader gives them."""
    dataset = deepcopy(Config.fromfile(PATHS['tsn']).test_dataloader.dataset)
    dataset.update(data_root=str(tmp_path_factory.mktemp('clips')), num_clips=8)
    with DATASETS.switch_scope_and_registry('mmaction') as registry:
        samples = list(registry.build(dataset))
    return dict(inputs=[s['inputs'] for s in samples], data_samples=[s['data_samples'] for s in samples])


@pytest.fixture(params=PATHS)
def name(request):
    return request.param


@pytest.fixture
def model(name):
    torch.manual_seed(0)
    with MODELS.switch_scope_and_registry('mmaction') as registry:
        model = registry.build(Config.fromfile(PATHS[name]).model)
    model.init_weights()
    return model


def test_a_step_moves_every_parameter(name, model, batch):
    wrapper = build_optim_wrapper(model, Config.fromfile(PATHS[name]).optim_wrapper)
    before = {key: value.clone() for key, value in model.named_parameters()}
    for _ in range(2):  # the last norm of a block starts at zero, so what is before it moves from the second step on
        losses = model.train()(**model.data_preprocessor(batch, True), mode='loss')
        wrapper.update_params(model.parse_losses(losses)[0])
    assert [key for key, value in model.named_parameters() if torch.equal(value, before[key])] == []


def test_only_the_gates_see_the_order_of_the_frames(name, model, batch):
    model.train()(**model.data_preprocessor(batch, True), mode='loss')  # statistics of the norms
    forth, back = (
        [
            sample.pred_score
            for sample in model.eval().test_step(
                dict(batch, inputs=[clip.flip(0) if flip else clip for clip in batch['inputs']])
            )
        ]
        for flip in (False, True)
    )
    difference = (torch.stack(forth) - torch.stack(back)).abs().max().item()
    assert difference < 1e-6 if name == 'tsn' else difference > 1e-5


def last_accuracy(work_dir: Path) -> float:
    log = max(work_dir.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for line in log.read_text().splitlines() if 'acc/top1' in line][-1]['acc/top1']


@pytest.mark.slow
def test_two_processes_train_and_resume(run_tool, tmp_path):
    """Minutes: three starts of the tools in two processes each, decoding in workers."""
    few = [
        '--cfg-options',
        'train_dataloader.dataset.num_clips=64',
        'val_dataloader.dataset.num_clips=16',
        f'train_dataloader.dataset.data_root={tmp_path}/clips',
        f'val_dataloader.dataset.data_root={tmp_path}/clips',
        'train_dataloader.batch_size=8',
        'param_scheduler.total_steps=2',
    ]
    command = ['dist_train.sh', PATHS['tsn-cgc'], 2, '--work-dir', tmp_path / 'run']
    run_tool(*command, *few, 'train_cfg.max_epochs=1', PORT=free_port())
    first = torch.load(latest_checkpoint(tmp_path / 'run'))['state_dict']
    done = run_tool(*command, '--resume', *few, 'train_cfg.max_epochs=2', PORT=free_port())
    assert 'resumed epoch: 1' in done.stdout + done.stderr
    second = torch.load(latest_checkpoint(tmp_path / 'run'))
    assert second['meta']['iter'] == 2 * 64 // (2 * 8)
    assert any(not torch.equal(value, first[key]) for key, value in second['state_dict'].items())


@pytest.mark.slow
def test_only_context_over_time_learns_the_direction(run_tool, tmp_path):
    """Minutes: both configs as they are, with clips of their own."""
    accuracies = {}
    for name, path in PATHS.items():
        roots = [f'{phase}_dataloader.dataset.data_root={tmp_path}' for phase in ('train', 'val')]
        run_tool('train.py', path, '--work-dir', tmp_path / name, '--cfg-options', *roots, OMP_NUM_THREADS='2')
        accuracies[name] = last_accuracy(tmp_path / name)
    assert accuracies['tsn'] <= 0.2 and accuracies['tsn-cgc'] >= 0.95, accuracies
