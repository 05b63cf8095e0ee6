"""Parallel text: its corpora, its data set and its batches."""

from .batches import TokenBatchSampler
from .number_words import NumberWords
from .parallel import ParallelText
from .subword import Pair, SubwordCorpus

__all__ = ['NumberWords', 'Pair', 'ParallelText', 'SubwordCorpus', 'TokenBatchSampler']
