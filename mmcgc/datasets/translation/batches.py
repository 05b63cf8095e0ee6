"""Batches of about the same number of tokens, from sentences of about the same length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from mmengine.dataset import DefaultSampler
from torch.utils.data import BatchSampler

from ...registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class TokenBatchSampler(BatchSampler):
    """Batches whose padded size, on the longer side, is at most ``max_tokens``.

    An epoch sorts the pairs by target and source length, pairs of the same lengths in random order, cuts them into
    batches and shuffles those.  The order is a function of the sampler's seed and epoch alone.  The cuts are the same
    in every epoch, so ``len`` is exact; of several ranks each takes every so-manieth batch, and the first batches come
    again at the end where the number does not divide.

    Args:
        sampler: MMEngine's DefaultSampler, which says data set, seed, epoch, rank and whether to shuffle.  The data
            set needs ``lengths()``, as :class:`ParallelText` has it.
        batch_size: Most pairs of a batch.
        max_tokens: Most tokens of a batch, padding included, on either side.

    Attributes:
        skip: Batches that the next epoch leaves out at its start; read once.

    Raises:
        TypeError: The sampler or the data set is of another kind.
        ValueError: A sentence is longer than ``max_tokens``.
    """

    def __init__(self, sampler: DefaultSampler, batch_size: int, max_tokens: int) -> None:
        if not isinstance(sampler, DefaultSampler) or not hasattr(sampler.dataset, 'lengths'):
            raise TypeError(
                "TokenBatchSampler needs sampler=dict(type='DefaultSampler') over a data set with "
                f'lengths(), such as ParallelText; got {type(sampler).__name__} over '
                f'{type(getattr(sampler, "dataset", None)).__name__}'
            )
        if batch_size < 1 or max_tokens < 1:
            raise ValueError(f'batch_size={batch_size} and max_tokens={max_tokens} must be positive')
        self.sampler, self.batch_size, self.max_tokens = sampler, batch_size, max_tokens
        self.drop_last = False  # torch's BatchSampler has it
        self.skip = 0
        self.lengths = sampler.dataset.lengths()  # (N, 2)
        if len(self.lengths) == 0:
            raise ValueError('the data set has no pairs to make batches of')
        longest = self.lengths.max()
        if longest > max_tokens:
            raise ValueError(
                f'a sentence of {longest} tokens does not fit into batches of max_tokens={max_tokens}; '
                'lower the max_length of the data set'
            )
        self.cuts = self._cut(self.lengths[np.lexsort(self.lengths.T)])

    def _cut(self, lengths: np.ndarray) -> list[int]:
        """Where a batch ends and the next begins, among the sorted pairs."""
        cuts, first, widest = [], 0, 0
        for i, length in enumerate(lengths.max(axis=1).tolist()):
            widest = max(widest, length)
            if i > first and (widest * (i - first + 1) > self.max_tokens or i - first == self.batch_size):
                cuts.append(i)
                first, widest = i, length
        return cuts

    def __len__(self) -> int:
        """Batches of an epoch on this rank, the same on every rank."""
        return -(-(len(self.cuts) + 1) // self.sampler.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng((self.sampler.seed, self.sampler.epoch))
        shuffle = self.sampler.shuffle
        order = random.permutation(len(self.lengths)) if shuffle else np.arange(len(self.lengths))
        order = order[np.lexsort(self.lengths[order].T)]  # stable: the same lengths stay in random order
        batches = np.split(order, self.cuts)
        turn = random.permutation(len(batches)) if shuffle else np.arange(len(batches))
        turn = np.resize(turn, len(self) * self.sampler.world_size)[self.sampler.rank :: self.sampler.world_size]
        skip, self.skip = self.skip, 0
        for i in turn[skip:]:
            yield batches[i].tolist()
