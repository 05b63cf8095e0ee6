"""The tables of a comparison: means, paired differences with Student's interval, and what stands in the CSV."""

import csv
import json
import math

import pytest

from mmcgc.analysis.comparison_table import FIELDS, Arm, paired_difference, read_runs, write_tables


@pytest.mark.parametrize(
    ('first', 'second', 'expected'),
    [
        ({0: 1.0, 1: 2.0, 2: 3.0}, {0: 2.0, 1: 4.0, 2: 6.0}, ([1, 2, 3], 2.0, 4.302653 / math.sqrt(3))),
        ({0: 1.0, 1: 2.0}, {1: 5.0, 0: 2.0}, ([1, 3], 2.0, 12.706205)),
        ({0: 1.0, 1: 2.0, 2: 9.0}, {2: 10.0, 3: 1.0}, ([1], 1.0, math.inf)),
    ],
    ids=['three-pairs', 'two-pairs', 'one-seed-in-common'],
)
def test_differences_are_paired_by_seed(first, second, expected):
    differences, centre, half = paired_difference(first, second)
    assert differences == expected[0] and centre == expected[1] and half == pytest.approx(expected[2], rel=1e-6)


def test_without_a_common_seed_there_is_no_difference():
    with pytest.raises(ValueError, match='no seed in common'):
        paired_difference({0: 1.0}, {1: 1.0})


@pytest.fixture
def arms(tmp_path):
    """Two networks of three seeds, each of two epochs."""

    def run(name, seed, value):
        log = tmp_path / name / f'seed-{seed}' / '20260101_000000' / 'vis_data' / 'scalars.json'
        log.parent.mkdir(parents=True)
        records = [dict(loss=1.0, epoch=1, iter=1, step=1), {'accuracy/top1': 99.0, 'step': 1},
                   {'accuracy/top1': value, 'accuracy/top5': 100.0, 'step': 2}]  # fmt: skip
        log.write_text(''.join(f'{json.dumps(record)}\n' for record in records))
        cost = dict(cpu_seconds=1000.0 * (seed + 1), peak_bytes=2**20 * (seed + 1), commits=['abc1234'])
        (log.parents[2] / 'cost.json').write_text(json.dumps(cost))
        return log.parents[2]

    values = dict(plain=[50.0, 51.0, 52.0], gated=[51.0, 53.0, 55.0])
    return [Arm(name, {seed: run(name, seed, value) for seed, value in enumerate(column)})
            for name, column in values.items()]  # fmt: skip


def test_the_tables(arms, tmp_path):
    text = write_tables(arms, tmp_path, None, 'python tools/compare.py ...')
    assert text == (tmp_path / 'table.md').read_text()
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines() if line[:1] == '|']
    assert cells[0] == ['network', 'accuracy/top1, seeds 0, 1, 2', 'mean ± s.d.', 'CPU time', 'peak memory', 'commit']
    assert cells[2] == ['plain', '50.00, 51.00, 52.00', '51.00 ± 1.00', '2,000 s', '3 MiB', 'abc1234']
    assert cells[3] == ['gated', '51.00, 53.00, 55.00', '53.00 ± 2.00', '2,000 s', '3 MiB', 'abc1234']
    assert cells[6] == ['gated − plain', '+1.00, +2.00, +3.00', '+2.00', '-0.48 to +4.48']
    with (tmp_path / 'runs.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 and rows[3] == dict(
        network='gated',
        seed='0',
        metric='accuracy/top1',
        value='51.0',
        step='2',
        cpu_seconds='1000.0',
        peak_bytes=str(2**20),
        commits='abc1234',
    )


def test_a_metric_that_was_not_logged_is_named(arms, tmp_path):
    with pytest.raises(ValueError, match=r"no metric 'bleu'; it has accuracy/top1"):
        write_tables(arms, tmp_path, 'bleu', '')


def test_rows_of_a_file_come_back_and_stand_beside_those_of_here(arms, tmp_path):
    whole = write_tables(arms, tmp_path, None, 'command')
    rows = read_runs([tmp_path / 'runs.csv'])
    assert len(rows) == 6 and rows[5]['value'] == 55.0 and rows[5]['seed'] == 2 and rows[5]['peak_bytes'] == 3 * 2**20
    some = [Arm('plain', {2: arms[0].runs[2]}), Arm('gated', {})]
    assert write_tables(some, tmp_path, None, 'command', [row for row in rows if row is not rows[2]]) == whole
    shares = [dict(row, value=row['value'] / 100) for row in rows]
    assert '0.5100 ± 0.0100' in write_tables([Arm('plain', {}), Arm('gated', {})], tmp_path, None, 'command', shares)
    with pytest.raises(ValueError, match='different metrics, accuracy/top5, accuracy/top1: name one'):
        write_tables(some, tmp_path, 'accuracy/top5', 'command', rows)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a,b\n1,2\n', 'is no runs.csv of a comparison: expected the columns network, seed'),
        (f'{",".join(FIELDS)}\nplain,0,top1,none,2,1.0,1,abc\n', 'line 2: a number was expected'),
        (f'{",".join(FIELDS)}\nplain,0\n', 'line 2: a number was expected'),
    ],
    ids=['other-columns', 'no-number', 'cut'],
)
def test_other_files_are_refused(tmp_path, text, message):
    (tmp_path / 'runs.csv').write_text(text)
    with pytest.raises(ValueError, match=message):
        read_runs([tmp_path / 'runs.csv'])
