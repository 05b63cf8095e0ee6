"""Make the folder ``cifar-10-batches-py`` from the official archive or from a pack of lossless WebP stacks."""

import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from ..extras import import_extra
from ..progress import tracked
from ..whole_file import check_outputs, write_whole_files
from .cifar_batches import dump_batch, dump_official, load_batch

CIFAR10 = import_extra('mmpretrain.datasets').CIFAR10
calculate_md5 = import_extra('mmpretrain.datasets.utils').calculate_md5
TRAIN_NAMES = [name for name, _ in CIFAR10.train_list]
BATCH_NAMES = TRAIN_NAMES + [name for name, _ in CIFAR10.test_list]
META_NAME = CIFAR10.meta['filename']
PER_BATCH = 10_000
PER_STACK = 500


def prepare_cifar10(sources: list[str | Path], out: str | Path) -> Path:
    """Write the official form of CIFAR-10; existing files are replaced only once everything has been checked.

    Args:
        sources: The official archive ``cifar-10-python.tar.gz`` alone, or the pack: folders and tars that hold
            ``train_000.webp`` ... ``test_019.webp`` (500 images each, stacked) and ``{train,test}_labels.npy``.
        out: The data root; the files go to ``out/cifar-10-batches-py``.

    Returns:
        The folder of the files.

    Raises:
        FileNotFoundError: If a source or a piece of the pack is missing.
        ValueError: If an archive or a piece is truncated or is not what its name says.
    """
    sources = [Path(source) for source in sources]
    for source in sources:
        if not source.exists():
            raise FileNotFoundError(f'{source} does not exist')
    folder = Path(out, CIFAR10.base_folder)
    check_outputs([folder], filter(Path.is_file, sources))
    if len(sources) == 1 and sources[0].is_file() and sources[0].name.endswith(('.tar.gz', '.tgz')):
        files = _from_archive(sources[0])
    else:
        files = _from_pack(_read_pieces(sources))

    write_whole_files(folder, _checked(files))
    return folder


def _checked(files: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    for name, content in files:
        if name != META_NAME:
            _, labels = load_batch(content, name)
            if len(labels) != PER_BATCH:
                raise ValueError(f'{name} holds {len(labels)} images instead of {PER_BATCH}')
        yield name, content


def _from_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the files of the official archive, once its checksum has been found right."""
    digest = calculate_md5(str(path))
    if digest != CIFAR10.tgz_md5:
        raise ValueError(
            f'{path} is not the official archive or is incomplete: its md5 is {digest}, the published one '
            f'{CIFAR10.tgz_md5}. Download {CIFAR10.url} again'
        )
    with tarfile.open(path) as archive:
        for name in tracked([*BATCH_NAMES, META_NAME]):
            yield name, archive.extractfile(f'{CIFAR10.base_folder}/{name}').read()


def _read_pieces(sources: list[Path]) -> dict[str, tuple[str, bytes]]:
    """Return where each piece of the pack was found, and its bytes, by file name."""
    pieces = {}
    for source in sources:
        for path in sorted(source.iterdir()) if source.is_dir() else [source]:
            if path.suffix == '.tar':
                try:
                    with tarfile.open(path) as archive:
                        pieces |= {
                            Path(member.name).name: (f'{path}:{member.name}', archive.extractfile(member).read())
                            for member in archive
                            if member.isfile()
                        }
                except (tarfile.TarError, EOFError) as error:
                    raise ValueError(f'{path} is truncated or is no tar: {error}') from error
            elif path.suffix in ('.webp', '.npy'):
                pieces[path.name] = str(path), path.read_bytes()
    stacks_a_batch = PER_BATCH // PER_STACK
    stacks = [f'train_{i:03d}.webp' for i in range(len(TRAIN_NAMES) * stacks_a_batch)]
    stacks += [f'test_{i:03d}.webp' for i in range(stacks_a_batch)]
    missing = [name for name in ['train_labels.npy', 'test_labels.npy', *stacks] if name not in pieces]
    if missing:
        shown = ', '.join(missing[:5]) + (', ...' if len(missing) > 5 else '')
        raise FileNotFoundError(
            f'{len(missing)} pieces of CIFAR-10 are missing ({shown}) in '
            f'{", ".join(map(str, sources))}. Give the official cifar-10-python.tar.gz, or all '
            'folders or tars of the pack'
        )
    return pieces


def _from_pack(pieces: dict[str, tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    train_labels = _labels(*pieces['train_labels.npy'], count=len(TRAIN_NAMES) * PER_BATCH)
    test_labels = _labels(*pieces['test_labels.npy'], count=PER_BATCH)
    stacks_a_batch = PER_BATCH // PER_STACK
    for index, name in enumerate(tracked(BATCH_NAMES)):
        if name in TRAIN_NAMES:
            split, first, labels = 'train', index * stacks_a_batch, train_labels[index * PER_BATCH :][:PER_BATCH]
            title = f'training batch {index + 1} of {len(TRAIN_NAMES)}'
        else:
            split, first, labels, title = 'test', 0, test_labels, 'testing batch 1 of 1'
        stacks = range(first, first + stacks_a_batch)
        images = np.concatenate([_images(*pieces[f'{split}_{i:03d}.webp']) for i in stacks])  # (10000, 32, 32, 3)
        filenames = [f'{split}_{first * PER_STACK + i:05d}.png'.encode() for i in range(PER_BATCH)]
        yield name, dump_batch(images, labels, batch_label=title.encode(), filenames=filenames)
    label_names = [name.encode() for name in CIFAR10.METAINFO['classes']]
    yield META_NAME, dump_official(dict(num_cases_per_batch=PER_BATCH, label_names=label_names, num_vis=3072))


def _labels(source: str, content: bytes, count: int) -> np.ndarray:
    try:
        labels = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f'{source} is truncated or is no numpy file: {error}') from error
    if labels.shape != (count,):
        raise ValueError(f'{source} holds labels of shape {labels.shape} instead of ({count},)')
    return labels


def _images(source: str, content: bytes) -> np.ndarray:
    """Return the (500, 32, 32, 3) RGB images that one WebP file stacks."""
    try:
        pixels = np.asarray(Image.open(io.BytesIO(content)).convert('RGB'))
    except OSError as error:
        raise ValueError(f'{source} is truncated or is no image: {error}') from error
    if pixels.shape != (PER_STACK * 32, 32, 3):
        raise ValueError(f'{source} has the shape {pixels.shape}, which is no stack of {PER_STACK} images of 32x32')
    return pixels.reshape(PER_STACK, 32, 32, 3)
