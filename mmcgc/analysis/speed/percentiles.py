"""Sum up repeated measurements on a noisy machine."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def percentiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the 20th percentile, the median and the 80th percentile of one or more values."""
    low, *_, high = statistics.quantiles(values, n=5, method='inclusive') if len(values) > 1 else [*values] * 2
    return low, statistics.median(values), high
