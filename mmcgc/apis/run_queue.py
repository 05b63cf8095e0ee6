"""Run a queue of trainings, some at a time, which may be killed and started again at any moment."""

from __future__ import annotations

import fcntl
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..checkpoints.latest import latest_checkpoint
from ..engine.cost import COST

LOCK, LOG = 'train.lock', 'train.log'
ONE_THREAD = {name: '1' for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS')}
REPORT_SECONDS = 60


@dataclass(frozen=True)
class Training:
    """One training of the queue.

    Attributes:
        command: The command that trains in a process of its own.  It must go on from the latest checkpoint when it is
            started again, and leave ``cost.json`` at its end, as ``tools/train.py --resume`` does.
        work_dir: Folder of the training; its output goes to ``train.log`` there.
        length: Epochs or iterations of the training, whichever the names of its checkpoints count.
    """

    command: tuple[str, ...]
    work_dir: Path
    length: int

    @property
    def finished(self) -> bool:
        return (self.work_dir / COST).is_file()

    @property
    def progress(self) -> float:
        """The share of the training, from 0 to 1, that the latest checkpoint holds."""
        if self.finished:
            return 1.0
        number = re.search(r'_(\d+)\.pth$', latest_checkpoint(self.work_dir) or '')
        return int(number[1]) / self.length if number else 0.0


def run_queue(
    trainings: Sequence[Training],
    jobs: int,
    report: Callable[[str], None] = print,
    poll_seconds: float = 1.0,
    minutes: float | None = None,
) -> None:
    """Run the trainings that are not finished to their end, in their order, ``jobs`` at a time, one thread each.

    A training holds a lock in its work directory as long as it lives.  So a training that a killed queue has left
    running counts as one of the jobs, and several queues may share the trainings.  SIGTERM, Ctrl-C and the end of
    ``minutes``, if given, stop the trainings, which go on from their latest checkpoint when the queue runs again.

    Raises:
        ValueError: If ``jobs`` or ``minutes`` is not positive.
        ChildProcessError: If trainings failed, after the others have finished; the error names their logs.
    """
    if jobs < 1:
        raise ValueError(f'the number of jobs must be at least 1, got {jobs}')
    if minutes is not None and minutes <= 0:
        raise ValueError(f'the minutes must be positive, got {minutes}')
    end = math.inf if minutes is None else time.monotonic() + 60 * minutes
    children: dict[Training, subprocess.Popen] = {}
    failed: dict[Training, int] = {}
    clock = _Clock(trainings, report)
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        while True:
            for training, process in list(children.items()):
                if process.poll() is not None:
                    del children[training]
                    if not training.finished:
                        failed[training] = process.returncode
            running = [training for training in trainings if _is_running(training)]
            waiting = [t for t in trainings if not (t.finished or t in running or t in children or t in failed)]
            for training in waiting[: max(0, jobs - len(running))]:
                process = _start(training)
                if process is not None:
                    children[training] = process
                    running.append(training)
            clock.tell(len(running))
            if not running and not waiting:
                break
            if time.monotonic() > end:
                report(f'The {minutes:g} minutes are over; the same command goes on')
                break
            time.sleep(poll_seconds)
    finally:
        for process in children.values():
            process.terminate()
        for process in children.values():
            process.wait()
        signal.signal(signal.SIGTERM, before)
    if failed:
        ends = '; '.join(f'{t.work_dir / LOG} (status {code}): {_last_line(t)}' for t, code in failed.items())
        raise ChildProcessError(
            f'{len(failed)} of {len(trainings)} trainings failed; given again, the same command goes on '
            f'from where they are. {ends}'
        )


def _is_running(training: Training) -> bool:
    lock = _lock(training)
    if lock is not None:
        lock.close()
    return lock is None


def _lock(training: Training) -> IO | None:
    """Return the locked file, whose lock lasts while any process has it open, or None if another process holds it."""
    training.work_dir.mkdir(parents=True, exist_ok=True)
    file = open(training.work_dir / LOCK, 'w')
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _start(training: Training) -> subprocess.Popen | None:
    """Start a training, which inherits the lock, or return None if another queue was first."""
    lock = _lock(training)
    if lock is None:
        return None
    with lock, open(training.work_dir / LOG, 'a') as log:
        if training.finished:
            return None
        return subprocess.Popen(
            [*training.command],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **ONE_THREAD},
            pass_fds=[lock.fileno()],
            start_new_session=True,
        )


def _last_line(training: Training) -> str:
    lines = (training.work_dir / LOG).read_text(errors='replace').splitlines()
    return next((line for line in reversed(lines) if line.strip()), 'no output')


class _Clock:
    """Tell what is done and how long the rest will take, when a training has begun or ended, and every minute."""

    def __init__(self, trainings: Sequence[Training], report: Callable[[str], None]) -> None:
        self.trainings, self.report = trainings, report
        self.start, self.done_before = time.monotonic(), self._done()
        self.told, self.last = -float(REPORT_SECONDS), None

    def _done(self) -> float:
        return sum(training.progress for training in self.trainings)

    def tell(self, running: int) -> None:
        state = sum(training.finished for training in self.trainings), running
        if state == self.last and time.monotonic() - self.told < REPORT_SECONDS:
            return
        self.told, self.last = time.monotonic(), state
        done = self._done()
        gained, left = done - self.done_before, len(self.trainings) - done
        seconds = left / gained * (self.told - self.start) if gained > 0 else None
        rest = 'time left unknown' if seconds is None else f'about {_duration(seconds)} left'
        self.report(
            f'{state[0]} of {len(self.trainings)} trainings finished, {running} running, '
            f'{done / len(self.trainings):.0%} done, {rest}'
        )


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f'{minutes // 60} h {minutes % 60} min' if minutes >= 60 else f'{minutes} min'
