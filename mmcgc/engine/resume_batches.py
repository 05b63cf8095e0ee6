"""Go on with the very next batch after an interruption within an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from ..registry import HOOKS


@HOOKS.register_module()
class ResumeBatchesHook(Hook):
    """Feed an iteration-based training from a :class:`TokenBatchSampler`, epoch after epoch.

    A resumed run begins with the batch that would have come next.  It goes straight to the epoch and the place in it,
    whereas MMEngine's IterBasedTrainLoop loads all earlier batches once more.
    """

    def before_train(self, runner: Runner) -> None:
        loop = runner.train_loop
        if not isinstance(loop, IterBasedTrainLoop) or not hasattr(loop.dataloader.batch_sampler, 'skip'):
            raise TypeError(
                'ResumeBatchesHook goes with an IterBasedTrainLoop (train_cfg with by_epoch=False) and '
                "batch_sampler=dict(type='mmcgc.TokenBatchSampler')"
            )
        # The loop asks for runner.iter batches and throws them away, so it gets None instead of batches to load.
        loop.dataloader_iterator = chain(repeat(None, runner.iter), _batches(loop.dataloader, runner.iter))


def _batches(dataloader: DataLoader, done: int) -> Iterator[dict]:
    """Yield all batches after the first ``done``, without end."""
    epoch, done = divmod(done, len(dataloader))
    while True:
        dataloader.batch_sampler.sampler.set_epoch(epoch)
        dataloader.batch_sampler.skip = done
        yield from dataloader
        epoch, done = epoch + 1, 0
