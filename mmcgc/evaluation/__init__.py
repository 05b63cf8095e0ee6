"""Metrics that mmpretrain and mmaction2 lack."""

from .bleu import BLEU
from .exact_match import ExactMatch

__all__ = ['BLEU', 'ExactMatch']
