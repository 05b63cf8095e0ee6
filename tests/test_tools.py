"""The command-line tools, run as a user runs them: alone, distributed, interrupted, and with mistakes."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mmengine
import pytest
import torch
from helpers import ROOT, free_port, tool_environment
from mmengine.device import get_device

from mmcgc.apis import launch

ON_CPU = pytest.mark.skipif(get_device() != 'cpu', reason='about machines without an accelerator')


def last_validation(work_dir: Path) -> float:
    """The accuracy of the last validation of the latest run in a folder, from its log."""
    log = max(work_dir.glob('*/vis_data/scalars.json'))
    return [json.loads(line) for line in log.read_text().splitlines() if 'accuracy/top1' in line][-1]['accuracy/top1']


def weights(work_dir: Path, rank: int = 0) -> dict:
    return torch.load(work_dir / f'rank{rank}.pt')


def assert_same_weights(actual: dict, expected: dict, **tolerance) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, msg=lambda text, name=name: f'{name}: {text}', **tolerance)


def scores(path: Path) -> torch.Tensor:
    """(N, classes) of a file of predictions."""
    return torch.stack([sample['pred_score'] for sample in mmengine.load(path)])


@pytest.fixture(scope='module')
def tested(tiny, trained, run_tool) -> SimpleNamespace:
    """What tools/test.py says of the trained run: ``metrics`` and ``scores``."""
    metrics, predictions = tiny.root / 'metrics.json', tiny.root / 'predictions.pkl'
    run_tool(
        'test.py',
        tiny.config,
        trained / 'epoch_2.pth',
        '--work-dir',
        tiny.root / 'tested',
        '--out',
        metrics,
        '--out-item',
        'metrics',
        '--dump',
        predictions,
    )
    return SimpleNamespace(metrics=mmengine.load(metrics), scores=scores(predictions))


def test_test_repeats_the_last_validation(trained, tested):
    assert tested.metrics['accuracy/top1'] == pytest.approx(last_validation(trained))
    assert tested.scores.shape == (20, 4) and tested.scores.std(0).min() > 0


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tiny, trained, run_tool):
    work_dir = tiny.root / 'interrupted'
    broken = run_tool('train.py', tiny.config, '--work-dir', work_dir, check=False, BREAK_OFF_AT_EPOCH='1')
    assert broken.returncode != 0 and not (work_dir / 'epoch_2.pth').exists()
    done = run_tool('train.py', tiny.config, '--work-dir', work_dir, '--resume')
    assert 'resumed epoch: 1' in done.stdout + done.stderr
    assert_same_weights(weights(work_dir), weights(trained))


def test_options_reach_the_run(tiny, run_tool):
    done = run_tool(
        'train.py',
        tiny.config,
        '--amp',
        '--no-validate',
        '--auto-scale-lr',
        '--seed',
        '5',
        '--deterministic',
        '--cfg-options',
        'train_cfg.max_epochs=1',
        'train_dataloader.persistent_workers=True',
    )
    work_dir = tiny.root / 'work_dirs/tiny'
    log = done.stdout + done.stderr
    assert 'Scaling the original LR by 0.5' in log and 'Epoch(val)' not in log
    cfg = mmengine.Config.fromfile(work_dir / 'tiny.py')
    assert cfg.val_dataloader is None and cfg.train_cfg.max_epochs == 1
    assert cfg.randomness == dict(seed=5, deterministic=True)
    assert cfg.optim_wrapper.type == ('mmcgc.BFloat16OptimWrapper' if get_device() == 'cpu' else 'AmpOptimWrapper')
    assert all(value.isfinite().all() for value in weights(work_dir).values())


@ON_CPU
def test_distributed_training_and_testing(tiny, trained, tested, run_tool, own_scope, tmp_path):
    work_dir = tiny.root / 'distributed'
    run_tool(
        'dist_train.sh',
        tiny.config,
        2,
        '--work-dir',
        work_dir,
        '--cfg-options',
        'train_cfg.max_epochs=1',
        PORT=free_port(),
    )
    assert_same_weights(weights(work_dir, 0), weights(work_dir, 1), rtol=0, atol=0)

    first = weights(work_dir)
    done = run_tool('dist_train.sh', tiny.config, 2, '--work-dir', work_dir, '--resume', PORT=free_port())
    assert 'resumed epoch: 1' in done.stdout + done.stderr
    assert_same_weights(weights(work_dir, 0), weights(work_dir, 1), rtol=0, atol=0)
    assert not torch.equal(first['backbone.conv1.weight'], weights(work_dir)['backbone.conv1.weight'])
    alone = launch.test(str(tiny.config), str(work_dir / 'epoch_2.pth'), work_dir=str(tmp_path))
    assert alone['accuracy/top1'] == pytest.approx(last_validation(work_dir))

    metrics, predictions = tiny.root / 'metrics2.json', tiny.root / 'predictions2.pkl'
    run_tool(
        'dist_test.sh',
        tiny.config,
        trained / 'epoch_2.pth',
        2,
        '--work-dir',
        work_dir,
        '--out',
        metrics,
        '--out-item',
        'metrics',
        '--dump',
        predictions,
        PORT=free_port(),
    )
    assert mmengine.load(metrics) == tested.metrics
    torch.testing.assert_close(scores(predictions), tested.scores)


@ON_CPU
def test_the_slurm_launcher(tiny):
    work_dir, port = tiny.root / 'slurm', free_port()
    command = [
        sys.executable,
        ROOT / 'tools/train.py',
        tiny.config,
        '--work-dir',
        work_dir,
        '--launcher',
        'slurm',
        '--no-validate',
        '--cfg-options',
        'train_cfg.max_epochs=1',
    ]
    tasks = [
        subprocess.Popen(
            command,
            cwd=tiny.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=tool_environment(
                tiny,
                SLURM_PROCID=str(rank),
                SLURM_LOCALID=str(rank),
                SLURM_NTASKS='2',
                SLURM_NODELIST='localhost',
                MASTER_ADDR='127.0.0.1',
                MASTER_PORT=port,
            ),
        )
        for rank in range(2)
    ]
    logs = [task.communicate(timeout=300)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], logs
    assert_same_weights(weights(work_dir, 0), weights(work_dir, 1), rtol=0, atol=0)


class Command:
    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_a_checkpoint_cannot_run_a_command(tiny, run_tool, tmp_path, tool):
    marker, evil = tmp_path / 'marker', tmp_path / 'evil.pth'
    content = dict(meta=dict(epoch=1, iter=4), state_dict=Command(f'touch {marker}'))
    if tool == 'train.py':
        torch.save(content, evil)
        arguments = ['--resume', evil]
    else:
        evil.write_bytes(pickle.dumps(content, protocol=2))
        arguments = [evil]
    done = run_tool(tool, tiny.config, *arguments, '--work-dir', tmp_path, check=False)
    assert done.returncode != 0 and 'nothing was loaded' in done.stderr and not marker.exists()


def test_the_config_inside_a_checkpoint_is_not_run(tiny, trained, run_tool, tmp_path):
    marker, evil = tmp_path / 'marker', tmp_path / 'evil.pth'
    checkpoint = torch.load(trained / 'epoch_2.pth')
    checkpoint['meta']['config'] = f'__import__("os").system("touch {marker}")\n'
    torch.save(checkpoint, evil)
    run_tool(
        'train.py',
        tiny.config,
        '--resume',
        evil,
        '--work-dir',
        tmp_path,
        '--no-validate',
        '--cfg-options',
        'train_cfg.max_epochs=3',
    )
    assert (tmp_path / 'epoch_3.pth').exists() and not marker.exists()


def test_a_misspelt_layer_is_named(tiny, own_scope, tmp_path):
    options = {'model.backbone.conv_cfg.type': 'CGCov'}
    with pytest.raises(ValueError, match="conv_cfg has type='CGCov', the nearest known names are .*CGConv"):
        launch.train(str(tiny.config), work_dir=str(tmp_path), cfg_options=options)


PLAIN = {'model.backbone.conv_cfg': None}


@pytest.mark.parametrize(
    'options, complaint',
    [
        (PLAIN, r'0 missing, \d+ \(backbone\S+gate\..*\) unexpected, 0 of another shape'),
        ({'model.backbone.depth': 14}, r'\d+ \(backbone.layer1.1.*\) missing, 0 unexpected'),
        (
            {'model.head.num_classes': 5},
            r'0 missing, 0 unexpected, 2 \(head.fc.weight, head.fc.bias\) of another shape',
        ),
    ],
    ids=['plain', 'deeper', 'other-head'],
)
@pytest.mark.parametrize('mode', ['test', 'resume'])
def test_a_checkpoint_of_another_architecture_is_refused(tiny, trained, own_scope, tmp_path, mode, options, complaint):
    checkpoint = str(trained / 'epoch_2.pth')
    with pytest.raises(ValueError, match=complaint):
        if mode == 'test':
            launch.test(str(tiny.config), checkpoint, work_dir=str(tmp_path), cfg_options=options)
        else:
            launch.train(str(tiny.config), resume=checkpoint, work_dir=str(tmp_path), cfg_options=options)


def test_fine_tuning_takes_what_fits(tiny, trained, own_scope, tmp_path):
    plain = torch.load(trained / 'epoch_2.pth')
    plain['state_dict'] = {key: value for key, value in plain['state_dict'].items() if '.gate.' not in key}
    torch.save(plain, tmp_path / 'plain.pth')
    options = {
        'load_from': str(tmp_path / 'plain.pth'),
        'model.head.num_classes': 5,
        'train_cfg.max_epochs': 1,
        'optim_wrapper.optimizer.lr': 1e-9,
    }
    runner = launch.train(str(tiny.config), work_dir=str(tmp_path), no_validate=True, cfg_options=options)
    torch.testing.assert_close(runner.model.backbone.conv1.weight.data, plain['state_dict']['backbone.conv1.weight'])


@pytest.mark.parametrize(
    'options, error, complaint',
    [
        (dict(config='none.py'), FileNotFoundError, "no config file 'none.py'"),
        (dict(resume='none.pth'), FileNotFoundError, "no checkpoint 'none.pth'"),
        (dict(auto_scale_lr=True, cfg_options={'auto_scale_lr': None}), ValueError, "no 'auto_scale_lr' to change"),
        (dict(amp=True, cfg_options={'optim_wrapper.type': 'ApexOptimWrapper'}), ValueError, 'drop --amp'),
    ],
    ids=['config', 'resume', 'auto-scale-lr', 'amp'],
)
def test_mistakes_in_training(tiny, options, error, complaint):
    with pytest.raises(error, match=complaint):
        launch.train(**{'config': str(tiny.config), **options})


@pytest.mark.parametrize(
    'options, error, complaint',
    [
        (dict(checkpoint='none.pth'), FileNotFoundError, "no checkpoint 'none.pth'"),
        (dict(out='out.txt'), ValueError, "cannot write 'out.txt'.*.pkl"),
        (dict(out='out.txt', out_item='metrics'), ValueError, "cannot write 'out.txt'.*.json"),
        (dict(show_dir='there'), ValueError, "--show-dir: the config has no 'visualization'"),
        (dict(tta=True, cfg_options={'default_scope': 'mmaction'}), ValueError, 'lacks tta_model'),
    ],
    ids=['checkpoint', 'out', 'metrics', 'show-dir', 'tta'],
)
def test_mistakes_in_testing(tiny, options, error, complaint):
    with pytest.raises(error, match=complaint):
        launch.test(**{'config': str(tiny.config), 'checkpoint': __file__, **options})


@pytest.mark.parametrize('options', [dict(tta=True), dict(amp=True)], ids=['flipped', 'mixed-precision'])
def test_other_ways_to_test(tiny, trained, tested, own_scope, tmp_path, options):
    metrics = launch.test(
        str(tiny.config),
        str(trained / 'epoch_2.pth'),
        work_dir=str(tmp_path),
        out=str(tmp_path / 'other.pkl'),
        **options,
    )
    other = scores(tmp_path / 'other.pkl').float()
    assert 'accuracy/top1' in metrics and not torch.equal(other, tested.scores)
    torch.testing.assert_close(other, tested.scores, rtol=0, atol=0.2)
