"""The page on the backends says what their ``can_run`` answers."""

import pytest
import torch
from helpers import ROOT

from mmcgc.ops.conv import triton_conv
from mmcgc.ops.conv.functional import BACKENDS

TWO, THREE = (4, 9, 9), (4, 6, 9, 9)
CASES = {
    'float32': {},
    'float64': dict(dtype=torch.float64),
    'float16': dict(dtype=torch.float16),
    'bfloat16': dict(dtype=torch.bfloat16),
    '1D': dict(size=(4, 9), kernel=(3,)),
    '3D, a (k, 1, 1) kernel': dict(size=THREE, kernel=(3, 1, 1)),
    '3D, a (1, k, k) kernel': dict(size=THREE, kernel=(1, 3, 3)),
    '3D, a (k, k, k) kernel': dict(size=THREE, kernel=(3, 3, 3)),
    'stride and dilation': dict(stride=2, dilation=2),
    'convolution groups': dict(groups=2),
    'one term of the gate': dict(terms=1),
    'terms that are multiplied': dict(combine='product'),
    'an empty batch': dict(batch=0),
}


def arguments(
    batch=2, size=TWO, kernel=(3, 3), dtype=torch.float32, stride=1, dilation=1, groups=1, terms=2, combine='sum'
) -> tuple:
    """What a backend's ``can_run`` and ``run`` take."""
    channels, axes = size[0], len(kernel)
    gates = [torch.randn(batch, n, *kernel, dtype=dtype) for n in (channels, 6)[:terms]] + [None] * (2 - terms)
    weight = torch.randn(6, channels // groups, *kernel, dtype=dtype)
    x = torch.randn(batch, *size, dtype=dtype)
    return x, weight, *gates, None, (stride,) * axes, (0,) * axes, (dilation,) * axes, groups, combine


def table() -> dict[str, dict[str, str]]:
    """The rows of the page's second table, by their first cell."""
    text = (ROOT / 'docs/backends.md').read_text(encoding='utf-8').split('## What each takes')[1]
    lines = [line for line in text.splitlines() if line.startswith('|')]
    rows = [[cell.strip() for cell in line.strip('| ').split('|')] for line in lines]
    names = [name.strip('`') for name in rows[0][1:]]
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in rows[2:]}


def test_the_page_lists_every_case():
    assert list(table()) == list(CASES) and all(set(row) == set(BACKENDS) for row in table().values())


@pytest.mark.parametrize('case', CASES)
def test_the_page_says_what_a_backend_answers(case, monkeypatch):
    monkeypatch.setattr(triton_conv, 'no_device', lambda *_: None)  # as on a suitable GPU
    given = arguments(**CASES[case])
    answers = {name: 'yes' if backend.can_run(*given) is None else 'no' for name, backend in BACKENDS.items()}
    assert table()[case] == answers


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('name', ['tiled', 'portable', 'reference'])
def test_what_it_takes_it_computes(name, case):
    given = arguments(**CASES[case])
    y = BACKENDS[name].run(*given)
    wanted = BACKENDS['reference'].run(*given)
    tolerance = dict(rtol=0.1, atol=0.1) if given[0].itemsize < 4 else dict(rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(y, wanted, **tolerance)
