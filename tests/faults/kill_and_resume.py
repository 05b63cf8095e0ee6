"""Kills trainings of a config with SIGKILL, resumes them, and compares what they end with to an uninterrupted training.

    python tests/faults/kill_and_resume.py CONFIG --kills 20 --cfg-options train_cfg.max_epochs=3

A kill comes at a random time, in the middle of a step, of writing a checkpoint or of loading a batch.  After each one
every checkpoint that a resumed training might take must be whole.  The last line counts the kills; the exit status is
1 where a training ended with other weights, other optimiser states or another iteration.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch
from mmengine.config import DictAction
from mmengine.runner.checkpoint import CheckpointLoader
from torch.utils.data import _utils
from torch.utils.data.dataloader import _BaseDataLoaderIter

from mmcgc.apis import launch
from mmcgc.checkpoints.latest import latest_checkpoint
from mmcgc.engine.safe_checkpoint import WholeFileBackend

MOMENTS = ('step', 'write', 'load', 'time')
KILLS_PER_TRAINING = 5


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_step(count: int) -> None:
    """In iteration ``count``: its weights are new, its hooks are still to come."""
    zero_grad = torch.optim.Optimizer.zero_grad
    calls = iter(range(count))

    def killed(*args, **kwargs):
        if next(calls, None) is None:
            die()
        return zero_grad(*args, **kwargs)

    torch.optim.Optimizer.zero_grad = killed


def die_in_write(count: int) -> None:
    """While a checkpoint is written, or while it takes its place, or before the note beside it names it."""
    put, moment = WholeFileBackend.put, count % 3

    def half(self, obj, filepath):
        path = Path(filepath)
        path.with_name(f'.{path.stem}.{os.getpid()}.part{path.suffix}').write_bytes(obj[: len(obj) // 2])
        die()

    def unplaced(source, target):
        die()

    def placed(self, obj, filepath):
        put(self, obj, filepath)
        (Path(filepath).parent / 'last_checkpoint').write_text('')
        die()

    if moment == 1:
        os.replace = unplaced
    else:
        WholeFileBackend.put = half if moment == 0 else placed


def die_in_load(count: int) -> None:
    """While the ``count``-th batch is fetched, workers or not."""
    following = _BaseDataLoaderIter.__next__
    calls = iter(range(count))

    def killed(self):
        if next(calls, None) is None:
            _utils.fetch._MapDatasetFetcher.fetch = lambda *_: die()
            if getattr(self, '_workers', None):
                die()
        return following(self)

    _BaseDataLoaderIter.__next__ = killed


TRAPS = dict(step=die_in_step, write=die_in_write, load=die_in_load)


def in_child(run, log: Path) -> int:
    """The process of ``run()`` in a copy of this one, which has imported everything; its output goes to ``log``."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        with log.open('ab') as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        run()
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def state(path: Path) -> dict[str, torch.Tensor]:
    """What a training ended with: weights, buffers, the optimiser's tensors, and where it was."""
    checkpoint = torch.load(path, map_location='cpu')
    tensors = dict(checkpoint['state_dict'], iter=torch.tensor(checkpoint['meta']['iter']))
    for index, values in checkpoint['optimizer']['state'].items():
        tensors.update({f'optimizer {index} {name}': torch.as_tensor(value) for name, value in values.items()})
    return tensors


def differences(actual: dict, expected: dict) -> list[str]:
    return [
        name
        for name in {*actual, *expected}
        if name not in actual or name not in expected or not torch.equal(actual[name], expected[name])
    ]


class Trial:
    """Trainings of one config in folders under ``root``."""

    def __init__(self, config: str, options: dict, root: Path):
        self.config, self.options, self.root = config, options, root

    def run(self, name: str, trap=None, seconds: float | None = None) -> bool:
        """One attempt to train to the end; whether it got there, rather than being killed.

        Raises:
            RuntimeError: It ended in any other way; its log is in the message.
        """
        log = self.root / f'{name}.log'

        def train() -> None:
            if trap is not None:
                trap()
            launch.train(self.config, work_dir=str(self.root / name), resume='auto', cfg_options=dict(self.options))

        pid = in_child(train, log)
        if seconds is not None:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    return self._ended(status, log)
                time.sleep(0.005)
            os.kill(pid, signal.SIGKILL)
        return self._ended(os.waitpid(pid, 0)[1], log)

    def _ended(self, status: int, log: Path) -> bool:
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            return False
        if status:
            raise RuntimeError(f'the training failed: {log.read_text()[-3000:]}')
        return True

    def final(self, name: str) -> dict[str, torch.Tensor]:
        return state(Path(latest_checkpoint(self.root / name)))

    def check_whole(self, name: str) -> int:
        """Load every checkpoint under a name that resuming looks at; how many there are."""
        found = list((self.root / name).glob('[!.]*.pth'))
        for path in found:
            CheckpointLoader.load_checkpoint(str(path), map_location='cpu', logger='silent')
        return len(found)


def kill_and_resume(config: str, options: dict, kills: int, seed: int, moments=MOMENTS) -> tuple[dict, list[str]]:
    """Kill trainings ``kills`` times.

    Returns:
        The kills that hit, by moment; and what differed at the end of some training, ``[]`` where nothing did.
    """
    generator, hits = random.Random(seed), collections.Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(config, options, Path(folder))
        start = time.monotonic()
        trial.run('whole')
        duration = time.monotonic() - start
        expected = trial.final('whole')
        steps, trainings, attempts = int(expected['iter']), 0, 0
        while hits.total() < kills:
            name, done = f'killed{trainings}', False
            while not done and hits.total() < kills and attempts < (trainings + 1) * KILLS_PER_TRAINING:
                moment = moments[attempts % len(moments)]
                attempts += 1
                if moment == 'time':
                    done = trial.run(name, seconds=generator.uniform(0, duration))
                else:
                    count = generator.randint(0, steps - 1)
                    done = trial.run(name, trap=lambda m=moment, n=count: TRAPS[m](n))
                hits[moment] += not done
                whole = trial.check_whole(name)
                print(
                    f'{name}: {"reached the end" if done else "killed"} ({moment}), {whole} whole checkpoints',
                    flush=True,
                )
            if not done:
                trial.run(name)
            wrong += [f'{name}: {what}' for what in differences(trial.final(name), expected)]
            trainings += 1
    return dict(hits), wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--moments', nargs='+', choices=MOMENTS, default=MOMENTS)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE')
    args = parser.parse_args()
    import mmpretrain.models  # noqa: F401  once, for all the trainings

    hits, wrong = kill_and_resume(args.config, args.cfg_options, args.kills, args.seed, args.moments)
    for line in wrong:
        print(f'DIFFERS  {line}')
    print(
        f'{sum(hits.values())} kills ({", ".join(f"{n} {m}" for m, n in sorted(hits.items()))}), '
        f'{len(wrong)} differences from the uninterrupted training'
    )
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
