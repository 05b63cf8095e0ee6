"""Batches by tokens: within the limit, everything once, the same on every run, split evenly among ranks."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.runner import IterBasedTrainLoop
from torch.utils.data import DataLoader

from mmcgc.datasets.translation import TokenBatchSampler
from mmcgc.engine import ResumeBatchesHook

LENGTHS = np.random.default_rng(0).integers(2, 40, (300, 2))


class Pairs(list):
    """A data set whose items are their own numbers."""

    def __init__(self, lengths=LENGTHS):
        super().__init__(range(len(lengths)))
        self.lengths = lambda: lengths


def sampler(max_tokens=200, batch_size=1000, seed=0, epoch=0, rank=0, world=1, shuffle=True, pairs=None):
    base = DefaultSampler(Pairs() if pairs is None else pairs, shuffle=shuffle, seed=seed)
    base.rank, base.world_size = rank, world
    base.set_epoch(epoch)
    return TokenBatchSampler(base, batch_size, max_tokens)


@pytest.mark.parametrize('max_tokens', [39, 60, 200, 10_000])
@pytest.mark.parametrize('batch_size', [1, 7, 1000])
def test_every_pair_comes_once_and_no_batch_is_too_large(max_tokens, batch_size):
    batches = list(sampler(max_tokens, batch_size))
    assert sorted(sum(batches, [])) == list(range(300))
    assert all(LENGTHS[batch].max() * len(batch) <= max_tokens and len(batch) <= batch_size for batch in batches)
    assert len(sampler(max_tokens, batch_size)) == len(batches)


def test_batches_are_full_of_sentences_of_like_length():
    batches = list(sampler(200))
    spread = [np.ptp(LENGTHS[batch][:, 1]) for batch in batches]
    assert max(spread) <= 6 and len(batches) < 1.6 * LENGTHS.max(axis=1).sum() / 200


def test_order_is_a_function_of_seed_and_epoch():
    assert list(sampler()) == list(sampler())
    orders = [list(sampler(seed=seed, epoch=epoch)) for seed in (0, 1) for epoch in (0, 1)]
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])
    assert len({len(order) for order in orders}) == 1


def test_pairs_meet_others_in_another_epoch():
    pairs = Pairs(LENGTHS % 3 + 5)
    first, second = ({frozenset(batch) for batch in sampler(epoch=epoch, pairs=pairs)} for epoch in (0, 1))
    assert len(first & second) < len(first) / 2


def test_unshuffled_batches_run_from_short_to_long():
    order = sum(sampler(shuffle=False), [])
    keys = [tuple(LENGTHS[i][::-1]) for i in order]
    assert keys == sorted(keys)


@pytest.mark.parametrize('world', [2, 3, 8])
def test_ranks_share_an_epoch_evenly(world):
    alone = list(sampler())
    ranks = [list(sampler(rank=rank, world=world)) for rank in range(world)]
    assert {len(batches) for batches in ranks} == {len(sampler(world=world))} == {-(-len(alone) // world)}
    together = [batch for step in zip(*ranks, strict=True) for batch in step]
    assert together[: len(alone)] == alone
    assert together[len(alone) :] == alone[: len(together) - len(alone)]


def test_more_ranks_than_batches():
    ranks = [list(sampler(100_000, rank=rank, world=3)) for rank in range(3)]
    assert ranks[0] == ranks[1] == ranks[2] and len(ranks[0]) == 1


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('world', [1, 2])
def test_a_resumed_run_goes_on_with_the_very_next_batch(workers, world):
    per_epoch = len(sampler(world=world))

    def first_batches(done, count):
        loader = DataLoader(
            Pairs(), batch_sampler=sampler(rank=world - 1, world=world), num_workers=workers, collate_fn=list
        )
        loop = object.__new__(IterBasedTrainLoop)
        loop.dataloader = loader
        runner = SimpleNamespace(train_loop=loop, iter=done)
        ResumeBatchesHook().before_train(runner)
        for _ in range(done):  # what the loop throws away
            assert next(loop.dataloader_iterator) is None
        return [next(loop.dataloader_iterator) for _ in range(count)]

    whole = first_batches(0, 2 * per_epoch + 5)
    expected = [batch for epoch in range(3) for batch in sampler(epoch=epoch, rank=world - 1, world=world)]
    assert whole == expected[: len(whole)]
    for done in (1, per_epoch - 1, per_epoch, per_epoch + 3, 2 * per_epoch):
        assert first_batches(done, 4) == whole[done : done + 4]


def test_the_hook_wants_its_sampler():
    loop = object.__new__(IterBasedTrainLoop)
    loop.dataloader = DataLoader(Pairs())
    with pytest.raises(TypeError, match='TokenBatchSampler'):
        ResumeBatchesHook().before_train(SimpleNamespace(train_loop=loop, iter=0))


def test_a_sentence_longer_than_a_batch_is_named():
    with pytest.raises(ValueError, match='a sentence of 39 tokens does not fit into batches of max_tokens=30'):
        sampler(30)


def test_no_pairs_are_named():
    with pytest.raises(ValueError, match='no pairs'):
        sampler(pairs=Pairs(LENGTHS[:0]))


def test_other_samplers_and_data_sets_are_refused():
    with pytest.raises(TypeError, match='got RandomSampler over'):
        TokenBatchSampler(torch.utils.data.RandomSampler(range(3)), 1, 10)
    with pytest.raises(TypeError, match='DefaultSampler over list'):
        TokenBatchSampler(DefaultSampler([1, 2], seed=0), 1, 10)


@pytest.mark.parametrize('sizes', [(0, 10), (10, 0)])
def test_limits_must_be_positive(sizes):
    with pytest.raises(ValueError, match='must be positive'):
        sampler(batch_size=sizes[0], max_tokens=sizes[1])
