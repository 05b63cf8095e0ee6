"""The benchmark times what it says: rivals agree with the reference, arms are what their names say."""

import csv
import ctypes
import importlib.util
import subprocess
import sys
import textwrap

import pytest
import torch
from helpers import ROOT
from matplotlib.image import imread
from torch import nn

from mmcgc.analysis.speed.benchmark import ARMS, benchmark, check_ratios, table
from mmcgc.analysis.speed.peak_memory import peak_bytes
from mmcgc.analysis.speed.plot_benchmark import draw_growth, draw_points, read_rows
from mmcgc.analysis.speed.rivals import RIVALS, CondConv, rival_backends
from mmcgc.analysis.tables import append_csv
from mmcgc.layers import CGConv2d
from mmcgc.ops import context_gated_conv
from mmcgc.ops.conv.functional import BACKENDS

DIGITS = str(ROOT / 'configs/quickstart/cgc-resnet20_1xb32-10e_digits.py')


@pytest.mark.parametrize('rival', ['unfold', 'batch_as_groups'])
@pytest.mark.parametrize(
    'axes, kernel, stride, padding, dilation, groups',
    [
        (2, (3, 3), 1, 1, 1, 1),
        (2, (3, 2), (2, 1), (0, 1), (1, 2), 1),
        (2, (3, 3), 1, 1, 1, 2),
        (1, (3,), 2, 1, 1, 1),
        (3, (3, 1, 1), 1, (1, 0, 0), 1, 1),
    ],
)
def test_rivals_agree_with_the_reference(rival, axes, kernel, stride, padding, dilation, groups):
    torch.manual_seed(0)
    x = torch.randn(3, 4, *(7, 8, 6)[:axes], dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, 4 // groups, *kernel, dtype=torch.float64, requires_grad=True)
    gate_in, gate_out = (torch.randn(3, c, *kernel, dtype=torch.float64, requires_grad=True) for c in (4, 6))
    bias = torch.randn(6, dtype=torch.float64, requires_grad=True)
    leaves = (x, weight, gate_in, gate_out, bias)

    def run(backend):
        y = context_gated_conv(*leaves, stride, padding, dilation, groups, backend=backend)
        return y, *torch.autograd.grad(y.square().sum(), leaves)

    with rival_backends():
        found = run(rival)
    for a, b in zip(found, run('reference'), strict=True):
        assert (a - b).abs().max() < 1e-10 * b.abs().max()
    assert not {*RIVALS} & {*BACKENDS}


def test_context_arm_applies_no_gate_but_computes_it():
    layer = CGConv2d(4, 6, 3, padding=1, backend='context')
    x = torch.randn(2, 4, 5, 5)
    with rival_backends():
        y = layer(x)
    torch.testing.assert_close(y, nn.functional.conv2d(x, layer.weight, layer.bias, padding=1))
    y.sum().backward()
    assert layer.gate.decode_in.weight.grad is not None


def test_condconv_has_the_shape_of_what_it_replaces():
    pytest.importorskip('timm')
    layer = CGConv2d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2, bias=True)
    x = torch.randn(2, 4, 9, 7)
    assert CondConv(layer)(x).shape == layer(x).shape


def test_network_rows_and_table():
    rows = benchmark(DIGITS, batch=2, size=(28,), repeats=2)
    arms = [arm for arm in ARMS if arm != 'condconv' or importlib.util.find_spec('timm')]
    assert [(r['pass'], r['arm']) for r in rows] == [(p, a) for p in ('forward', 'step') for a in arms]
    plain = [r for r in rows if r['arm'] == 'plain']
    assert all(r['ratio'] == 1 for r in plain) and all(r['ms'] > 0 and r['ratio_p20'] <= r['ratio_p80'] for r in rows)
    assert table(rows).count('\n') == len(rows) + 3


def test_layers_are_measured_once_for_each_shape():
    rows = benchmark(DIGITS, by_layer=True, batch=2, size=(28,), repeats=1, arms=('plain',), passes=('forward',))
    layers = {r['layer']: (r['count'], r['input']) for r in rows}
    assert sum(count for count, _ in layers.values()) == 19
    assert layers['backbone.conv1'] == (1, '2x3x28x28')


def test_inputs_need_a_gradient_as_they_do_in_training(monkeypatch):
    needed, forward = {}, CGConv2d._conv_forward

    def watched(self, x, *others):
        if torch.is_grad_enabled():
            needed.setdefault(self.in_channels == 3, set()).add(x.requires_grad)
        return forward(self, x, *others)

    monkeypatch.setattr(CGConv2d, '_conv_forward', watched)
    for by_layer in (True, False):
        benchmark(DIGITS, by_layer=by_layer, batch=2, size=(28,), repeats=1, arms=('plain', 'mmcgc'), passes=('step',))
        assert needed == {True: {False}, False: {True}}
        needed.clear()


def test_peak_memory_is_that_of_the_call():
    held = []
    peak = peak_bytes(lambda: held.append(torch.ones(16 << 20)), torch.device('cpu'))
    assert 60 << 20 < peak < 90 << 20


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), 'mallopt'), reason='glibc alone')
def test_kept_memory_is_not_fetched_anew():
    script = textwrap.dedent("""
        import resource, torch
        from mmcgc.analysis.speed.peak_memory import keep_memory
        {}
        def faults():
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        counts = [faults()]
        for _ in range(40):
            torch.ones(10 << 20)
            counts.append(faults())
        print(sum(b - a > 1000 for a, b in zip(counts, counts[1:])))
    """)
    counts = [int(subprocess.run([sys.executable, '-c', script.format(line)], cwd=ROOT, capture_output=True, text=True,
                                 check=True).stdout) for line in ('', 'keep_memory()')]  # fmt: skip
    assert counts[0] == 40 and counts[1] < 30  # the heap may grow a few times before a block fits again


def test_rows_are_not_added_to_other_columns(tmp_path):
    append_csv([dict(a=1, b=2)], tmp_path / 'rows.csv')
    append_csv([dict(a=3, b=4)], tmp_path / 'rows.csv')
    with pytest.raises(ValueError, match='give another file'):
        append_csv([dict(a=1, c=2)], tmp_path / 'rows.csv')
    assert (tmp_path / 'rows.csv').read_text().split() == ['a,b', '1,2', '3,4']


def test_disagreeing_ways_are_not_timed(monkeypatch):
    def ungated(x, weight, gate_in, gate_out, stride, padding, *others):
        return nn.functional.conv2d(x, weight, None, stride, padding)

    monkeypatch.setattr(RIVALS['unfold'], 'convolve', ungated)
    with pytest.raises(RuntimeError, match='mmcgc and unfold differ'):
        benchmark(DIGITS, batch=1, size=(28,), repeats=1, arms=('plain', 'mmcgc', 'unfold'))


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(arms=('mmcgc',)), 'plain always among them'),
        (dict(arms=('plain', 'magic')), 'magic'),
        (dict(passes=('backward',)), 'forward, step'),
        (dict(batch=0), 'must be positive'),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        benchmark(DIGITS, size=(28,), **options)


def test_a_network_without_gates():
    with pytest.raises(ValueError, match='no layer of .* has a gate'):
        benchmark(DIGITS.replace('cgc-', ''), size=(28,))


def test_command(tmp_path):
    out = tmp_path / 'rows.csv'
    config = 'configs/translation/iwslt14/cgc-lightconv_1xt4k-50k_iwslt14-de-en.py'
    command = [
        sys.executable,
        'tools/analysis/benchmark.py',
        config,
        '--layers',
        '--batch',
        '2',
        '--shape',
        '9',
        '--repeats',
        '1',
        '--passes',
        'forward',
        '--keep-memory',
        '--csv',
        str(out),
        '--fail-above',
        '0.001',
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and 'error: the forward of ' in done.stderr, done.stderr
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert {row['arm'] for row in rows} == {'plain', 'mmcgc'} and all(row['input'] == '2x9x512' for row in rows)
    assert all(row['memory'] == 'kept' for row in rows)
    assert '| layer' in done.stdout


def test_a_ratio_above_the_limit_is_an_error():
    rows = [
        {'arm': arm, 'pass': which, 'layer': 'network', 'ratio': ratio}
        for which, arm, ratio in [('forward', 'mmcgc', 1.4), ('step', 'mmcgc', 1.6), ('step', 'unfold', 9.0)]
    ]
    check_ratios(rows, 1.6)
    with pytest.raises(
        ValueError, match='the step of network takes 1.60 times as long as without gates, more than 1.5'
    ):
        check_ratios(rows, 1.5)


@pytest.fixture(scope='module')
def measured(tmp_path_factory):
    """The CSV of two batches and of layers."""
    path = tmp_path_factory.mktemp('measured') / 'rows.csv'
    for options in (dict(batch=1), dict(batch=2), dict(batch=2, by_layer=True)):
        append_csv(benchmark(DIGITS, size=(28,), repeats=1, arms=('plain', 'mmcgc', 'unfold'), **options), path)
    return path


@pytest.mark.parametrize(
    'options, said',
    [
        ([], '2 settings'),
        (['--layers'], '6 layers'),
        (['--against', 'batch'], '2 values of batch'),
    ],
)
def test_pictures(measured, options, said, tmp_path):
    out = tmp_path / 'picture.png'
    command = [sys.executable, 'tools/analysis/plot_benchmark.py', str(measured), '--out', str(out), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout and min(imread(out).shape[:2]) > 200


def test_a_later_measurement_replaces_an_earlier_one(measured, tmp_path):
    path = tmp_path / 'rows.csv'
    text = measured.read_text()
    path.write_text(text + ''.join(text.splitlines(keepends=True)[1:]))
    assert len(read_rows(path)) == len(read_rows(measured)) == len(text.splitlines()) - 1


def test_a_curve_holds_all_but_one_setting(measured, tmp_path):
    with measured.open() as file:
        rows = list(csv.DictReader(file))
    path = tmp_path / 'rows.csv'
    append_csv([*rows, *(dict(row, threads='99', batch='4') for row in rows)], path)
    assert '2 values of batch' in draw_growth(path, tmp_path / 'picture.png', 'batch')


@pytest.mark.parametrize(
    'content, options, message',
    [
        ('a,b\n1,2\n', {}, 'no rows of'),
        (None, dict(against='size'), '1 values of size'),
    ],
    ids=['foreign', 'one-size'],
)
def test_nothing_to_draw(measured, content, options, message, tmp_path):
    if content is not None:
        measured = tmp_path / 'rows.csv'
        measured.write_text(content)
    draw = draw_growth if options else draw_points
    with pytest.raises(ValueError, match=message):
        draw(measured, tmp_path / 'picture.png', **options)
