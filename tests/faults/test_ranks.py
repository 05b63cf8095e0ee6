"""Several ranks train as one does; one that dies ends the job with its error, and any number of ranks goes on."""

import signal
import socket
import time

import pytest
import torch

pytestmark = pytest.mark.slow

DYING = """
import os
import signal

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class Dying(Hook):
    '''The last rank dies in the second epoch, by an error or by a signal.'''

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.epoch == 1 and batch_idx == 1 and get_rank() == 1:
            if os.environ['DIE'] == 'error':
                raise ArithmeticError('this rank has had enough')
            os.kill(os.getpid(), signal.SIGKILL)
"""


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


@pytest.fixture(scope='module')
def whole(tiny, run_tool):
    """The weights after two epochs of 24 images, 12 a step, in so many ranks; the norms keep their statistics."""

    def train(ranks: int) -> dict[str, torch.Tensor]:
        work_dir = tiny.root / f'ranks{ranks}'
        run_tool('dist_train.sh', tiny.config, ranks, '--work-dir', work_dir, '--no-validate', '--cfg-options',
                 f'train_dataloader.batch_size={12 // ranks}', 'model.backbone.norm_eval=True', PORT=free_port())
        return torch.load(work_dir / 'rank0.pt')

    return train


def test_one_two_and_four_ranks_learn_the_same(whole):
    one = whole(1)
    for ranks in (2, 4):
        several = whole(ranks)
        for name, value in one.items():
            torch.testing.assert_close(several[name], value, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f'{n}: {m}')


@pytest.mark.parametrize('way, said', [('error', 'ArithmeticError: this rank has had enough'),
                                       ('kill', f'Signal {int(signal.SIGKILL)}')])
def test_a_rank_that_dies_ends_the_job_and_another_number_goes_on(tiny, run_tool, way, said):
    (tiny.root / 'dying.py').write_text(DYING)
    work_dir = tiny.root / f'dying-{way}'
    start = time.monotonic()
    broken = run_tool('dist_train.sh', tiny.config, 2, '--work-dir', work_dir, '--cfg-options',
                      "custom_imports.imports=['tiny_hooks','dying']", "custom_hooks=[{'type':'Dying'}]",
                      PORT=free_port(), DIE=way, check=False)
    died = (work_dir / 'epoch_1.pth').stat().st_mtime - time.time() + time.monotonic()
    assert broken.returncode != 0 and said in broken.stdout + broken.stderr
    assert start < died and time.monotonic() - died < 60
    done = run_tool('train.py', tiny.config, '--work-dir', work_dir, '--resume')
    assert 'resumed epoch: 1' in done.stdout + done.stderr and (work_dir / 'epoch_2.pth').exists()
