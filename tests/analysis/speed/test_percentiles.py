"""Percentiles of repeated measurements."""

import numpy as np
import pytest

from mmcgc.analysis.speed.percentiles import percentiles


@pytest.mark.parametrize('values', [[3.0], [2.0, 1.0], [5.0, 1.0, 4.0, 2.0, 3.0], [0.1, 7.0, 7.0, 0.2, 9.0, 1.0]])
def test_numpy_finds_the_same(values):
    assert percentiles(values) == pytest.approx(np.percentile(values, [20, 50, 80]))
