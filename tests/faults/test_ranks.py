"""Several ranks train as one does; one that dies ends the job with its error, and any number of ranks goes on."""

import signal
import socket
import time
from pathlib import Path

import pytest
import torch
from helpers import ROOT

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


def options(kind: str, ranks: int, root: Path) -> tuple[Path, list[str]]:
    """A config of gated layers and options that leave nothing to chance: a global batch of 12 images or clips, or of
    four token batches, which fewer ranks accumulate; norms that keep their statistics."""
    quickstart = ROOT / 'configs' / 'quickstart'
    if kind == 'images':
        return root / 'tiny.py', [f'train_dataloader.batch_size={12 // ranks}', 'model.backbone.norm_eval=True']
    if kind == 'clips':
        return quickstart / 'tsn-cgc-resnet10_1xb64-1x1x8-5e_moving-digits.py', [
            f'train_dataloader.batch_size={12 // ranks}', 'model.backbone.norm_eval=True', 'train_cfg.max_epochs=2',
            'train_dataloader.dataset.num_clips=24', f'train_dataloader.dataset.data_root={root}/clips',
            'param_scheduler.total_steps=2']
    steps = dict.fromkeys(['train_cfg.max_iters', 'default_hooks.checkpoint.interval'], 24 // ranks)
    return quickstart / 'cgc-lightconv_1xt2k-1k_number-words.py', [
        'train_dataloader.batch_sampler.max_tokens=200', f'optim_wrapper.accumulative_counts={4 // ranks}',
        'param_scheduler=[]', *(f'{key}={value}' for key, value in steps.items())]


@pytest.mark.parametrize('kind', ['images', 'clips', 'sentences'])
def test_one_two_and_four_ranks_learn_the_same(kind, tiny, run_tool, tmp_path):
    """The weights after the last step, of the same global batches."""
    ends = {}
    for ranks in (1, 2, 4):
        config, changes = options(kind, ranks, tiny.root)
        run_tool('dist_train.sh', config, ranks, '--work-dir', tmp_path / str(ranks), '--seed', 0, '--no-validate',
                 '--cfg-options', *changes, PORT=free_port())
        ends[ranks] = torch.load((tmp_path / str(ranks) / 'last_checkpoint').read_text())['state_dict']
    worst = {ranks: max(difference(ends[ranks][name], ends[1][name]) for name in ends[1]) for ranks in (2, 4)}
    print(f'{kind}: largest difference of a weight, relative to the largest of its tensor: '
          + ', '.join(f'{ranks} ranks {value:.1e}' for ranks, value in worst.items()))
    assert max(worst.values()) < 1e-3


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1e-3))


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
