"""``tools/compare.py``: killed with its trainings in the middle it ends with the table of an uninterrupted one."""

import csv
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from helpers import ROOT, tool_environment

from mmcgc.analysis.compare import compare

CONFIGS = [f'configs/quickstart/{name}resnet20_1xb32-10e_digits.py' for name in ('', 'cgc-')]
SMALL = ['train_cfg.max_epochs=3', 'train_dataloader.dataset.indices=96', 'val_dataloader.dataset.indices=100',
         'model.backbone.depth=8', 'model.backbone.base_channels=4', 'model.backbone.stem_channels=4',
         'model.head.in_channels=16']  # fmt: skip
RESULT = ('network', 'seed', 'metric', 'value', 'step')
PLAIN, GATED = 'resnet20_1xb32-10e_digits', 'cgc-resnet20_1xb32-10e_digits'


def start(tiny, work_dir, *seeds):
    command = [sys.executable, 'tools/compare.py', *CONFIGS, '--seeds', *seeds, '--jobs', '2', '--work-dir',
               str(work_dir), '--cfg-options', *SMALL]  # fmt: skip
    return subprocess.Popen(command, cwd=ROOT, env=tool_environment(tiny), text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)  # fmt: skip


def finish(process):
    output, _ = process.communicate(timeout=600)
    return process.returncode, output


def runs(work_dir):
    with (work_dir / 'runs.csv').open(newline='') as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope='module')
def whole(tiny, tmp_path_factory):
    """An uninterrupted comparison and what it said."""
    work_dir = tmp_path_factory.mktemp('compare') / 'whole'
    status, output = finish(start(tiny, work_dir, '0', '1'))
    assert status == 0, output
    return work_dir, output


def test_the_table_the_curves_and_the_runs(whole):
    work_dir, output = whole
    assert '4 of 4 trainings finished' in output and (work_dir / 'table.md').read_text().strip() in output
    assert f'{GATED} − {PLAIN}' in output and 'tools/compare.py' in output
    assert (work_dir / 'curves.png').stat().st_size and (work_dir / 'curves.csv').stat().st_size
    rows = runs(work_dir)
    assert [(row['network'], row['seed'], row['step']) for row in rows] == [
        (name, seed, '3') for name in (PLAIN, GATED) for seed in '01'
    ]
    assert all(float(row['cpu_seconds']) > 0 and int(row['peak_bytes']) > 2**20 and row['commits'] for row in rows)
    plain, gated = (torch.load(work_dir / 'initial' / 'seed-1' / f'{name}.pth') for name in (PLAIN, GATED))
    assert all(torch.equal(gated['state_dict'][key], value) for key, value in plain['state_dict'].items())
    for name in (PLAIN, GATED):
        log = (work_dir / name / 'seed-1' / 'train.log').read_text()
        assert re.search(rf'Load checkpoint from .*initial/seed-1/{name}\.pth', log)


def test_killed_in_the_middle_it_ends_with_the_table_of_an_uninterrupted_one(whole, tiny, tmp_path):
    process = start(tiny, tmp_path, '0')
    while not list(tmp_path.glob('*/seed-*/epoch_*.pth')):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    trainings = subprocess.run(['pgrep', '-P', str(process.pid)], capture_output=True, text=True).stdout.split()
    for pid in [process.pid, *map(int, trainings)]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert len(trainings) == 2 and not (tmp_path / 'runs.csv').exists()
    status, output = finish(start(tiny, tmp_path, '0'))
    assert status == 0, output
    expected = [row for row in runs(whole[0]) if row['seed'] == '0']
    for row, other in zip(runs(tmp_path), expected, strict=True):
        assert [row[column] for column in RESULT] == [other[column] for column in RESULT]
        # What the kill threw away does not count.
        assert float(row['cpu_seconds']) == pytest.approx(float(other['cpu_seconds']), rel=0.5)


def test_without_a_finished_run_there_is_no_table_yet(tiny, tmp_path):
    command = [sys.executable, 'tools/compare.py', *CONFIGS, '--seeds', '0', '--minutes', '0.02', '--work-dir',
               str(tmp_path), '--cfg-options', *SMALL]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env=tool_environment(tiny), text=True, capture_output=True)
    assert done.returncode == 0 and 'minutes are over; the same command goes on' in done.stdout
    assert f'No table yet: no run of {PLAIN}, {GATED} is finished' in done.stdout


def draw(work_dir, seeds, small=SMALL, **options):
    given = dict(text.split('=') for text in small)
    return compare(
        [str(ROOT / path) for path in CONFIGS],
        seeds,
        str(work_dir),
        'tools/train.py',
        draw_only=True,
        cfg_options={key: int(value) for key, value in given.items()},
        **options,
    )


def test_what_is_trained_is_drawn_again_for_the_seeds_that_are_asked_for(whole):
    text = draw(whole[0], [1], metric='accuracy/top1', command='python tools/compare.py')
    assert 'one pair' in text and 'accuracy/top1, seeds 1 ' in text and len(runs(whole[0])) == 2


def test_runs_made_elsewhere_are_not_run_again(whole, tmp_path):
    records = tmp_path / 'records.csv'
    expected = draw(whole[0], [0, 1], command='python tools/compare.py')
    lines = (whole[0] / 'runs.csv').read_text().splitlines(keepends=True)
    records.write_text(lines[0] + ''.join(line for line in lines[1:] if not line.startswith(f'{GATED},0,')))
    (tmp_path / 'here' / GATED).mkdir(parents=True)
    (tmp_path / 'here' / GATED / 'seed-0').symlink_to(whole[0] / GATED / 'seed-0')  # the one that is not recorded
    text = draw(tmp_path / 'here', [0, 1], runs_from=[str(records)], command='python tools/compare.py')
    assert text == expected
    assert (tmp_path / 'here/runs.csv').read_text() == (whole[0] / 'runs.csv').read_text()


@pytest.mark.parametrize(
    ('error', 'message', 'options'),
    [
        (ValueError, 'made with another config', dict(seeds=[0], small=[*SMALL[1:], 'train_cfg.max_epochs=4'])),
        (ValueError, 'must each be given once', dict(seeds=[0, 0])),
        (FileNotFoundError, 'no run of resnet20_1xb32-10e_digits, .* is finished', dict(seeds=[7])),
        (ValueError, "has logged no metric 'bleu'", dict(seeds=[0], metric='bleu')),
    ],
    ids=['another-config', 'a-seed-twice', 'nothing-finished', 'another-metric'],
)
def test_what_cannot_be_compared_is_told(whole, error, message, options):
    with pytest.raises(error, match=message):
        draw(whole[0], **options)
