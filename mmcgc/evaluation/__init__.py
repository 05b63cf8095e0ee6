"""Metrics that mmpretrain and mmaction2 lack."""

from .bleu import BLEU
from .exact_match import ExactMatch
from .whole_results import DumpWholeResults

__all__ = ['BLEU', 'DumpWholeResults', 'ExactMatch']
