"""Tables 1 and 2 digit by digit; what the tool says and returns where something differs, lacks or is open."""

import dataclasses
import shutil
import subprocess
import sys

import pytest
from helpers import ROOT

from mmcgc.analysis.counting import paper_tables
from mmcgc.analysis.counting.paper import TABLES, Row
from mmcgc.analysis.counting.paper_tables import compare, config_root

CIFAR10 = 'classification/cifar10'

# Parameters of each row, and by how many operations it exceeds its baseline by the paper's counter.
EXACT = {
    1: {
        'SE-ResNet-50': (28_088_024, 8_035_248),
        'BAM-ResNet-50': (25_915_099, 83_204_996),
        'GC-ResNet-50': (28_105_032, 8_065_163),
        'ResNet-50': (25_557_032, 0),
        'ResNet-50 + CGC': (25_589_951, 5_897_673),
        'CBAM-ResNet-50': (28_089_624, 6_418_476),
        'CBAM-ResNet-50 + CGC': (28_122_543, 12_316_149),
        'ResNet-110 (CIFAR-10)': (1_730_714, 0),
        'ResNet-110 + CGC (CIFAR-10)': (1_797_681, 1_681_630),
    },
    2: {
        'ResNet-110': (1_730_714, 0),
        'ResNet-110 + CGC': (1_797_681, 1_681_630),
        'ResNet-110 + CGC only G(1)': (1_748_498, 1_446_897),
        'ResNet-110 + CGC only G(2)': (1_784_802, 1_471_990),
        'ResNet-110 + CGC G(1) * G(2)': (1_797_681, 1_681_630),
        'ResNet-110 + CGC g = 1': (1_960_497, 1_680_997),
        'ResNet-110 + CGC d = k1 k2': (1_812_396, 1_741_815),
        'ResNet-110 + CGC Shared Norm': (1_789_707, 1_681_630),
        'ResNet-110 + CGC Two Es': (1_802_586, 1_871_335),
        'ResNet-110 + CGC Shared D': (1_792_776, 1_681_630),
        "ResNet-110 + CGC h' = 2 k1, w' = 2 k2": (1_812_396, 1_681_630),
        'ResNet-110 + CGC MaxPool': (1_797_681, 1_681_630),
        'ResNet-110 + CGC (res1,2,3)': (1_797_454, 1_678_149),
        'ResNet-110 + CGC (res2,3)': (1_779_922, 1_052_001),
        'ResNet-110 + CGC (res3)': (1_758_742, 622_580),
    },
}  # fmt: skip


def cells(text):
    """The lines of a printed table by system, as dicts of its columns."""
    lines = [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines() if line[:1] == '|']
    header = [name if name != 'ours' else f'{lines[0][i - 1].removesuffix(", paper")}, ours'
              for i, name in enumerate(lines[0])]  # fmt: skip
    return {line[0]: dict(zip(header, line, strict=True)) for line in lines[2:]}


@pytest.mark.parametrize('number', EXACT)
def test_image_classification_digit_by_digit(number, monkeypatch):
    measured, measure = {}, paper_tables._measure

    def record(path, **options):
        measured[path] = measure(path, **options)
        return measured[path]

    monkeypatch.setattr(paper_tables, '_measure', record)
    root = ROOT / 'configs'
    text, agrees = compare(number, root)
    assert agrees
    for row in TABLES[number].rows:
        params, flops = measured[root / row.config]
        assert (params, flops - measured[root / row.base][1] if row.base else 0) == EXACT[number][row.name], row.name
    for name, row in cells(text).items():
        assert row['Param, paper'] == row['Param, ours'] and row['exact'] == f'{EXACT[number][name][0]:,}'
        assert ('not reproduced' in row['Remarks']) == (name.startswith('CBAM'))
        if row['+MFLOPs, paper'] not in ('-', '15', '21'):
            decimals = len(row['+MFLOPs, paper'].partition('.')[2])
            assert f'{float(row["+MFLOPs, ours"]):.{decimals}f}' == row['+MFLOPs, paper'], name


@pytest.mark.parametrize('number', [3, 4])
def test_parameters_of_video_and_translation(number):
    text, agrees = compare(number, ROOT / 'configs')
    assert agrees and 'no config yet' not in text
    for name, row in cells(text).items():
        open_row = 'not decided' in row['Remarks']
        assert open_row == ('CGC' in name and number == 3 and name != 'P3D + CGC 1D, 32 x 30 frames')
        assert open_row or row['exact'] == '' or row['Param, paper'] == row['Param, ours']


@pytest.fixture
def small(tmp_path):
    """A folder of configs with the two systems that Table 1 and 2 begin CIFAR-10 with, and nothing else."""
    shutil.copytree(ROOT / 'configs' / '_base_', tmp_path / '_base_')
    folder = tmp_path / CIFAR10
    folder.mkdir(parents=True)
    for name in ('resnet20', 'resnet110', 'cgc-resnet110'):
        shutil.copy(ROOT / 'configs' / CIFAR10 / f'{name}_1xb128-164e_cifar10.py', folder)
    return tmp_path


def run_tool(*args):
    command = [sys.executable, ROOT / 'tools' / 'analysis' / 'paper_tables.py', *args]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT)


def test_the_tool_succeeds_where_all_agrees_and_what_lacks_is_named(small):
    done = run_tool('--table', '2', '4', '--configs', small)
    assert done.returncode == 0, done.stderr
    ablations, translation = (cells('\n'.join(part.splitlines()[1:])) for part in done.stdout.split('Table ')[1:])
    assert ablations['ResNet-110 + CGC']['+MFLOPs, ours'] == '1.681'
    assert [row['Remarks'] for row in ablations.values()] == ['', ''] + ['no config yet'] * 13
    assert translation['Transformer'] == {
        'System': 'Transformer', 'Param, paper': '39.47M', 'Param, ours': '', 'exact': '', 'BLEU-4, paper': '34.41',
        'BLEU-4, ours': '', 'Remarks': 'no config yet'}  # fmt: skip


def test_the_tool_fails_where_a_config_builds_something_else(small):
    leaf = small / CIFAR10 / 'cgc-resnet110_1xb128-164e_cifar10.py'
    leaf.write_text(leaf.read_text().replace("type='CGConv'", "type='CGConv', gate=dict(shared_norm=True)"))
    done = run_tool('--table', '2', '--configs', small)
    assert done.returncode == 1
    assert cells(done.stdout)['ResNet-110 + CGC']['Remarks'] == 'DIFFERS: Param'


GATED = next(row for row in TABLES[2].rows if row.name == 'ResNet-110 + CGC')


@pytest.mark.parametrize(
    'change, agrees, remark',
    [
        ({}, True, ''),
        (dict(params='1.81M'), False, 'DIFFERS: Param'),
        (dict(params='1.798M', mflops='1.68'), True, ''),
        (dict(mflops='1.682'), False, 'DIFFERS: +MFLOPs'),
        (dict(params='1.7M', mflops='3'), False, 'DIFFERS: Param, +MFLOPs'),
        (dict(params='1.81M', undecided='two readings'), True, 'not decided: two readings'),
        (dict(mflops='3', unmatched='another counter'), True, '+MFLOPs not reproduced: another counter'),
        (dict(remark='two readings'), True, 'open: two readings'),
        (dict(base=f'{CIFAR10}/nothing.py'), True, 'no config yet'),
        (dict(config=''), True, 'cited by the paper, not built here'),
    ],
    ids=[
        'as-printed',
        'params',
        'other-digits',
        'mflops',
        'both',
        'undecided',
        'unmatched',
        'open',
        'no-base',
        'cited',
    ],
)
def test_a_printed_figure_is_held_against_ours(small, monkeypatch, change, agrees, remark):
    table = dataclasses.replace(TABLES[2], rows=(dataclasses.replace(GATED, **change),))
    monkeypatch.setattr(paper_tables, 'TABLES', {2: table})
    monkeypatch.setattr(paper_tables, '_measure', _measured_once)
    text, same = compare(2, small)
    assert same == agrees
    assert cells(text)['ResNet-110 + CGC']['Remarks'] == remark


def _measured_once(path, **options):
    return {'resnet110': (1_730_714, 256_320_128), 'cgc-resnet110': (1_797_681, 258_001_758)}[path.name.split('_')[0]]


def test_scores_of_our_runs_come_from_the_metafile(small, monkeypatch):
    (small / CIFAR10 / 'metafile.yml').write_text(
        'Models:\n'
        '  - Name: cgc-resnet110_1xb128-164e_cifar10\n'
        f'    Config: configs/{CIFAR10}/cgc-resnet110_1xb128-164e_cifar10.py\n'
        '    Results:\n'
        '      - {Task: Image Classification, Dataset: CIFAR-10, Metrics: {Top 1 Accuracy: 94.5}}\n'
        f'  - {{Name: resnet110, Config: configs/{CIFAR10}/resnet110_1xb128-164e_cifar10.py}}\n'
    )
    monkeypatch.setattr(paper_tables, '_measure', _measured_once)
    rows = cells(compare(2, small)[0])
    assert rows['ResNet-110 + CGC']['Top-1 (%), ours'] == '94.5'
    assert rows['ResNet-110']['Top-1 (%), ours'] == ''


def test_a_pattern_that_two_configs_match_is_refused(small, monkeypatch):
    row = Row('twice', f'{CIFAR10}/*resnet110_*.py', '1.73M', ('',))
    monkeypatch.setattr(paper_tables, 'TABLES', {2: dataclasses.replace(TABLES[2], rows=(row,))})
    with pytest.raises(ValueError, match='cgc-resnet110_1xb128-164e_cifar10.py, resnet110_1xb128-164e_cifar10.py'):
        compare(2, small)


def test_configs_are_found_or_asked_for(tmp_path):
    assert (config_root() / CIFAR10).is_dir()
    with pytest.raises(FileNotFoundError, match='nowhere.*--configs'):
        config_root(str(tmp_path / 'nowhere'))


def test_every_row_of_the_paper_is_there():
    assert {number: len(table.rows) for number, table in TABLES.items()} == {1: 9, 2: 15, 3: 18, 4: 6}
    for table in TABLES.values():
        assert len({row.name for row in table.rows}) == len(table.rows)
        assert all(len(row.scores) == len(table.scores) for row in table.rows)
    open_rows = {row.name for row in TABLES[3].rows if row.undecided}
    assert open_rows == {'TSN + CGC, 8 frames', 'TSM + CGC, 8 frames', 'TSM + CGC, 16 frames',
                         'P3D + CGC 3D, 32 x 30 frames', 'P3D + CGC 1D & 3D, 32 x 30 frames'}  # fmt: skip
