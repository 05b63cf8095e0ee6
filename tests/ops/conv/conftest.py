"""Both ways in which the tiled backend makes its gates."""

import pytest

from mmcgc.ops.conv import tiles


@pytest.fixture(params=[False, True], ids=['few', 'many'])
def many(request, monkeypatch):
    """Gates by a sigmoid each, as for few elements, or by exponentials of the terms, as for many."""
    monkeypatch.setattr(tiles, '_FEW', 0 if request.param else 1 << 60)
