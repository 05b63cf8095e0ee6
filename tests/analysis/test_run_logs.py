"""Logs of mmengine as curves: what they hold, several seeds, runs that were resumed, damage."""

import csv
import json

import numpy as np
import pytest

from mmcgc.analysis.pictures.plot_curves import compare_curves
from mmcgc.analysis.pictures.plot_gate_history import draw_gate_history
from mmcgc.analysis.run_logs import read_run


def write_log(folder, records, time='20260101_000000'):
    path = folder / time / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(f'{json.dumps(record)}\n' for record in records))
    return str(folder)


def training(iteration, loss, epoch):
    return dict(lr=0.1, data_time=0.0, loss=loss, time=0.1, epoch=epoch, iter=iteration, step=iteration)


def validation(epoch, top1):
    return {'accuracy/top1': top1, 'accuracy/top5': 99.0, 'data_time': 0.0, 'time': 0.1, 'step': epoch}


def gates(step, mean):
    return {'gate/a.conv/mean': mean, 'gate/b.conv/mean': mean / 2, 'gate/a.conv/spread': 0.1,
            'gate/b.conv/spread': 0.2, 'step': step}  # fmt: skip


@pytest.fixture
def run(tmp_path):
    def make(name, offset=0.0):
        records = [training(10, 2 + offset, 1), gates(10, 0.5), training(20, 1 + offset, 1), validation(1, 50 + offset),
                   training(30, 0.5 + offset, 2), gates(30, 0.6), validation(2, 70 + offset)]  # fmt: skip
        return write_log(tmp_path / name, records)

    return make


def test_training_and_validation_are_told_apart(run):
    log = read_run(run('seed0'))
    assert log.training['loss'] == {10: 2, 20: 1, 30: 0.5} and log.by_epoch
    assert log.training['gate/a.conv/mean'] == {10: 0.5, 30: 0.6}
    assert log.validation['accuracy/top1'] == {1: 50, 2: 70}


def test_a_resumed_run_replaces_what_it_logs_again(run, tmp_path):
    folder = run('seed0')
    write_log(tmp_path / 'seed0', [training(20, 7, 1), validation(1, 55)], time='20260102_000000')
    log = read_run(folder)
    assert log.training['loss'] == {10: 2, 20: 7} and log.validation['accuracy/top1'] == {1: 55}


def test_seeds_become_a_mean_and_a_standard_deviation(run, tmp_path):
    out = tmp_path / 'new' / 'curves.png'
    line = compare_curves([['plain', run('p')], ['CGC', run('a'), run('b', 3.0)]], str(out))
    assert 'accuracy/top1' in line and 'plain 70.00' in line and 'CGC 71.50 ± 2.12 (2 runs)' in line
    assert out.stat().st_size > 10_000
    with out.with_suffix('.csv').open(newline='') as file:
        rows = {(r['network'], r['quantity'], int(r['step'])): r for r in csv.DictReader(file)}
    last = rows['CGC', 'training loss', 30]
    assert float(last['mean']) == 2 and float(last['std']) == pytest.approx(np.std([0.5, 3.5], ddof=1))
    assert last['unit'] == 'iteration' and rows['plain', 'accuracy/top1', 2]['unit'] == 'epoch'
    assert rows['plain', 'accuracy/top1', 2]['runs'] == '1' and len(rows) == 10


@pytest.mark.parametrize('networks, metric, error, message', [
    ([['plain', 'nowhere']], None, FileNotFoundError, 'no log'),
    ([['plain']], None, ValueError, 'plain has no run'),
    ([['plain', 'seed0']], 'bleu', ValueError, "no metric 'bleu'; it has accuracy/top1, accuracy/top5"),
], ids=['no-log', 'no-run', 'no-metric'])  # fmt: skip
def test_mistakes_are_named(networks, metric, error, message, run, tmp_path):
    run('seed0')
    networks = [[name, *(str(tmp_path / folder) for folder in folders)] for name, *folders in networks]
    with pytest.raises(error, match=message):
        compare_curves(networks, str(tmp_path / 'c.png'), metric)


def test_a_damaged_log_is_named(run, tmp_path):
    folder = run('seed0')
    path = tmp_path / 'seed0' / '20260101_000000' / 'vis_data' / 'scalars.json'
    path.write_text(path.read_text()[:-5] + '\n')
    with pytest.raises(ValueError, match='scalars.json is damaged'):
        read_run(folder)


def test_a_line_that_a_kill_cut_off_does_not_count(run, tmp_path):
    folder = run('seed0')
    path = tmp_path / 'seed0' / '20260101_000000' / 'vis_data' / 'scalars.json'
    path.write_text(path.read_text()[:-5])
    assert read_run(folder).validation['accuracy/top1'] == {1: 50}


def test_the_history_of_the_gates(run, tmp_path):
    line = draw_gate_history(run('seed0'), str(tmp_path / 'gates.png'))
    assert '2 layers' in line and 'mean 0.450' in line and (tmp_path / 'gates.png').stat().st_size > 10_000
    plain = write_log(tmp_path / 'plain', [training(10, 1.0, 1)])
    with pytest.raises(ValueError, match='GateStatisticsHook'):
        draw_gate_history(plain, str(tmp_path / 'no.png'))
