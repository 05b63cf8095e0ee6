"""Several ranks train as one does; one that dies ends the job with its error, and any number of ranks goes on."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from helpers import ROOT, free_port

from mmcgc.checkpoints.latest import latest_checkpoint

pytestmark = pytest.mark.slow


def dist_train(run_tool, config: Path, nodes: int, ranks: int, work_dir: Path, *arguments, **options) -> list:
    """``dist_train.sh`` on so many "nodes" of this host, which meet at a port, with so many ranks on each.

    ``{node}`` in the name of ``work_dir`` is the number of the node.  Returns the finished process of each node.
    """
    options.update(NNODES=str(nodes), MASTER_ADDR='127.0.0.1', PORT=free_port())

    def start(node: int) -> subprocess.CompletedProcess:
        return run_tool(
            'dist_train.sh',
            config,
            ranks,
            '--work-dir',
            str(work_dir).format(node=node),
            *arguments,
            **options,
            NODE_RANK=str(node),
        )

    with ThreadPoolExecutor(nodes) as pool:
        return list(pool.map(start, range(nodes)))


# Adam makes whole steps of gradients that are zero but for rounding, such as that of the bias of an attention's keys.
NO_STEPS_OF_ROUNDING = 'optim_wrapper.optimizer.eps=1e-3'


def training(kind: str, ranks: int, root: Path) -> tuple[Path, list[str]]:
    """A config of gated layers and options that leave nothing to chance: a global batch of 12 images or clips, or of
    four token batches, which fewer ranks accumulate; norms that keep their statistics."""
    quickstart = ROOT / 'configs' / 'quickstart'
    if kind == 'images':
        return root / 'tiny.py', [f'train_dataloader.batch_size={12 // ranks}', 'model.backbone.norm_eval=True']
    if kind == 'clips':
        return quickstart / 'tsn-cgc-resnet10_1xb64-1x1x8-5e_moving-digits.py', [
            f'train_dataloader.batch_size={12 // ranks}',
            'model.backbone.norm_eval=True',
            'train_cfg.max_epochs=2',
            'train_dataloader.dataset.num_clips=24',
            f'train_dataloader.dataset.data_root={root}/clips',
            'param_scheduler.total_steps=2',
            NO_STEPS_OF_ROUNDING,
        ]
    steps = dict.fromkeys(['train_cfg.max_iters', 'default_hooks.checkpoint.interval'], 24 // ranks)
    return quickstart / 'cgc-lightconv_1xt2k-1k_number-words.py', [
        'train_dataloader.batch_sampler.max_tokens=200',
        f'optim_wrapper.accumulative_counts={4 // ranks}',
        'param_scheduler=[]',
        NO_STEPS_OF_ROUNDING,
        *(f'{key}={value}' for key, value in steps.items()),
    ]


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1e-3))


@pytest.mark.parametrize('kind', ['images', 'clips', 'sentences'])
def test_one_two_and_four_ranks_learn_the_same(kind, tiny, run_tool, tmp_path):
    """The weights after the last step, of the same global batches."""
    ends = {}
    for nodes, ranks in ((1, 1), (1, 2), (1, 4), (2, 2)):
        config, options = training(kind, nodes * ranks, tiny.root)
        work_dir = tmp_path / f'{nodes} x {ranks}'
        dist_train(run_tool, config, nodes, ranks, work_dir, '--seed', 0, '--no-validate', '--cfg-options', *options)
        ends[work_dir.name] = torch.load(latest_checkpoint(work_dir))['state_dict']
    alone = ends.pop('1 x 1')
    worst = {name: max(difference(end[key], alone[key]) for key in alone) for name, end in ends.items()}
    print(
        f'\n{kind}: largest difference from one rank, of a weight, relative to the largest of its tensor: '
        + ', '.join(f'{name} ranks {value:.1e}' for name, value in worst.items())
    )
    assert max(worst.values()) < 1e-4


SRUN = """#!/bin/bash
# Starts the tasks that it is asked for, two on each "node".
while [[ $1 != python ]]; do [[ $1 == --ntasks=* ]] && tasks=${1#*=}; shift; done
export SLURM_NTASKS=$tasks SLURM_NODELIST='node[7-8]'
for ((task = 0; task < tasks; task++)); do SLURM_PROCID=$task SLURM_LOCALID=$((task % 2)) "$@" & pids+=($!); done
for pid in "${pids[@]}"; do wait "$pid" || exit; done
"""


def test_four_tasks_under_slurm_learn_the_same(tiny, run_tool, tmp_path):
    for name, script in dict(srun=SRUN, scontrol='#!/bin/sh\necho 127.0.0.1\n').items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    path = f'{tmp_path}:{Path(sys.executable).parent}:{os.environ["PATH"]}'
    ends = []
    for tasks in (1, 4):
        config, options = training('images', tasks, tiny.root)
        work_dir = tmp_path / str(tasks)
        run_tool(
            'slurm_train.sh',
            'cpu',
            'job',
            config,
            work_dir,
            '--no-validate',
            '--cfg-options',
            *options,
            GPUS='0',
            TASKS=str(tasks),
            MASTER_PORT=free_port(),
            PATH=path,
        )
        ends.append(torch.load(latest_checkpoint(work_dir))['state_dict'])
    assert (tmp_path / '4' / 'rank3.pt').exists()
    assert max(difference(ends[1][key], ends[0][key]) for key in ends[0]) < 1e-4


DYING = """
import os
import re
import signal
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class Dying(Hook):
    '''The second rank dies in the second epoch: by an error, by a signal, or with what started it on its node.'''

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.epoch == 1 and batch_idx == 1 and get_rank() == 1:
            Path(runner.work_dir, 'died').touch()
            if os.environ['DIE'] == 'error':
                raise ArithmeticError('this rank has had enough')
            if os.environ['DIE'] == 'node':
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
"""
DYING_CONFIG = """
_base_ = 'tiny.py'
custom_imports = dict(imports=['tiny_hooks', 'dying'])
custom_hooks = [dict(type='Dying')]
"""


@pytest.mark.parametrize(
    'way, nodes, said, left',
    [
        ('error', 1, 'ArithmeticError: this rank has had enough', 1),
        ('kill', 1, f'Signal {int(signal.SIGKILL)}', 4),
        ('node', 2, 'Connection (closed|reset) by peer', 1),
    ],
    ids=['error', 'kill', 'node'],
)
def test_a_rank_that_dies_ends_the_job_and_another_number_goes_on(tiny, run_tool, way, nodes, said, left):
    config = tiny.root / 'tiny_dying.py'
    config.write_text(DYING_CONFIG)
    (tiny.root / 'dying.py').write_text(DYING)
    work_dir = tiny.root / f'dying-{way}'
    broken = dist_train(run_tool, config, nodes, 2 // nodes, work_dir, DIE=way, check=False)
    seconds = time.time() - (work_dir / 'died').stat().st_mtime
    print(f'\n{way}: the job had ended {seconds:.1f} s after a rank died')
    assert seconds < 60 and broken[0].returncode != 0 and re.search(said, broken[0].stderr), broken[0].stderr[-3000:]
    (done,) = dist_train(run_tool, tiny.config, 1, left, work_dir, '--resume')
    assert 'resumed epoch: 1' in done.stdout + done.stderr and (work_dir / 'epoch_2.pth').exists()


def test_nodes_whose_work_directories_differ_do_not_go_on(tiny, trained, run_tool, tmp_path):
    shutil.copytree(trained, tmp_path / '0')
    for done in dist_train(
        run_tool,
        tiny.config,
        2,
        1,
        tmp_path / '{node}',
        '--resume',
        '--cfg-options',
        'train_cfg.max_epochs=3',
        check=False,
    ):
        assert done.returncode != 0 and 'different places, iterations [8, 0]: put the work dir' in done.stderr
