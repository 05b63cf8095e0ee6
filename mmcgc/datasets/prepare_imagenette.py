"""Make the folder of Imagenette that the configs read, from the public archive or from folders of the same form."""

import io
import itertools
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from PIL import Image

from ..progress import tracked
from ..whole_file import check_outputs, whole_folder
from .imagenette import CLASSES, EXTENSIONS

COUNTS = dict(train=9_469, val=3_925)
ARCHIVES = ('.tgz', '.tar.gz', '.tar')


def prepare_imagenette(sources: Iterable[str | Path], out: str | Path, partial: bool = False) -> Counter:
    """Write ``out/{train,val}/n*/*``; what is there is replaced only once every image has been decoded.

    Args:
        sources: Archives and folders that hold ``{train,val}/n*/*.JPEG``, at any depth: one with both splits, or one
            for each.  Other files are passed over.
        out: The data root.
        partial: Whether fewer images than the published 9,469 and 3,925 will do.

    Returns:
        The number of images by split.

    Raises:
        FileNotFoundError: If a source is missing, or a class has no image.
        ValueError: If an archive or an image is truncated, an archive would write outside the folder, an image is not
            in the folder of a class of Imagenette, the number of images is wrong, or a source would be overwritten.
    """
    root, sources, seen = Path(out), [Path(source) for source in sources], Counter()
    check_outputs([root / split for split in COUNTS], sources)
    with whole_folder(root / 'train') as train, whole_folder(root / 'val') as val:
        folders = dict(train=train, val=val)
        images = itertools.chain.from_iterable(map(_files, sources))
        for origin, parts, content in tracked(images, sum(COUNTS.values())):
            split, name, file = _place(origin, parts)
            _check_image(origin, content)
            path = folders[split] / name / file
            if path.exists():
                raise ValueError(f'{origin} is the second {split}/{name}/{file}: give each image once')
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            seen[split, name] += 1
        counts = _check_counts(seen, partial)
    return counts


def _files(source: Path) -> Iterator[tuple[str, tuple[str, ...], bytes]]:
    """Yield where each image is, the parts of its path, and its bytes."""
    if source.is_dir():
        for path in sorted(source.rglob('*')):
            if path.is_file() and _is_image(path.name):
                yield str(path), path.parts, path.read_bytes()
    elif not source.exists():
        raise FileNotFoundError(f'{source} does not exist')
    elif not source.name.endswith(ARCHIVES):
        raise ValueError(f'{source} is neither a folder nor an archive ({", ".join(ARCHIVES)})')
    else:
        try:
            with tarfile.open(source) as archive:
                for member in archive:
                    path = _safe_path(source, member)
                    if member.isfile() and _is_image(path.name):
                        yield f'{source}:{member.name}', path.parts, archive.extractfile(member).read()
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise ValueError(f'{source} is truncated or is no tar: {error}. Download it again') from error


def _safe_path(source: Path, member: tarfile.TarInfo) -> PurePosixPath:
    """Return the path of a member, or raise ValueError if it leads out of the folder or is a link or a device."""
    path = PurePosixPath(member.name)
    outside = path.is_absolute() or '..' in path.parts or re.search(r'[\\:]', member.name)
    if outside or not (member.isfile() or member.isdir()):
        kind = 'leads out of the folder' if outside else 'is a link or a device'
        raise ValueError(f'{source} is no archive to trust: {member.name} {kind}. Nothing was written')
    return path


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS) and not name.startswith('.')


def _place(origin: str, parts: tuple[str, ...]) -> tuple[str, str, str]:
    """Return split, class and file name of an image."""
    split, name, file = ('', '', *parts)[-3:]
    if split not in COUNTS or name not in CLASSES:
        raise ValueError(
            f'{origin} does not lie in {{train,val}}/ and there in the folder of a class of Imagenette '
            f'({", ".join(CLASSES)})'
        )
    return split, name, file


def _check_image(origin: str, content: bytes) -> None:
    try:
        Image.open(io.BytesIO(content)).load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f'{origin} ({len(content)} bytes) is truncated or is no image: {error}') from error


def _check_counts(seen: Counter, partial: bool) -> Counter:
    empty = [f'{split}/{name}' for split in COUNTS for name in CLASSES if not seen[split, name]]
    if empty:
        raise FileNotFoundError(
            f'no image in {", ".join(empty)}: give an archive or folder with both splits, or one source of each'
        )
    counts = Counter()
    for (split, _), count in seen.items():
        counts[split] += count
    if counts != COUNTS and not partial:
        raise ValueError(
            f'{dict(counts)} images instead of {COUNTS}: the source is incomplete. Get it anew, or allow it (--partial)'
        )
    return counts
