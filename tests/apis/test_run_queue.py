"""The queue: order, number at a time, one thread each, failures, kills, stops, and what is left running."""

import signal
import subprocess
import sys
import time

import pytest

from mmcgc.apis.run_queue import LOG, Training, run_queue

# Stands in for a training: leaves a checkpoint a tick and cost.json at its end, and goes on from where it was.
TRAIN = """
import os, pathlib, sys, time
folder, ticks, events = pathlib.Path(sys.argv[1]), int(sys.argv[2]), open(sys.argv[3], 'a')
done = max([int(path.stem.split('_')[1]) for path in folder.glob('epoch_*.pth')], default=0)
print(f'start {folder.name} {done} {os.environ["OMP_NUM_THREADS"]}', file=events, flush=True)
if ticks < 0:
    sys.exit('no such data')
for tick in range(done, ticks):
    time.sleep(0.05)
    (folder / f'epoch_{tick + 1}.pth').touch()
print(f'end {folder.name}', file=events, flush=True)
(folder / 'cost.json').touch()
"""


@pytest.fixture
def queue(tmp_path):
    """Trainings of so many ticks each, and the events that they log."""
    events = tmp_path / 'events'

    def make(*ticks):
        return [
            Training(
                (sys.executable, '-c', TRAIN, str(tmp_path / f'run{i}'), str(count), str(events)),
                tmp_path / f'run{i}',
                max(count, 1),
            )
            for i, count in enumerate(ticks)
        ]

    return make, lambda: events.read_text().splitlines() if events.exists() else []


def most_at_once(events):
    running, most = 0, 0
    for event in events:
        running += 1 if event.startswith('start') else -1
        most = max(most, running)
    return most


@pytest.mark.parametrize('jobs', [1, 2])
def test_so_many_at_a_time_in_their_order_with_one_thread_each(queue, jobs):
    make, events = queue
    trainings, said = make(*[20 * jobs] * 3), []
    run_queue(trainings, jobs, said.append, 0.01)
    starts = [event for event in events() if event.startswith('start')]
    starts[:jobs] = sorted(starts[:jobs])  # started together, they come up in any order
    assert starts == [f'start run{i} 0 1' for i in range(3)] and most_at_once(events()) == jobs
    assert all(training.finished and training.progress == 1 for training in trainings)
    assert said[0].startswith('0 of 3 trainings finished') and said[-1].startswith('3 of 3 trainings finished, 0 run')


def test_what_is_finished_is_not_run_again_and_what_was_broken_off_goes_on(queue):
    make, events = queue
    finished, broken_off = make(3, 6)
    run_queue([finished], 1, str, 0.01)
    broken_off.work_dir.mkdir()
    (broken_off.work_dir / 'epoch_4.pth').touch()
    assert broken_off.progress == 4 / 6
    run_queue([finished, broken_off], 1, str, 0.01)
    assert events() == ['start run0 0 1', 'end run0', 'start run1 4 1', 'end run1']


def test_a_failure_is_told_when_the_others_are_done(queue):
    make, _ = queue
    trainings = make(-1, 2)
    with pytest.raises(ChildProcessError, match=rf'1 of 2 trainings failed.*run0/{LOG} \(status 1\): no such data'):
        run_queue(trainings, 1, str, 0.01)
    assert trainings[1].finished


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(jobs=0), 'at least 1, got 0'),
        (dict(jobs=1, minutes=0), 'must be positive, got 0'),
    ],
    ids=['jobs', 'minutes'],
)
def test_numbers_must_be_positive(queue, arguments, message):
    with pytest.raises(ValueError, match=message):
        run_queue(queue[0](1), **arguments)


def test_the_time_may_be_limited(queue):
    make, events = queue
    said = []
    run_queue(make(100), 1, said.append, 0.01, minutes=1 / 60)
    assert said[-1] == 'The 0.0166667 minutes are over; the same command goes on'
    run_queue(make(100), 1, str, 0.01)
    first, second, end = events()
    assert int(second.split()[2]) > 0 and end == 'end run0'


def start_queue(tmp_path, ticks):
    """A queue of one training in a process of its own."""
    code = (
        f'import sys; from pathlib import Path; from mmcgc.apis.run_queue import Training, run_queue; '
        f'run_queue([Training((sys.executable, "-c", {TRAIN!r}, "{tmp_path}/run0", "{ticks}", "{tmp_path}/events"),'
        f'Path("{tmp_path}/run0"), {ticks})], 1, poll_seconds=0.01)'
    )
    process = subprocess.Popen([sys.executable, '-c', code])
    while not (tmp_path / 'run0' / 'epoch_3.pth').exists():
        time.sleep(0.01)
    return process


def test_what_a_killed_queue_has_left_running_is_waited_for(queue, tmp_path):
    make, events = queue
    start_queue(tmp_path, 60).kill()
    run_queue(make(60), 1, str, 0.01)
    assert events() == ['start run0 0 1', 'end run0']


def test_sigterm_stops_the_trainings(queue, tmp_path):
    make, events = queue
    process = start_queue(tmp_path, 100)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 128 + signal.SIGTERM
    run_queue(make(100), 1, str, 0.01)
    first, second, end = events()
    assert first == 'start run0 0 1' and end == 'end run0'
    assert int(second.split()[2]) >= 3
