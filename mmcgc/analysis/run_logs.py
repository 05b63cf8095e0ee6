"""Read what a run has logged: the scalars that MMEngine's LocalVisBackend writes to ``<work dir>/<time>/vis_data``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

LOGS = '*/vis_data/scalars.json'  # below a work directory


@dataclass
class RunLog:
    """The scalars of a run, by the number of the iteration or epoch.

    Attributes:
        name: Name of the work directory.
        training: {iteration: value} by name, for the loss, the learning rate, ..., and what hooks log.
        validation: {epoch: value} by name, or {iteration: value} if the run counts no epochs.
        by_epoch: Whether ``validation`` counts epochs.
    """

    name: str
    training: dict[str, dict[int, float]]
    validation: dict[str, dict[int, float]]
    by_epoch: bool


def read_run(work_dir: str) -> RunLog:
    """Read the logs of a run and of those that resumed it; what a later one logged again replaces the earlier.

    A last line without its end, which a killed run leaves, does not count.

    Raises:
        FileNotFoundError: If there is no log.
        ValueError: If a log is damaged.
    """
    files = sorted(Path(work_dir).glob(LOGS))
    if not files:
        raise FileNotFoundError(
            f'no log {LOGS} in {work_dir}; give the work directory of a run with LocalVisBackend among its vis_backends'
        )
    training, validation = {}, {}
    for file in files:
        new = [_parse(line, file) for line in file.read_text().split('\n')[:-1]]
        for old, records in zip((training, validation), _split(new), strict=True):
            first = min((step for step, _ in records), default=float('inf'))
            for values in old.values():
                for step in [step for step in values if step >= first]:
                    del values[step]
            for step, record in records:
                for name, value in record.items():
                    old.setdefault(name, {})[step] = value
    by_epoch = 'epoch' in training
    return RunLog(Path(work_dir).name, training, validation, by_epoch)


def first_metric(log: RunLog) -> str:
    """Return the name of the first metric of the validation, or an empty text if there was none."""
    return next((name for name in log.validation if name not in ('step', 'time', 'data_time')), '')


def _parse(line: str, file: Path) -> dict:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f'{file} is damaged: {error} in {line[:60]!r}') from error


def _split(records: list[dict]) -> tuple[list[tuple[int, dict]], list[tuple[int, dict]]]:
    """Split records into (step, record) of training and of validation.

    Those of training have an iteration, or statistics of gates.
    """
    both = [], []
    for record in records:
        validation = 'iter' not in record and not any(name.startswith('gate/') for name in record)
        both[validation].append((record['step'], {k: v for k, v in record.items() if isinstance(v, (int, float))}))
    return both
