"""Killed and resumed trainings end with the weights of uninterrupted ones, bit by bit."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

ENVIRONMENT = dict(
    os.environ,
    CUDA_VISIBLE_DEVICES='-1',
    OMP_NUM_THREADS='1',
    PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')]),
)
IMAGES = [
    'configs/quickstart/cgc-resnet20_1xb32-10e_digits.py',
    '--cfg-options',
    'train_cfg.max_epochs=3',
    'train_dataloader.dataset.indices=96',
    'val_dataloader.dataset.indices=20',
    'model.backbone.depth=8',
    'model.backbone.base_channels=4',
    'model.backbone.stem_channels=4',
    'model.head.in_channels=16',
]
SENTENCES = [
    'configs/quickstart/cgc-lightconv_1xt2k-1k_number-words.py',
    '--cfg-options',
    'train_cfg.max_iters=12',
    'train_cfg.val_interval=6',
    'default_hooks.checkpoint.interval=2',
    'param_scheduler.total_steps=12',
    'train_dataloader.batch_sampler.max_tokens=200',
    'model.encoder.dropout=0.1',
    'model.decoder.dropout=0.1',
]


def kill(arguments: list[str], kills: int, moments: str = 'step write load time') -> list[str]:
    """The kills that hit, of ``kill_and_resume.py``; it fails where a training ended with other weights."""
    script = Path(__file__).with_name('kill_and_resume.py')
    done = subprocess.run(
        [sys.executable, script, *arguments, '--kills', str(kills), '--moments', *moments.split()],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    summary = done.stdout.splitlines()[-1]
    assert re.fullmatch(rf'{kills} kills \(.*\), 0 differences from the uninterrupted training', summary), summary
    return done.stdout.splitlines()


def test_three_kills_of_an_image_training():
    lines = kill(IMAGES, 3, 'step write load')
    assert len([line for line in lines if 'killed (' in line]) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    'arguments, kills',
    [
        (IMAGES, 20),
        (SENTENCES, 20),
        ([*IMAGES, 'train_dataloader.num_workers=2', 'train_dataloader.persistent_workers=True'], 8),
    ],
    ids=['images', 'sentences', 'images-workers'],
)
def test_many_kills(arguments, kills):
    print('', kill(arguments, kills)[-1], sep='\n')


@pytest.mark.slow
def test_the_comparison_sees_another_seed():
    """With the random numbers of each attempt its own, the weights differ, and the script says so."""
    script = Path(__file__).with_name('kill_and_resume.py')
    code = (
        'import os, runpy, sys\n'
        'from mmcgc.engine import position_seed\n'
        'seed_all = position_seed.seed_all\n'
        'position_seed.seed_all = lambda *numbers: seed_all(*numbers, os.getpid())\n'
        f"sys.argv = [{str(script)!r}, *{IMAGES!r}, '--kills', '1', '--moments', 'step']\n"
        f"runpy.run_path({str(script)!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 1 and 'DIFFERS' in done.stdout, done.stdout + done.stderr
