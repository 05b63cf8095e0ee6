"""Write the tables of a comparison: each network over its seeds, and the paired difference of every two networks."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import mean, stdev

from scipy.stats import t as student

from ..engine.cost import COST
from ..whole_file import whole_file
from .run_logs import first_metric, read_run
from .tables import markdown_table

FIELDS = ('network', 'seed', 'metric', 'value', 'step', 'cpu_seconds', 'peak_bytes', 'commits')


@dataclass(frozen=True)
class Arm:
    """A network of the comparison: its name, and the work directories of its finished runs, by seed."""

    name: str
    runs: dict[int, Path]


def paired_difference(first: dict[int, float], second: dict[int, float]) -> tuple[list[float], float, float]:
    """Return the differences ``second - first`` of the seeds that both have, their mean, and half of its 95 % interval.

    The interval is Student's for the mean of the differences; it is infinite if there is only one.

    Raises:
        ValueError: If they have no seed in common.
    """
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        raise ValueError('the two have no seed in common')
    differences = [second[seed] - first[seed] for seed in seeds]
    if len(seeds) == 1:
        return differences, differences[0], math.inf
    half = student.ppf(0.975, len(seeds) - 1) * stdev(differences) / math.sqrt(len(seeds))
    return differences, mean(differences), float(half)


def read_runs(paths: Sequence[str | Path]) -> list[dict]:
    """Read the rows of ``runs.csv`` of comparisons, as :func:`write_tables` writes it; for each run the first counts.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is not that of a comparison.
    """
    found: dict[tuple[str, int], dict] = {}
    for path in paths:
        with open(path, newline='', encoding='utf-8') as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != FIELDS:
                raise ValueError(f'{path} is no runs.csv of a comparison: expected the columns {", ".join(FIELDS)}')
            for line, row in enumerate(reader, 2):
                try:
                    whole = {name: int(row[name]) for name in ('seed', 'step', 'peak_bytes')}
                    row |= whole | {name: float(row[name]) for name in ('value', 'cpu_seconds')}
                except (TypeError, ValueError) as error:
                    raise ValueError(f'{path}, line {line}: a number was expected ({error})') from error
                found.setdefault((row['network'], row['seed']), row)
    return list(found.values())


def write_tables(
    arms: Sequence[Arm], folder: Path, metric: str | None, command: str, elsewhere: Sequence[dict] = ()
) -> str:
    """Write ``runs.csv``, a line a run, and ``table.md``; return the latter.

    Args:
        arms: The networks of the comparison.
        folder: Folder of the files.
        metric: A scalar of the validation; by default the first.  Its last value counts.
        command: The command line that stands below the tables.
        elsewhere: Rows of other runs of these networks, from :func:`read_runs`.

    Raises:
        FileNotFoundError, ValueError: If a run has no log, or not that metric.
    """
    rows = [_row(arm.name, seed, run, metric) for arm in arms for seed, run in arm.runs.items()] + [*elsewhere]
    order = [arm.name for arm in arms]
    rows.sort(key=lambda row: (order.index(row['network']), row['seed']))
    metrics = dict.fromkeys([*([metric] if metric else []), *(row['metric'] for row in rows)])
    if len(metrics) > 1:
        raise ValueError(f'the runs are of different metrics, {", ".join(metrics)}: name one that all have')
    with whole_file(folder / 'runs.csv') as part, part.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    text = f'{_networks(arms, rows)}\n\n{_differences(arms, rows)}\n\n```shell\n{command}\n```\n'
    with whole_file(folder / 'table.md') as part:
        part.write_text(text, encoding='utf-8')
    return text


def _row(name: str, seed: int, run: Path, metric: str | None) -> dict:
    log = read_run(str(run))
    metric = metric or first_metric(log)
    if metric not in log.validation:
        raise ValueError(f'{run} has logged no metric {metric!r}; it has {", ".join(log.validation)}')
    step, value = max(log.validation[metric].items())
    cost = json.loads((run / COST).read_text())
    return dict(
        network=name,
        seed=seed,
        metric=metric,
        value=value,
        step=step,
        cpu_seconds=cost['cpu_seconds'],
        peak_bytes=cost['peak_bytes'],
        commits=' '.join(cost['commits']),
    )


def _digits(rows: list[dict]) -> int:
    """Return how many decimals figures get: two, or four if they are shares of one, as mmaction2's accuracy is."""
    return 2 if max(abs(row['value']) for row in rows) > 1 else 4


def _networks(arms: Sequence[Arm], rows: list[dict]) -> str:
    lines, digits = [], _digits(rows)
    for arm in arms:
        own = [row for row in rows if row['network'] == arm.name]
        values = [row['value'] for row in own]
        spread = f' ± {stdev(values):.{digits}f}' if len(values) > 1 else ''
        commits = dict.fromkeys(commit for row in own for commit in row['commits'].split())
        lines.append(
            [
                arm.name,
                ', '.join(f'{value:.{digits}f}' for value in values),
                f'{mean(values):.{digits}f}{spread}',
                f'{mean(row["cpu_seconds"] for row in own):,.0f} s',
                f'{max(row["peak_bytes"] for row in own) / 2**20:,.0f} MiB',
                ', '.join(commits),
            ]
        )
    seeds = ', '.join(str(seed) for seed in dict.fromkeys(row['seed'] for row in rows))
    header = ['network', f'{rows[0]["metric"]}, seeds {seeds}', 'mean ± s.d.', 'CPU time', 'peak memory', 'commit']
    return markdown_table(header, lines, right=(1, 2, 3, 4))


def _differences(arms: Sequence[Arm], rows: list[dict]) -> str:
    values = {arm.name: {row['seed']: row['value'] for row in rows if row['network'] == arm.name} for arm in arms}
    lines, digits = [], _digits(rows)
    for first, second in combinations(values, 2):
        if values[first].keys() & values[second].keys():
            differences, centre, half = paired_difference(values[first], values[second])
            interval = (
                f'{centre - half:+.{digits}f} to {centre + half:+.{digits}f}' if math.isfinite(half) else 'one pair'
            )
            lines.append(
                [
                    f'{second} − {first}',
                    ', '.join(f'{difference:+.{digits}f}' for difference in differences),
                    f'{centre:+.{digits}f}',
                    interval,
                ]
            )
    return markdown_table(['difference', 'by seed', 'mean', '95% interval'], lines, right=(1, 2, 3)) if lines else ''
