"""Average the last checkpoints of a run: their mean translates better than any one of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader

from ..progress import tracked
from ..whole_file import check_outputs, whole_file
from .latest import latest_checkpoint
from .load import check_finite
from .record import CheckpointRecord


def average_checkpoints(paths: Sequence[str | Path], out: str | Path) -> None:
    """Write a checkpoint with the mean of the weights of others.

    Floating-point tensors are averaged in float64; all else comes from the last checkpoint.

    Args:
        paths: Checkpoints of one model, in the order of training.
        out: The file to write; it is there whole or not at all.

    Raises:
        FileNotFoundError: If a checkpoint is missing.
        ValueError: If there is none, if they hold different weights, NaN or infinity, or if ``out`` is one of them.
    """
    if not paths:
        raise ValueError('no checkpoints to average')
    check_outputs([out], paths)
    total: dict[str, torch.Tensor] = {}
    for path in tracked(paths):
        checkpoint = CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
        weights = checkpoint.get('state_dict', checkpoint)
        odd = [name for name, value in weights.items() if not isinstance(value, torch.Tensor)]
        if odd or not weights:
            raise ValueError(
                f'{path} holds {odd[0] if odd else "nothing"!r}, which is no tensor: expected a state_dict'
            )
        check_finite(weights, str(path))
        if total and {k: v.shape for k, v in total.items()} != {k: v.shape for k, v in weights.items()}:
            differing = sorted(
                k
                for k in {*total, *weights}
                if k not in total or k not in weights or total[k].shape != weights[k].shape
            )
            raise ValueError(
                f'{path} holds other weights than {paths[0]}: {", ".join(differing[:3])} and '
                f'{max(0, len(differing) - 3)} more differ; average checkpoints of one model'
            )
        for name, tensor in weights.items():
            if tensor.is_floating_point():
                total[name] = total.get(name, 0) + tensor.double()
            else:
                total[name] = tensor
    averaged = {
        name: (total[name] / len(paths)).to(tensor.dtype) if tensor.is_floating_point() else tensor
        for name, tensor in weights.items()
    }
    meta = dict(checkpoint.get('meta', {}), averaged=[Path(path).name for path in paths])
    with whole_file(out) as part:
        torch.save(dict(meta=meta, state_dict=averaged), part)


def last_checkpoints(work_dir: str | Path, count: int) -> list[Path]:
    """Return the last ``count`` checkpoints that a run left in its work directory, in the order of training.

    Those of another run in the same folder are left out, and the log says so: what comes after the one that
    ``last_checkpoint`` names or counts other steps than it, and what the run's own note does not name.

    Raises:
        FileNotFoundError: If there are fewer.
        ValueError: If ``count`` is not positive.
    """
    if count < 1:
        raise ValueError(f'the number of checkpoints must be positive, got {count}')
    found = {}
    for path in Path(work_dir).glob('*.pth'):
        match = re.fullmatch(r'(?:iter|epoch)_(\d+)\.pth', path.name)
        if match:
            found[int(match[1])] = path
    latest = latest_checkpoint(work_dir) if Path(work_dir, 'last_checkpoint').is_file() else None
    last = re.fullmatch(r'(iter|epoch)_(\d+)\.pth', Path(latest).name) if latest else None
    written = CheckpointRecord(work_dir).steps
    left_out = [
        number
        for number, path in found.items()
        if last
        and number > int(last[2])
        or last
        and path.name.partition('_')[0] != last[1]
        or written
        and path.name not in written
    ]
    if left_out:
        print_log(
            f'{work_dir} also holds checkpoints of another run than that of last_checkpoint, which are left out: '
            f'{", ".join(found[number].name for number in sorted(left_out))}',
            logger='current',
        )
    found = {number: path for number, path in found.items() if number not in left_out}
    if len(found) < count:
        raise FileNotFoundError(
            f'{work_dir} has {len(found)} checkpoints (iter_*.pth or epoch_*.pth), fewer than '
            f'{count}: lower the number, or raise max_keep_ckpts of the CheckpointHook'
        )
    return [found[number] for number in sorted(found)[-count:]]
