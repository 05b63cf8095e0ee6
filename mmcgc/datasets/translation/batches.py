"""Make batches of about the same number of tokens, from sentences of about the same length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from mmengine.dataset import DefaultSampler
from torch.utils.data import BatchSampler

from ...registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class TokenBatchSampler(BatchSampler):
    """A sampler of batches whose padded size, on the longer side, is at most ``max_tokens``.

    An epoch sorts the pairs by target and source length, keeps pairs of the same lengths in random order, cuts all into
    batches and shuffles those.  The order depends on the sampler's seed and epoch alone.  The cuts are the same in
    every epoch, so ``len`` is exact.  Several ranks take the batches in turn; the first batches come again at the end
    if the ranks would not get equally many otherwise.

    Args:
        sampler: MMEngine's DefaultSampler, which gives data set, seed, epoch, rank and whether to shuffle.  The data
            set needs ``lengths()``, as :class:`ParallelText` has it.
        batch_size: The most pairs in a batch.
        max_tokens: The most tokens in a batch, padding included, on either side.

    Attributes:
        skip: How many batches the next epoch leaves out at its start; later epochs leave none out.

    Raises:
        TypeError: If the sampler or the data set is of another kind.
        ValueError: If a limit is not positive, there are no pairs, or a sentence is longer than ``max_tokens``.
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
        """Return where a batch ends and the next begins, among the sorted pairs."""
        cuts, first, widest = [], 0, 0
        for i, length in enumerate(lengths.max(axis=1).tolist()):
            widest = max(widest, length)
            if i > first and (widest * (i - first + 1) > self.max_tokens or i - first == self.batch_size):
                cuts.append(i)
                first, widest = i, length
        return cuts

    def __len__(self) -> int:
        """Return the number of batches in an epoch on this rank, which is the same on every rank."""
        return -(-(len(self.cuts) + 1) // self.sampler.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng((self.sampler.seed, self.sampler.epoch))
        shuffle = self.sampler.shuffle
        order = random.permutation(len(self.lengths)) if shuffle else np.arange(len(self.lengths))
        order = order[np.lexsort(self.lengths[order].T)]  # the sort is stable: equal lengths stay in random order
        batches = np.split(order, self.cuts)
        turn = random.permutation(len(batches)) if shuffle else np.arange(len(batches))
        turn = np.resize(turn, len(self) * self.sampler.world_size)[self.sampler.rank :: self.sampler.world_size]
        skip, self.skip = self.skip, 0
        for i in turn[skip:]:
            yield batches[i].tolist()
