"""Find the last checkpoint of a work directory."""

from __future__ import annotations

from pathlib import Path


def latest_checkpoint(work_dir: str | Path) -> str | None:
    """Return the checkpoint to resume from: the one that ``last_checkpoint`` names, even if the folder was moved.

    If that note is missing or empty, as a kill may leave it, it is the newest ``epoch_*.pth`` or ``iter_*.pth``, or
    None if there is none.

    Raises:
        FileNotFoundError: If the note names a checkpoint that is gone.
    """
    work_dir = Path(work_dir)
    note = work_dir / 'last_checkpoint'
    name = note.read_text(encoding='utf-8').strip() if note.is_file() else ''
    if '://' in name:
        return name
    if name:
        found = [path for path in (Path(name), work_dir / Path(name).name) if path.exists()]
        if not found:
            raise FileNotFoundError(
                f'{note} names {name}, which is gone: name a checkpoint, --resume CHECKPOINT, or '
                'delete that note to start anew'
            )
        return str(found[0])
    whole = [path for kind in ('epoch', 'iter') for path in work_dir.glob(f'{kind}_*.pth')]
    return str(max(whole, key=lambda path: path.stat().st_mtime)) if whole else None
