"""A network and a data set small enough to train in seconds, through the tools, in a process of their own."""

import gc
import os
import subprocess
import sys
from collections import OrderedDict
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import ROOT, tool_environment
from mmengine.config import config as mmengine_config
from mmengine.config import utils as mmengine_config_utils
from mmengine.registry import DefaultScope
from PIL import Image

CONFIG = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['tiny_hooks'])
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmcgc.CIFARResNet', depth=8, stem_channels=4, base_channels=4, conv_cfg=dict(type='CGConv')),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=4, in_channels=16, loss=dict(type='CrossEntropyLoss')))
data_preprocessor = dict(num_classes=4, mean=[127] * 3, std=[64] * 3, to_rgb=True)
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
loader = dict(batch_size=6, num_workers=0)
train_dataloader = dict(
    **loader,
    dataset=dict(type='CustomDataset', data_root={root!r}, data_prefix='train', pipeline=pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True))
val_dataloader = dict(
    **loader,
    dataset=dict(type='CustomDataset', data_root={root!r}, data_prefix='test', pipeline=pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy')
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.02, momentum=0.9))
param_scheduler = dict(type='CosineAnnealingLR', T_max=2, convert_to_iter_based=True)
train_cfg = dict(by_epoch=True, max_epochs=2)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(logger=dict(type='LoggerHook', interval=1))
custom_hooks = [dict(type='DumpWeights')]
auto_scale_lr = dict(base_batch_size=12)
randomness = dict(seed=0)
"""

HOOKS = """
import os

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS


@HOOKS.register_module()
class DumpWeights(Hook):
    '''Each rank writes the state that it ends with; a run told to break off does so.'''

    def after_train(self, runner):
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        torch.save(model.state_dict(), os.path.join(runner.work_dir, f'rank{get_rank()}.pt'))

    def before_train_epoch(self, runner):
        if runner.epoch == int(os.environ.get('BREAK_OFF_AT_EPOCH', -1)):
            raise KeyboardInterrupt
"""


def pytest_configure(config):
    """One thread for each of several processes that share the cores, and each metafile of a library read once.

    Without the second, every ``_base_`` out of a library reads all of its metafiles, which takes a third of a second.
    """
    mmengine_config_utils.load = cache(mmengine_config_utils.load)
    mmengine_config.is_installed = cache(mmengine_config.is_installed)
    if 'PYTEST_XDIST_WORKER' in os.environ:
        os.environ.setdefault('OMP_NUM_THREADS', '1')
        torch.set_num_threads(int(os.environ['OMP_NUM_THREADS']))


def pytest_collection_finish(session):
    """Hide what is imported by now from the garbage collector, which MMEngine calls for every data set."""
    gc.freeze()


def pytest_unconfigure(config):
    """Let it free at exit what it was kept from."""
    gc.unfreeze()


@pytest.fixture(scope='session')
def tiny(tmp_path_factory) -> SimpleNamespace:
    """``root`` with the data and ``config``, the path of a config that trains a gated ResNet-8 on it."""
    root = tmp_path_factory.mktemp('tiny')
    random = np.random.default_rng(0)
    for split, count in dict(train=6, test=5).items():
        for label in range(4):
            folder = root / split / f'class{label}'
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = random.normal(40 + 50 * label, 40, (8, 8, 3)).clip(0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f'{index}.png')
    (root / 'tiny_hooks.py').write_text(HOOKS)
    sys.path.append(str(root))  # for runs in this process
    config = root / 'tiny.py'
    config.write_text(CONFIG.format(root=str(root)))
    return SimpleNamespace(root=root, config=config)


@pytest.fixture(scope='session')
def run_tool(tiny):
    """Runs ``tools/<name>`` in the folder of the tiny data set and returns the finished process."""

    def run(name: str, *args, check: bool = True, **environment) -> subprocess.CompletedProcess:
        command = ['bash' if name.endswith('.sh') else sys.executable, ROOT / 'tools' / name, *args]
        done = subprocess.run(
            [str(part) for part in command],
            cwd=tiny.root,
            env=tool_environment(tiny, **environment),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    return run


@pytest.fixture(scope='session')
def trained(tiny, run_tool) -> Path:
    """The work directory of a finished run of two epochs."""
    work_dir = tiny.root / 'trained'
    run_tool('train.py', tiny.config, '--work-dir', work_dir)
    return work_dir


@pytest.fixture
def own_scope(monkeypatch):
    """Keeps the default scope that a runner sets in this process from later tests."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict(DefaultScope._instance_dict))
