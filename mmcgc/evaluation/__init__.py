"""Metrics that mmpretrain and mmaction2 lack."""

from ..extras import optional
from ..registry import METRICS
from .bleu import BLEU
from .exact_match import ExactMatch
from .whole_results import DumpWholeResults

__all__ = ['AnyLabelAccuracy', 'BLEU', 'DumpWholeResults', 'ExactMatch']

with optional(METRICS, 'mmpretrain', 'AnyLabelAccuracy'):
    from .any_label import AnyLabelAccuracy
