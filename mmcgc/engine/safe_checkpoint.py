"""Save checkpoints that are whole or not there, whatever ends the training."""

from __future__ import annotations

from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from ..checkpoints.record import CheckpointRecord
from ..registry import HOOKS
from ..signatures import shows_arguments
from ..whole_file import remove_parts, whole_file


@register_backend('mmcgc.whole_files')
class WholeFileBackend(LocalBackend):
    """Write MMEngine's local files beside their place and then move each there in one step (``whole_file``).

    Raises:
        OSError: If the file cannot be written, for example on a full disk; what was there before stays.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        try:
            with whole_file(filepath) as part:
                part.write_bytes(obj)
        except OSError as error:
            raise OSError(error.errno, f'{error.strerror} ({len(obj)} bytes)', error.filename) from error

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        self.put(obj.encode(encoding), filepath)


@HOOKS.register_module()
@shows_arguments()
class SafeCheckpointHook(CheckpointHook):
    """Save as MMEngine's CheckpointHook does, but keep the checkpoint before until the new one is whole.

    MMEngine writes into the file that resuming looks for, and removes the checkpoint before it writes its successor:
    with ``max_keep_ckpts=1`` a kill or a full disk in between costs the whole training.  A resumed run of MMEngine also
    removes whatever its checkpoint names; this one removes only what runs in its own work directory have written, as
    :class:`CheckpointRecord` notes it.

    The hook takes the arguments of CheckpointHook.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.backend_args is None and self.file_client_args is None and '://' not in str(self.out_dir):
            self.backend_args = dict(backend='mmcgc.whole_files')

    def before_train(self, runner: Runner) -> None:
        info = runner.message_hub.runtime_info
        for key in [key for key in info if key.startswith('best_ckpt') or key in ('keep_ckpt_ids', 'last_ckpt')]:
            del info[key]
        self.record = CheckpointRecord(runner.work_dir)
        self.record.keep_until(runner.epoch if self.by_epoch else runner.iter)
        steps = sorted((step, name) for name, step in self.record.steps.items())
        info['keep_ckpt_ids'] = [step for step, name in steps if name == self.filename_tmpl.format(step)]
        super().before_train(runner)
        for step, name in steps:
            self._know_best(name, step)
        if is_main_process() and isinstance(self.file_backend, WholeFileBackend):
            remove_parts(self.out_dir, '.pth')  # those of a run that was killed while it wrote

    def _know_best(self, name: str, step: int) -> None:
        """Take a checkpoint of the record for the best one, which a better one replaces, if its name says so."""
        path = self.file_backend.join_path(self.out_dir, name)
        for key in self.key_indicators if self.save_best else ():
            start = 'best_' if key == 'auto' else f'best_{key}_'.replace('/', '_')
            if name.startswith(start) and name.endswith(f'_{self.filename_tmpl.format(step)}'):
                if len(self.key_indicators) == 1:
                    self.best_ckpt_path = path
                else:
                    self.best_ckpt_path_dict[key] = path

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        self.record.steps[self.filename_tmpl.format(step)] = step
        with _RemoveLast(self):
            super()._save_checkpoint_with_step(runner, step, meta)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        with _RemoveLast(self) as removal:
            super()._save_best_checkpoint(runner, metrics)
            step = runner.epoch if self.by_epoch else runner.iter
            for path in removal.current():
                if path and path != self.last_ckpt:
                    self.record.steps.setdefault(Path(path).name, step)


class _RemoveLast:
    """Stand in for a hook's file backend: put removals off to the end, and drop them after an error."""

    def __init__(self, hook: SafeCheckpointHook):
        self.hook, self.backend, self.removals = hook, hook.file_backend, []

    def __enter__(self) -> _RemoveLast:
        self.hook.file_backend = self
        return self

    def current(self) -> set[str | None]:
        best = getattr(self.hook, 'best_ckpt_path_dict', {None: getattr(self.hook, 'best_ckpt_path', None)})
        return {self.hook.last_ckpt, *best.values()}

    def __exit__(self, kind, *_) -> None:
        self.hook.file_backend = self.backend
        if kind is not None:
            return
        current = self.current()
        old = [(remove, path) for remove, path in self.removals if path not in current]
        for _, path in old:
            self.hook.record.steps.pop(Path(path).name, None)
        if is_main_process():
            self.hook.record.write()
        for remove, path in old:
            remove(path)

    def __getattr__(self, name: str):
        if name in ('remove', 'rmtree'):
            return lambda path: self.removals.append((getattr(self.backend, name), path))
        return getattr(self.backend, name)
