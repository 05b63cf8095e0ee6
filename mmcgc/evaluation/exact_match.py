"""Count the translations that are right word for word."""

from __future__ import annotations

from ..registry import METRICS
from .translation import TranslationMetric


@METRICS.register_module()
class ExactMatch(TranslationMetric):
    """``accuracy/exact_match``: the percentage of sentences whose tokens are those of the reference."""

    default_prefix = 'accuracy'

    def compute_metrics(self, results: list[dict]) -> dict:
        right = sum(result['tokens'] == result['reference_tokens'] for result in results)
        return dict(exact_match=100 * right / max(1, len(results)))
