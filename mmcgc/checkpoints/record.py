"""Keep a note of the checkpoints that a run has written, beside them."""

from __future__ import annotations

import json
from pathlib import Path

from ..whole_file import whole_file

RECORD = 'checkpoints.json'


class CheckpointRecord:
    """The names and steps of the checkpoints that the run of a work directory has written and not removed.

    A resumed run takes from this note which earlier checkpoints are its own to remove; what the checkpoint says of them
    may come from a stranger, or from another run in another folder.

    Args:
        work_dir: The work directory, which holds the note ``checkpoints.json``.

    Attributes:
        steps: Epoch or iteration by the name of the file.

    Raises:
        ValueError: If the note is damaged.
    """

    def __init__(self, work_dir: str | Path) -> None:
        self.path = Path(work_dir) / RECORD
        self.steps: dict[str, int] = {}
        try:
            steps = json.loads(self.path.read_text(encoding='utf-8')) if self.path.is_file() else {}
        except ValueError as error:
            raise ValueError(f'{self.path} is damaged ({error}): delete it; earlier checkpoints then stay') from error
        if isinstance(steps, dict):
            self.steps = {name: step for name, step in steps.items() if Path(name).name == name and type(step) is int}

    def keep_until(self, step: int) -> None:
        """Forget what was written after a step, because a run that resumes there goes on another way."""
        self.steps = {name: at for name, at in self.steps.items() if at <= step}

    def write(self) -> None:
        with whole_file(self.path) as part:
            part.write_text(json.dumps(self.steps, indent=1), encoding='utf-8')
