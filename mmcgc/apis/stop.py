"""End a training in order when Ctrl-C, SIGTERM or a full disk stops it."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..checkpoints.latest import latest_checkpoint

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Stop(BaseException):
    """The exception that a signal raises; an ``except Exception`` on the way does not catch it."""


class _StopLater(Hook):
    """Stop at the next batch if Python has swallowed the exception, as it does in ``__del__`` and around a fork."""

    def __init__(self, received: list[int]):
        self.received = received

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        if self.received:
            raise _Stop

    before_val_iter = before_train_iter


@contextmanager
def clean_stop(runner: Runner) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into one line and an exit status, and a full disk into an error that says what is left.

    Raises:
        SystemExit: If a signal came: with status 130 after Ctrl-C, 143 after SIGTERM.
        OSError: If the disk is full, or a quota or a limit is reached.
    """
    received, process = [], os.getpid()

    def stop(number: int, frame) -> None:
        if os.getpid() != process:  # in a worker that is too new to have handlers of its own
            os._exit(128 + number)
        received.append(number)
        raise _Stop

    runner.register_hook(_StopLater(received))
    unraisable = sys.unraisablehook

    def complain(swallowed) -> None:
        """Report a swallowed exception, but not after a signal and not of a worker, which a signal may reach first."""
        if not received and 'DataLoader worker' not in str(swallowed.exc_value):
            unraisable(swallowed)

    sys.unraisablehook = complain

    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        file, free = error.filename or 'a file', shutil.disk_usage(runner.work_dir).free / 1e6
        raise OSError(
            error.errno,
            f'{error.strerror}, writing {file}; {free:.1f} MB are free for {runner.work_dir}. '
            f'{_left(runner)} once there is room',
        ) from error
    except BaseException:
        if not received:
            raise
        if get_rank() == 0:
            runner.logger.warning(
                f'Stopped by {signal.Signals(received[0]).name} in iteration {runner.iter + 1} '
                f'(epoch {runner.epoch + 1}). {_left(runner)}'
            )
        raise SystemExit(128 + received[0]) from None
    finally:
        if not received:  # after a signal, a loader may be deleted later, with the exception's frames
            sys.unraisablehook = unraisable
        for number, handler in before.items():
            signal.signal(number, handler)


def _left(runner: Runner) -> str:
    checkpoint = latest_checkpoint(runner.work_dir)
    if checkpoint is None:
        return 'There is no checkpoint yet: start anew'
    return f'The last checkpoint, {checkpoint}, is whole: go on with --resume'
