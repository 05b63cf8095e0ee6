"""Turn the official files of Something-Something v1 into the annotation lists that the configs read."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ..plain_text import decode_text
from ..progress import tracked
from ..whole_file import check_outputs, whole_file, write_whole_files
from .containers import check_complete
from .pictures import check_picture
from .played_frames import count_frames

SPLITS = {'train': 'train', 'val': 'validation', 'test': 'test'}  # our names and those of the official files
CLASSES = 174
# A left-right flip swaps these classes, by line of the official label file; the configs count on them.
LEFT_RIGHT = [(2, 4), (30, 41), (52, 66)]
VIDEO_SUFFIXES = ('.mp4', '.webm', '.avi', '.mkv')
SHOWN = 5
_CHECKED = 'every file, version 1,'  # The memory of a run begins so; one of other checks is not used.
_FRAME = re.compile(r'(|[^.].*?)(\d+)(\.(?:jpe?g|png|webp|bmp))', re.IGNORECASE)


class Clip(NamedTuple):
    """What is known of a clip that was found whole.

    Attributes:
        entry: Its line in the annotation list, but for the label.
        template: How its frames are named, as ``filename_tmpl`` of ``RawframeDataset``; empty for a video.
        first: The number of its first frame.
    """

    entry: str
    template: str = ''
    first: int = 0


CONFIGS_EXPECT = '{:05}.jpg', 1  # template and first frame


def prepare_sthv1(
    labels: str | Path, source: str | Path, out: str | Path, kind: str = 'rawframes', skip_broken: bool = False
) -> dict[str, int]:
    """Check every clip and write ``sthv1_{train,val,test}_list_{kind}.txt`` and ``label_map.txt``.

    Every file is read: each frame must be a whole picture that can be decoded, and each video is decoded to its end.
    Clips that were found whole are remembered in ``out``, so that a second run looks only at the others.  What is
    missing or broken is listed, with the reason, in ``sthv1_{kind}_broken.txt``.

    Frames may be numbered from 0 or from 1, with any number of digits and any prefix, if all folders do it alike.
    If that is not as the configs expect, :func:`options_file` holds the options with which they read the folders.

    Args:
        labels: The folder of ``something-something-v1-{labels,train,validation,test}.csv``; test may be absent.
        source: The folder with a folder of frames for each id; for videos, with a file for each id.
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
    check_outputs([out / 'label_map.txt'], [source])
    classes = read_classes(labels / 'something-something-v1-labels.csv')
    splits = read_splits(labels, classes)
    if not source.is_dir():
        raise FileNotFoundError(f'no folder {source}: give the one that holds the {kind} of all ids')
    out.mkdir(parents=True, exist_ok=True)
    _link(out / kind, source)

    found, broken = _check_all([i for split in splits.values() for i in split], source, kind, out / f'.checked_{kind}')
    template, first = _common_names(found, broken)
    report = out / f'sthv1_{kind}_broken.txt'
    with whole_file(report) as part:
        part.write_text(''.join(f'{i} {reason}\n' for i, reason in broken.items()))
    if broken and not skip_broken:
        some = '; '.join(f'{i}: {reason}' for i, reason in list(broken.items())[:SHOWN])
        raise ValueError(
            f'{len(broken)} of {len(found) + len(broken)} clips are missing or broken in {source} ({some}'
            f'{"; ..." if len(broken) > SHOWN else ""}), all of them in {report}. Unpack them again and '
            'run this once more, which then looks at these alone, or leave them out with --skip-broken'
        )
    options = options_file(out, kind)
    options.unlink(missing_ok=True)
    lists = {
        split: [
            ' '.join([found[i].entry, *([] if label is None else [str(label)])])
            for i, label in members.items()
            if i in found
        ]
        for split, members in splits.items()
    }
    files = {'label_map.txt': classes, **{f'sthv1_{split}_list_{kind}.txt': lines for split, lines in lists.items()}}
    if kind == 'rawframes' and (template, first) != CONFIGS_EXPECT:
        files[options.name] = [
            f'{loader}_dataloader.dataset.{option}'
            for loader in ('train', 'val', 'test')
            for option in (f'filename_tmpl={template}', f'start_index={first}')
        ]
    write_whole_files(out, ((name, ''.join(f'{line}\n' for line in lines)) for name, lines in files.items()))
    return {split: len(lines) for split, lines in lists.items()}


def options_file(out: str | Path, kind: str) -> Path:
    """Return the path of the options, one a line, for ``--cfg-options``; without such a file the configs fit as is."""
    return Path(out) / f'sthv1_{kind}_options.txt'


def read_classes(path: Path) -> list[str]:
    """Read the class names, one a line; the line number, from 0, is the label."""
    classes = [line.strip() for line in _lines(path)]
    if len(set(classes)) < len(classes):
        raise ValueError(f'{path} names a class twice')
    if len(classes) == CLASSES:
        swapped = [re.sub('left|right', lambda side: {'left': 'right', 'right': 'left'}[side[0]], c) for c in classes]
        pairs = [(i, classes.index(c)) for i, c in enumerate(swapped) if c in classes[i + 1 :]]
        if pairs != LEFT_RIGHT:
            raise ValueError(
                f'{path} is not in the official order: left and right are swapped in the classes {pairs}, '
                f'expected {LEFT_RIGHT}'
            )
    return classes


def read_splits(folder: Path, classes: list[str]) -> dict[str, dict[str, int | None]]:
    """Read the label of each id (None in the test split) by split; each id belongs to one split, once."""
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
    lines = decode_text(path.read_bytes(), str(path)).splitlines()
    if not lines:
        raise ValueError(f'{path} is empty')
    return [line for line in lines if line.strip()]


def _link(link: Path, source: Path) -> None:
    """Let the data be found where the configs look for it."""
    if not link.exists() and not link.is_symlink():
        link.symlink_to(source.resolve(), target_is_directory=True)
    elif link.resolve() != source.resolve():
        raise ValueError(f'{link} is there already and is not {source}: remove it, or give another --out')


def _check_all(ids: list[str], source: Path, kind: str, memory: Path) -> tuple[dict[str, Clip], dict[str, str]]:
    """Return what is known of every whole clip, and what is wrong with every other; ``memory`` keeps the former."""
    known = dict(_remembered(memory, source))
    found = {i: known[i] for i in ids if i in known}
    broken = {}
    left = [i for i in ids if i not in found]
    with memory.open('w', buffering=1) as file, ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # a line at a time
        file.write(f'{_CHECKED} {source.resolve()}\n' + ''.join(_memo(i, clip) for i, clip in found.items()))
        checks = pool.map(lambda i: _try(_CHECKS[kind], source, i), left)
        for i, (clip, reason) in zip(left, tracked(checks, len(left)), strict=True):
            if clip is None:
                broken[i] = reason
            else:
                found[i] = clip
                file.write(_memo(i, clip))
    return found, broken


def _memo(i: str, clip: Clip) -> str:
    return '\t'.join([i, clip.entry, clip.template, str(clip.first)]) + '\n'


def _remembered(memory: Path, source: Path) -> Iterator[tuple[str, Clip]]:
    lines = memory.read_text().splitlines(keepends=True) if memory.is_file() else []
    if lines and lines[0].strip() == f'{_CHECKED} {source.resolve()}':
        for line in lines[1:]:
            if line.endswith('\n'):  # else the last run was killed while it wrote
                i, entry, template, first = line.rstrip('\n').split('\t')
                yield i, Clip(entry, template, int(first))


def _try(check: Callable[[Path, str], Clip], source: Path, i: str) -> tuple[Clip | None, str]:
    try:
        return check(source, i), ''
    except (OSError, ValueError) as error:
        return None, error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _common_names(found: dict[str, Clip], broken: dict[str, str]) -> tuple[str, int]:
    """Tell how the frames of most clips are named and numbered; the other clips go from ``found`` to ``broken``."""
    ways = Counter((clip.template, clip.first) for clip in found.values())
    if not ways:
        return CONFIGS_EXPECT
    common = ways.most_common(1)[0][0]
    for i, clip in list(found.items()):
        if (clip.template, clip.first) != common:
            broken[i] = (
                f'its frames are named {clip.template} from {clip.first} on, those of most clips {common[0]} '
                f'from {common[1]} on'
            )
            del found[i]
    return common


def _check_frames(source: Path, i: str) -> Clip:
    matches = [match for name in os.listdir(source / i) if (match := _FRAME.fullmatch(name))]
    if len(matches) < 2:
        raise ValueError(f'{len(matches)} frames')
    names = sorted({(match[1], match[3]) for match in matches})
    width = min(len(match[2]) for match in matches)
    if len(names) > 1:
        ways = ', '.join(f'{prefix}N{suffix}' for prefix, suffix in names)
        raise ValueError(f'its frames are named in several ways: {ways}')
    odd = [match[0] for match in matches if match[2] != f'{int(match[2]):0{width}}']
    if odd:
        raise ValueError(f'{odd[0]} and {len(odd) - 1} others have more leading zeros than the rest of its frames')
    numbers = sorted(int(match[2]) for match in matches)
    first = min(numbers[0], 1)
    gaps = sorted(set(range(first, numbers[-1] + 1)) - set(numbers))
    if gaps:
        total = numbers[-1] + 1 - first
        raise ValueError(f'frame {gaps[0]:0{width}} and {len(gaps) - 1} others of {total} are missing')
    for match in matches:
        _check_frame(source / i / match[0])
    prefix, suffix = (part.replace('{', '{{').replace('}', '}}') for part in names[0])
    return Clip(f'{i} {len(numbers)}', f'{prefix}{{:0{width}}}{suffix}', first)


def _check_frame(path: Path) -> None:
    data = path.read_bytes()
    try:
        check_picture(data)
    except ValueError as error:
        raise ValueError(f'{path.name}: {error}') from error
    if cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_COLOR_8) is None:
        raise ValueError(f'{path.name}: it is no picture that OpenCV can decode')


def _check_video(source: Path, i: str) -> Clip:
    for suffix in VIDEO_SUFFIXES:
        path = source / f'{i}{suffix}'
        if path.is_file():
            with path.open('rb') as stream:
                check_complete(stream)
            if (count := count_frames(path)) < 2:
                raise ValueError(f'{count} frames')
            return Clip(path.name)
    raise ValueError(f'no {i} with {", ".join(VIDEO_SUFFIXES)}')


_CHECKS = dict(rawframes=_check_frames, videos=_check_video)
