"""From the official files of Something-Something v1 to the annotation lists that the configs read."""

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mmengine.utils import track_iter_progress

from ..whole_file import check_outputs, whole_file, write_whole_files
from .video import check_complete

SPLITS = {'train': 'train', 'val': 'validation', 'test': 'test'}  # ours and the official file's
CLASSES = 174
# Classes that a left-right flip swaps, by line of the official label file; the configs count on them.
LEFT_RIGHT = [(2, 4), (30, 41), (52, 66)]
VIDEO_SUFFIXES = ('.mp4', '.webm', '.avi', '.mkv')
SHOWN = 5


def prepare_sthv1(labels: str | Path, source: str | Path, out: str | Path, kind: str = 'rawframes',
                  skip_broken: bool = False) -> dict[str, int]:
    """Check every clip and write ``sthv1_{train,val,test}_list_{kind}.txt`` and ``label_map.txt``.

    Folders that were found complete are remembered in ``out``, so that a second run looks only at the others.  What is
    missing is listed, with the reason, in ``sthv1_{kind}_broken.txt``.

    Args:
        labels: The folder of ``something-something-v1-{labels,train,validation,test}.csv``; test may be absent.
        source: The folder with a folder of frames, ``00001.jpg`` and on, for each id; for videos, a file for each id.
        out: The folder to write to, ``data/sthv1`` for the configs; ``out/{kind}`` becomes a link to ``source``.
        kind: ``'rawframes'`` or ``'videos'``.
        skip_broken: Write the lists without the clips that are missing or broken, instead of raising an error.

    Returns:
        The number of clips in each list.

    Raises:
        FileNotFoundError: If a label file or ``source`` is missing.
        ValueError: If a label file contradicts itself or another, if ``out/{kind}`` is something else, or if clips are
            missing or broken and ``skip_broken`` is off.
    """
    if kind not in _CHECKS:
        raise ValueError(f"kind must be 'rawframes' or 'videos', got {kind!r}")
    labels, source, out = Path(labels), Path(source), Path(out)
    classes = read_classes(labels / 'something-something-v1-labels.csv')
    splits = read_splits(labels, classes)
    if not source.is_dir():
        raise FileNotFoundError(f'no folder {source}: give the one that holds the {kind} of all ids')
    check_outputs([out / 'label_map.txt'], [source])
    out.mkdir(parents=True, exist_ok=True)
    _link(out / kind, source)

    found, broken = _check_all([i for split in splits.values() for i in split], source, kind, out / f'.checked_{kind}')
    report = out / f'sthv1_{kind}_broken.txt'
    with whole_file(report) as part:
        part.write_text(''.join(f'{i} {reason}\n' for i, reason in broken.items()))
    if broken and not skip_broken:
        some = '; '.join(f'{i}: {reason}' for i, reason in list(broken.items())[:SHOWN])
        raise ValueError(f'{len(broken)} of {len(found) + len(broken)} clips are missing or broken in {source} ({some}'
                         f'{"; ..." if len(broken) > SHOWN else ""}), all of them in {report}. Unpack them again and '
                         'run this once more, which then looks at these alone, or leave them out with --skip-broken')
    lists = {split: [' '.join([found[i], *([] if label is None else [str(label)])])
                     for i, label in members.items() if i in found] for split, members in splits.items()}
    files = {'label_map.txt': classes, **{f'sthv1_{split}_list_{kind}.txt': lines for split, lines in lists.items()}}
    write_whole_files(out, ((name, ''.join(f'{line}\n' for line in lines)) for name, lines in files.items()))
    return {split: len(lines) for split, lines in lists.items()}


def read_classes(path: Path) -> list[str]:
    """The class names, one a line; the line number, from 0, is the label."""
    classes = [line.strip() for line in _lines(path)]
    if len(set(classes)) < len(classes):
        raise ValueError(f'{path} names a class twice')
    if len(classes) == CLASSES:
        swapped = [re.sub('left|right', lambda side: {'left': 'right', 'right': 'left'}[side[0]], c) for c in classes]
        pairs = [(i, classes.index(c)) for i, c in enumerate(swapped) if c in classes[i + 1:]]
        if pairs != LEFT_RIGHT:
            raise ValueError(f'{path} is not in the official order: left and right are swapped in the classes {pairs}, '
                             f'expected {LEFT_RIGHT}')
    return classes


def read_splits(folder: Path, classes: list[str]) -> dict[str, dict[str, int | None]]:
    """Label by id (None in the test split) for every split that is there; each id belongs to one split, once."""
    label_of = {name: label for label, name in enumerate(classes)}
    splits, seen = {}, {}
    for split, name in SPLITS.items():
        path = folder / f'something-something-v1-{name}.csv'
        if split == 'test' and not path.is_file():
            continue
        splits[split] = {}
        for number, line in enumerate(_lines(path), 1):
            i, _, text = (part.strip() for part in line.partition(';'))
            where = f'{path}, line {number}'
            if not re.fullmatch(r'[\w-]+', i):
                raise ValueError(f'{where}: expected "id;label", got {line!r}')
            if i in seen:
                raise ValueError(f'{where}: the id {i} stands already in {seen[i]}')
            if split != 'test' and text not in label_of:
                raise ValueError(f'{where}: the label {text!r} of {i} is not in the label file')
            seen[i] = where
            splits[split][i] = None if split == 'test' else label_of[text]
    return splits


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f'{path} is missing: download the official label files of Something-Something v1')
    lines = path.read_text(encoding='utf-8').splitlines()
    if not lines:
        raise ValueError(f'{path} is empty')
    return [line for line in lines if line.strip()]


def _link(link: Path, source: Path) -> None:
    """Let the data be found where the configs look for it."""
    if not link.exists() and not link.is_symlink():
        link.symlink_to(source.resolve(), target_is_directory=True)
    elif link.resolve() != source.resolve():
        raise ValueError(f'{link} is there already and is not {source}: remove it, or give another --out')


def _check_all(ids: list[str], source: Path, kind: str, memory: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The entry of every complete clip, and the reason for every other; ``memory`` keeps the former."""
    found = dict(_remembered(memory, source))
    found = {i: found[i] for i in ids if i in found}
    broken = {}
    left = [i for i in ids if i not in found]
    with memory.open('w') as file, ThreadPoolExecutor(8) as pool:
        file.write(f'{source.resolve()}\n' + ''.join(f'{entry}\n' for entry in found.values()))
        checks = pool.map(lambda i: _try(_CHECKS[kind], source, i), left)
        for i, (entry, reason) in zip(left, track_iter_progress((checks, len(left))), strict=True):
            if reason:
                broken[i] = reason
            else:
                found[i] = entry
                file.write(f'{entry}\n')
    return found, broken


def _remembered(memory: Path, source: Path) -> Iterator[tuple[str, str]]:
    lines = memory.read_text().splitlines(keepends=True) if memory.is_file() else []
    if lines and lines[0].strip() == str(source.resolve()):
        for line in lines[1:]:
            if line.endswith('\n'):  # else the last run was killed while it wrote
                yield re.split(r'[ .]', line)[0], line.strip()


def _try(check: Callable[[Path, str], str], source: Path, i: str) -> tuple[str, str]:
    try:
        return check(source, i), ''
    except (OSError, ValueError) as error:
        return '', error.strerror if isinstance(error, OSError) else str(error)


def _check_frames(source: Path, i: str) -> str:
    numbers = sorted(int(name[:5]) for name in os.listdir(source / i) if re.fullmatch(r'\d{5}\.jpg', name))
    if len(numbers) < 2:
        raise ValueError(f'{len(numbers)} frames')
    gaps = sorted(set(range(1, numbers[-1] + 1)) - set(numbers))
    if gaps:
        raise ValueError(f'frame {gaps[0]:05d} and {len(gaps) - 1} others of {numbers[-1]} are missing')
    return f'{i} {len(numbers)}'


def _check_video(source: Path, i: str) -> str:
    for suffix in VIDEO_SUFFIXES:
        if (source / f'{i}{suffix}').is_file():
            check_complete(source / f'{i}{suffix}')
            return f'{i}{suffix}'
    raise ValueError(f'no {i} with {", ".join(VIDEO_SUFFIXES)}')


_CHECKS = dict(rawframes=_check_frames, videos=_check_video)
