"""Record what a training costs in CPU time and memory, across its interruptions."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.utils import get_git_hash

from ..registry import HOOKS
from ..whole_file import whole_file

try:
    import resource
except ImportError:  # Windows
    resource = None

COST = 'cost.json'


@HOOKS.register_module()
class CostHook(Hook):
    """Write ``cost.json`` to the work directory when the training has come to its end.

    It holds ``cpu_seconds`` (user and system time of the main process and of the workers that have ended),
    ``peak_bytes`` (the largest resident set of the main process; 0 if the system does not tell) and ``commits`` (those
    of the code, as git tells them in the current folder).  What a run has spent goes into its checkpoints, so that a
    resumed run adds to it, and work that was lost in a kill does not count.
    """

    priority = 'VERY_LOW'  # because other hooks may refuse a checkpoint after it was loaded

    def __init__(self) -> None:
        self.before = dict(cpu_seconds=0.0, peak_bytes=0, commits=[])
        self.start = 0.0  # CPU seconds of this process that do not count: those before it resumed

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if runner._resume:
            self.before = checkpoint.get('cost', self.before)
            self.start = _cpu_seconds()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint['cost'] = self.cost()

    @master_only
    def after_train(self, runner: Runner) -> None:
        with whole_file(Path(runner.work_dir, COST)) as part:
            part.write_text(json.dumps(self.cost(), indent=2) + '\n')

    def cost(self) -> dict:
        """Return what this run and those that it goes on from have cost so far."""
        commit = get_git_hash(digits=7) or 'unknown'
        return dict(
            cpu_seconds=self.before['cpu_seconds'] + _cpu_seconds() - self.start,
            peak_bytes=max(self.before['peak_bytes'], peak_resident_bytes()),
            commits=list(dict.fromkeys([*self.before['commits'], commit])),
        )


def _cpu_seconds() -> float:
    return sum(os.times()[:4])  # user and system time, of this process and of children that have ended


def peak_resident_bytes() -> int:
    """Return the largest resident set of this process so far, 0 if the system does not tell (Windows)."""
    if resource is None:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)
