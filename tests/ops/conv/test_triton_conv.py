"""The Triton backend around its kernels: what it takes, when it is chosen, its tiles.  Starts the parity tests."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import RESNET50, ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from mmcgc.ops import context_gated_conv, triton_device
from mmcgc.ops.conv import functional, tiled, triton_conv, triton_tiles
from mmcgc.ops.conv.triton_axes import forward_axis, gradient_axes

PROBLEM = triton_device.no_device('cpu', None, torch.float32)
needs_triton = pytest.mark.skipif('TRITON_INTERPRET' not in PROBLEM, reason=PROBLEM)


def arguments(batch=2, channels=4, outputs=6, kernel=(3, 3), size=(8, 8), dtype=torch.float32, device='cpu', **changes):
    """Those of ``can_run`` and ``run``."""
    make = dict(dtype=dtype, device=device)
    tensors = [torch.empty(shape, **make) for shape in [
        (batch, channels, *size), (outputs, channels, *kernel), (batch, channels, *kernel), (batch, outputs, *kernel),
        (outputs,)]]  # fmt: skip
    ones = (1,) * len(kernel)
    named = dict(zip(('x', 'weight', 'gate_in', 'gate_out', 'bias'), tensors, strict=True))
    named |= dict(stride=ones, padding=tuple(0 for _ in kernel), dilation=ones, groups=1, combine='sum') | changes
    return tuple(named.values())


@needs_triton
@pytest.mark.skipif(torch.cuda.is_available(), reason='the GPU runs them in this process')
@pytest.mark.parametrize(
    'page, chosen, least',
    [
        ('conv/test_triton_parity.py', 'not (test_equals or one_term or compile or registration) or k5 or k3x1x1', 25),
        ('context/test_triton_context.py', 'not (test_equals or running) or c24o36 or frames-3 or c16o16k3x3b4', 20),
        pytest.param('conv/test_triton_parity.py', '', 75, marks=pytest.mark.slow),
        pytest.param('context/test_triton_context.py', '', 40, marks=pytest.mark.slow),
    ],
    ids=['some of the convolution', 'some of the context', 'convolution', 'context'],
)
def test_parity_in_the_interpreter(page, chosen, least):
    """Some cases, or all; a failure shows the closing lines of the process."""
    parity = Path(__file__).parents[1] / page
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-n', '0', '-p', 'no:cacheprovider', parity, '-k', chosen], cwd=ROOT,
        env=dict(os.environ, TRITON_INTERPRET='1', OMP_NUM_THREADS='1'), capture_output=True, text=True,
        timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert int(done.stdout.split(' passed')[0].split()[-1]) >= least


@pytest.mark.parametrize(
    'change, words',
    [
        (dict(groups=2, weight=torch.empty(6, 2, 3, 3)), 'groups=2'),
        (dict(combine='product'), "'product'"),
        (dict(dtype=torch.float64), 'torch.float64'),
        (dict(bias=torch.empty(6, dtype=torch.float64)), 'torch.float64'),
        (dict(kernel=(3, 3, 3), size=(4, 4, 4)), '(3, 3, 3)'),
        (dict(kernel=(3, 1, 1), size=(4, 4, 4), stride=(1, 2, 2)), '(3, 1, 1)'),
        (dict(kernel=(1, 33), size=(8, 40)), '32 taps'),
        (dict(batch=0), 'nothing to compute'),
        (dict(x=torch.empty(2, 4, 2**15, 2**15, device='meta')), '2^31'),
    ],
    ids=['groups', 'combine', 'dtype', 'bias-dtype', '3d', 'strided-3d', 'taps', 'empty', 'huge'],
)
def test_says_why_it_cannot_run(change, words):
    assert words in triton_conv.can_run(*arguments(**change))


@needs_triton
def test_refuses_other_devices():
    assert "'meta'" in triton_conv.can_run(*arguments(device='meta'))


@pytest.mark.parametrize('version, words', [(None, 'not installed'), ('3.2.0', '3.3 or later, got 3.2.0')])
def test_names_the_triton_that_it_needs(version, words, monkeypatch):
    monkeypatch.setitem(sys.modules, 'triton', version and SimpleNamespace(__version__=version))
    assert words in triton_conv.can_run(*arguments())


@needs_triton
@pytest.mark.skipif(torch.cuda.is_available(), reason='it runs on the GPU')
def test_on_the_cpu_it_names_the_remedy():
    with pytest.raises(ValueError, match='TRITON_INTERPRET=1'):
        context_gated_conv(*arguments()[:5], backend='triton')


def test_one_term_makes_any_combine_alike(monkeypatch):
    monkeypatch.setattr(triton_conv, 'no_device', lambda *_: None)
    assert triton_conv.can_run(*arguments(combine='product', gate_in=None)) is None


def test_chosen_first_on_a_gpu_and_never_on_the_cpu(monkeypatch):
    monkeypatch.setattr(triton_conv, 'no_device', lambda *_: None)
    assert functional._choose(None, arguments()) is tiled
    with FakeTensorMode():
        assert functional._choose(None, arguments(device='cuda')) is triton_conv
        assert functional._choose(None, arguments(device='cuda', groups=2, weight=torch.empty(6, 2, 3, 3))) is tiled
        assert functional._choose(None, arguments(device='cuda', dtype=torch.float64)) is tiled


@pytest.mark.parametrize('last', [False, True], ids=['contiguous', 'channels-last'])
@pytest.mark.parametrize('shape', RESNET50, ids=str)
def test_shapes_without_a_device(shape, last):
    """Both passes of every gated layer of ResNet-50, on tensors without data; what is saved is what was given."""
    c, o, k, size, stride, padding = shape
    layout = torch.channels_last if last else torch.contiguous_format
    with FakeTensorMode():
        tensors = arguments(128, c, o, (k, k), (size, size), torch.bfloat16)[:4]
        x = tensors[0].contiguous(memory_format=layout).requires_grad_()
        given, saved = (x, *(t.requires_grad_() for t in tensors[1:])), []
        geometry = ([stride] * 2, [padding] * 2, [1, 1])
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
            y = torch.ops.mmcgc.triton_conv(*given, None, *geometry)
        grads = torch.ops.mmcgc.triton_conv_backward(y.detach(), *given, *geometry, True, True)
        no_x = torch.ops.mmcgc.triton_conv_backward(y.detach(), *given, *geometry, False, True)
    out = (size + 2 * padding - k) // stride + 1
    assert tuple(y.shape) == (128, o, out, out) and y.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=layout) and grads[0].is_contiguous(memory_format=layout)
    assert [(g.shape, g.dtype) for g in grads] == [(t.shape, t.dtype) for t in given]
    assert no_x[0].numel() == 0 and [g.shape for g in no_x[1:]] == [t.shape for t in given[1:]]
    storages = {t.untyped_storage()._cdata for t in given}
    assert saved and {t.untyped_storage()._cdata for t in saved} <= storages


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_axes_forward_and_backward_join_the_same_pixels(data):
    draw = data.draw
    kernel, stride, dilation = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    padding = draw(st.integers(0, 4))
    least = max(1, dilation * (kernel - 1) + 1 - 2 * padding)
    size = draw(st.integers(least, least + 12))
    out = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    axis = (size, out, kernel, stride, padding, dilation)

    def joined(a):
        """(pixel written, pixel read, tap), for those that exist."""
        pairs = ((u, i) for u in range(a.count) for i in range(a.taps))
        met = ((a.offset + u * a.stride, u * a.mul + a.first + i * a.step, a.tap + i * a.tap_step) for u, i in pairs)
        return {(p, q, tap) for p, q, tap in met if 0 <= q < a.size}

    forward = joined(forward_axis(*axis))
    assert forward == {(q, p, tap) for q in range(out) for tap in range(kernel)
                       if 0 <= (p := q * stride - padding + tap * dilation) < size}  # fmt: skip
    phases = gradient_axes(*axis)
    assert set().union(*map(joined, phases)) == {(p, q, tap) for q, p, tap in forward}
    assert sorted(a.offset + u * a.stride for a in phases for u in range(a.count)) == list(range(size))


@pytest.mark.parametrize('tiles', [triton_tiles.conv_tiles, triton_tiles.weight_grad_tiles], ids=['conv', 'grad'])
@pytest.mark.parametrize('inputs, outputs, taps, pixels, size', [
    (3, 64, 49, 12544, 2), (64, 64, 9, 3136, 2), (512, 512, 9, 49, 2), (16, 16, 9, 1024, 4), (1, 1, 2, 1, 4),
    (300, 7, 3, 100, 4),
])  # fmt: skip
def test_tiles_are_few_and_fit_the_tensor_cores(tiles, inputs, outputs, taps, pixels, size):
    found = tiles(inputs, outputs, taps, pixels, size, *([True] if tiles is triton_tiles.conv_tiles else []))
    assert 1 <= len(found) <= 4 and len(set(found)) == len(found)
    for tile in found:
        sides = (tile.rows, tile.pixels, tile.channels * tile.taps)
        assert all(side >= 16 and side & (side - 1) == 0 for side in sides)
        assert tile.taps == 1 or tile.channels >= inputs


def test_few_channels_share_a_tile_with_several_taps():
    stem = triton_tiles.conv_tiles(3, 64, 49, 12544, 2, True)[0]
    assert (stem.channels, stem.taps) == (4, 8)


def test_the_search_is_asked_for_and_made_once(monkeypatch):
    timed, rule, quick = [], *(triton_tiles.Tiles(rows, 64, 32, 1, 4, 3) for rows in (64, 128))

    def milliseconds(launch):
        timed.append(launch())
        return 1.0 if timed[-1] is quick else 2.0

    monkeypatch.setattr(triton_tiles, '_found', {})
    monkeypatch.setattr(triton_tiles, '_milliseconds', milliseconds)
    assert triton_tiles.pick('layer', [rule, quick], lambda tiles: tiles) is rule and not timed
    monkeypatch.setattr(triton_tiles, '_searching', lambda: True)
    for _ in range(2):
        assert triton_tiles.pick('layer', [rule, quick], lambda tiles: tiles) is quick
    assert timed == [rule, quick]
    triton_tiles.pick('another layer', [rule, quick], lambda tiles: tiles)
    assert len(timed) == 4
