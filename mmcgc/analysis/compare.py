"""Train several configs over several seeds, and write the table, curves and numbers that compare them."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from ..apis.initial_weights import write_initial_weights
from ..apis.launch import load_config
from ..apis.run_queue import Training, run_queue
from ..whole_file import check_outputs, whole_file
from .comparison_table import Arm, read_runs, write_tables
from .pictures.plot_curves import compare_curves


def compare(
    configs: Sequence[str],
    seeds: Sequence[int],
    work_dir: str,
    train_tool: str,
    jobs: int = 1,
    minutes: float | None = None,
    metric: str | None = None,
    cfg_options: dict | None = None,
    draw_only: bool = False,
    runs_from: Sequence[str] = (),
    command: str = '',
) -> str:
    """Train every config with every seed, and compare the results.

    A run is in ``<work_dir>/<name of the config>/seed-<K>``; one that is finished is not run again, and one that was
    broken off goes on.  The runs of a seed see the samples in the same order, and start with the same weights as far
    as they have them in common (:func:`write_initial_weights`).

    Args:
        configs: Paths of the configs; the first is the one that the others share their initial weights with.
        seeds: Seeds of the trainings; all configs are trained with the first seed before the next one.
        work_dir: Folder of the whole comparison.
        train_tool: Path of ``tools/train.py``.
        jobs: Trainings at a time, of one thread each.
        minutes: Time after which to stop; the same call goes on later.
        metric: A scalar of the validation, by default the first that is logged; its last value counts.
        cfg_options: Overrides of all configs.
        draw_only: Whether to train nothing, and take the runs that are finished.
        runs_from: The ``runs.csv`` of comparisons made elsewhere.  Their runs count as finished and stand in the
            table, but not among the curves.
        command: The command line that stands below the table.

    Returns:
        The table, or a line that says which networks have no finished run yet.  The table is also in ``table.md``; the
        runs are in ``runs.csv``, the curves in ``curves.png`` and ``curves.csv``.

    Raises:
        FileNotFoundError: If a config is missing, or with ``draw_only`` none of its runs is finished.
        ValueError: If two configs have one name, runs of ``work_dir`` were made with a config that has changed, or a
            file of ``runs_from`` is not that of a comparison, or has another metric.
        ChildProcessError: If a training failed.
    """
    folder = Path(work_dir)
    paths = {Path(path).stem: path for path in configs}
    if len(paths) < len(configs) or len(set(seeds)) < len(seeds):
        raise ValueError(f'configs and seeds must each be given once, got {", ".join(configs)} and seeds {list(seeds)}')
    loaded = {name: load_config(path, None, cfg_options, 'none') for name, path in paths.items()}
    check_outputs([folder / name for name in ('settings.json', *paths)], configs)
    _keep_settings(folder / 'settings.json', loaded)
    check_outputs([folder / 'runs.csv'], runs_from)
    elsewhere = [row for row in read_runs(runs_from) if row['network'] in paths and row['seed'] in seeds]
    done = {(row['network'], row['seed']) for row in elsewhere}
    runs = {
        (name, seed): folder / name / f'seed-{seed}' for seed in seeds for name in paths if (name, seed) not in done
    }
    overrides = [f'{key}={value}' for key, value in (cfg_options or {}).items()]
    commands = {
        (name, seed): [
            train_tool,
            paths[name],
            '--seed',
            str(seed),
            '--work-dir',
            str(run),
            '--resume',
            '--cfg-options',
            f'load_from={folder}/initial/seed-{seed}/{name}.pth',
            *overrides,
        ]
        for (name, seed), run in runs.items()
    }
    trainings = {
        key: Training((sys.executable, *commands[key]), run, _length(loaded[key[0]])) for key, run in runs.items()
    }
    if not draw_only:
        for seed in dict.fromkeys(seed for _, seed in runs):
            write_initial_weights(loaded, seed, folder / 'initial' / f'seed-{seed}')
        run_queue(list(trainings.values()), jobs, minutes=minutes)
    finished = {key: run for key, run in runs.items() if trainings[key].finished}
    arms = [Arm(name, {seed: run for (other, seed), run in finished.items() if other == name}) for name in paths]
    missing = [arm.name for arm in arms if not (arm.runs or any(name == arm.name for name, _ in done))]
    if missing and not draw_only:  # because the minutes were over
        return f'No table yet: no run of {", ".join(missing)} is finished'
    if missing:
        raise FileNotFoundError(
            f'no run of {", ".join(missing)} in {folder} is finished; without --draw-only they are trained'
        )
    if finished:
        curves = [[arm.name, *map(str, arm.runs.values())] for arm in arms if arm.runs]
        compare_curves(curves, folder / 'curves.png', metric)
    return write_tables(arms, folder, metric, command, elsewhere)


def _length(cfg: Config) -> int:
    """Return the number of epochs, or of iterations if the config counts them."""
    return cfg.train_cfg.get('max_epochs') or cfg.train_cfg.max_iters


def _keep_settings(path: Path, loaded: dict[str, Config]) -> None:
    """Note the configs, and refuse one that has changed: its runs are kept, and must all be made with one config."""
    sums = {name: hashlib.sha256(cfg.pretty_text.encode()).hexdigest() for name, cfg in loaded.items()}
    before = json.loads(path.read_text()) if path.is_file() else {}
    other = [name for name, value in sums.items() if before.get(name, value) != value]
    if other:
        raise ValueError(
            f'{path.parent} holds runs of {", ".join(other)} that were made with another config or other '
            '--cfg-options: take it back, give another --work-dir, or remove those runs and that name in '
            f'{path}'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_text(json.dumps({**before, **sums}, indent=2) + '\n')
