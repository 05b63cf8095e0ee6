"""Make random numbers depend on the place in the training, not on what came before it."""

from __future__ import annotations

import random
from functools import partial

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from ..registry import HOOKS


@HOOKS.register_module()
class PositionSeedHook(Hook):
    """Seed Python, NumPy and PyTorch anew at each epoch, or at each iteration of an iteration-based training.

    Checkpoints of MMEngine do not hold the state of the random numbers.  With this hook a resumed run still draws what
    an uninterrupted one would have drawn: dropout and augmentation in a training by epochs, dropout in one by
    iterations.  The workers of the training data are seeded by the epoch when they start, so they follow only if
    ``persistent_workers`` is off.  The seeds come from the run's seed, the rank and the epoch or iteration.
    """

    priority = 'LOWEST'  # so that no other hook draws between this one and the data loader, or the model

    def before_train_epoch(self, runner: Runner) -> None:
        if runner.seed is None or isinstance(runner.train_loop, IterBasedTrainLoop):
            return
        if runner.train_dataloader.num_workers:
            runner.train_dataloader.worker_init_fn = partial(seed_all, runner.seed, get_rank(), runner.epoch)
        seed_all(runner.seed, get_rank(), runner.epoch)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        if runner.seed is not None and isinstance(runner.train_loop, IterBasedTrainLoop):
            seed_all(runner.seed, get_rank(), runner.iter)


def seed_all(*numbers: int) -> None:
    """Seed Python, NumPy and PyTorch from non-negative numbers; other numbers give unrelated seeds."""
    state = np.random.SeedSequence(numbers).generate_state(3)
    random.seed(int(state[0]))
    np.random.seed(state[1])
    torch.manual_seed(int(state[2]))
