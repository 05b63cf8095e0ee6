"""The official files of Something-Something v1, fabricated."""

import pytest
from stand_ins import sthv1_frames, sthv1_labels


@pytest.fixture
def tree(tmp_path):
    """Label files in ``labels`` and frames in ``frames``, fabricated."""
    sthv1_labels(tmp_path / 'labels')
    sthv1_frames(tmp_path / 'frames')
    return tmp_path
