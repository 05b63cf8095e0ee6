"""Make clips of camera motion from photographs, by a crop that pans, zooms or turns."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from ..progress import tracked
from ..whole_file import check_outputs, whole_file, write_whole_files
from .clip_writer import write_clip

# How the crop moves: right, down (crop sides), closer (log2 of the zoom), clockwise (quarter turns).  The first six are
# classes of Something-Something, which has none for a camera that turns around its own axis.
CLASSES = {
    'Turning the camera left while filming something': (-1, 0, 0, 0),
    'Turning the camera right while filming something': (1, 0, 0, 0),
    'Turning the camera upwards while filming something': (0, -1, 0, 0),
    'Turning the camera downwards while filming something': (0, 1, 0, 0),
    'Approaching something with your camera': (0, 0, 1, 0),
    'Moving away from something with your camera': (0, 0, -1, 0),
    'Rolling the camera clockwise while filming something': (0, 0, 0, 1),
    'Rolling the camera counterclockwise while filming something': (0, 0, 0, -1),
}
SPLITS = ('train', 'val')
SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.webp')
EXTENT = ((0.2, 0.5), (0.2, 0.5), (0.35, 0.8), (0.12, 0.3))  # the least and the most of each motion in a clip
SIDE = (0.45, 0.6)  # the side of the crop over the shorter side of the photograph
TILT = 0.1  # a clip is tilted by up to so many quarter turns either way
JITTER = (0.006, 0.006, 0.01, 0.004)  # the standard deviation at each frame, in the units of the motions
LEAST_SIZE, LEAST_PHOTO = 80, 64  # pixels


def make_camera_motion(
    source: str | Path,
    out: str | Path,
    train_clips: int = 4000,
    val_clips: int = 1000,
    frames: int = 16,
    size: int = 128,
    seed: int = 0,
) -> dict[str, str]:
    """Write ``{train,val}/*.mp4``, ``{train,val}_list_videos.txt`` and ``label_map.txt``.

    The same arguments give the same clips.  Clips that are there already are kept, so an interrupted run goes on.

    Args:
        source: A folder of photographs, at any depth.  With folders ``train`` and ``val`` in it these are the splits,
            else every fifth photograph of a shuffled list goes to ``val``.
        out: The folder to write to.
        train_clips, val_clips: Numbers of clips; the classes take turns.
        frames: Frames of a clip.
        size: Height and width of a clip in pixels, even, at least 80 (decord 0.6.0 cannot read all smaller ones).
        seed: The seed of photographs, motions and jitter.

    Returns:
        The photographs that could not be used, with the reason, which ``skipped_images.txt`` lists too.

    Raises:
        FileNotFoundError: If ``source`` is missing or a split has no photographs.
        ValueError: If a number is out of range, ``out`` holds clips made otherwise, no photograph can be used, or
            one of ``source`` and ``out`` lies in the other.
    """
    if size < LEAST_SIZE or size % 2 or frames < 2 or min(train_clips, val_clips) < 1:
        raise ValueError(
            f'size must be even and at least {LEAST_SIZE}, frames at least 2, and the numbers of clips at '
            f'least 1; got size={size}, frames={frames}, {train_clips} and {val_clips} clips'
        )
    out = Path(out)
    check_outputs([out], [source])
    photos = find_photos(Path(source), seed)
    settings = dict(source=str(source), frames=frames, size=size, seed=seed, photos=[len(photos[s]) for s in SPLITS])
    _keep_settings(out / 'settings.json', settings)

    skipped = {}
    jobs = [(split, i) for split, count in zip(SPLITS, (train_clips, val_clips), strict=True) for i in range(count)]
    for split, i in tracked(jobs):
        path = out / split / f'{i:05d}.mp4'
        if not path.exists():
            random = np.random.default_rng([seed, SPLITS.index(split), i])
            photo = _first_usable(photos[split], i, seed, skipped)
            write_clip(path, film(photo, i % len(CLASSES), frames, size, random))
    lists = {
        f'{split}_list_videos.txt': [f'{split}/{i:05d}.mp4 {i % len(CLASSES)}' for i in range(count)]
        for split, count in zip(SPLITS, (train_clips, val_clips), strict=True)
    }
    report = out / 'skipped_images.txt'
    before = report.read_text(encoding='utf-8').splitlines() if report.is_file() else []
    lists.update({'label_map.txt': CLASSES, report.name: before + [f'{path}: {why}' for path, why in skipped.items()]})
    write_whole_files(out, ((name, ''.join(f'{line}\n' for line in lines)) for name, lines in lists.items()))
    return skipped


def find_photos(source: Path, seed: int) -> dict[str, list[Path]]:
    """Return the photographs of each split, which depend on their names and the seed alone."""
    if not source.is_dir():
        raise FileNotFoundError(f'no folder {source}: give one with photographs ({", ".join(SUFFIXES)})')
    if all((source / split).is_dir() for split in SPLITS):
        photos = {split: list(_images(source / split)) for split in SPLITS}
    else:
        every = list(_images(source))
        np.random.default_rng(seed).shuffle(every)
        photos = dict(train=[p for i, p in enumerate(every) if i % 5], val=every[::5])
    for split, paths in photos.items():
        if not paths:
            raise FileNotFoundError(f'no photographs ({", ".join(SUFFIXES)}) for {split} in {source}')
    return photos


def film(photo: np.ndarray, label: int, frames: int, size: int, random: np.random.Generator) -> np.ndarray:
    """Film one photograph, uint8 (H, W, 3) -> (frames, size, size, 3), with a crop that never leaves it."""
    shorter = min(photo.shape[:2])
    if shorter > size / SIDE[0]:  # the crop would be sampled too coarsely
        photo = cv2.resize(
            photo, None, fx=size / SIDE[0] / shorter, fy=size / SIDE[0] / shorter, interpolation=cv2.INTER_AREA
        )
        shorter = min(photo.shape[:2])
    height, width = photo.shape[:2]
    path = plan(label, frames, random)  # (T, 4)
    place = random.uniform(size=2)
    side = random.uniform(*SIDE) * shorter
    while True:
        sides, angles = side * 2.0 ** -path[:, 2], path[:, 3] * np.pi / 2  # (T,), (T,)
        reach = sides / 2 * (np.abs(np.cos(angles)) + np.abs(np.sin(angles)))  # (T,), half of what the crop spans
        shift = side * path[:, :2]  # (T, 2)
        low = (reach[:, None] - shift).max(0)  # (2,), the least start that keeps all crops inside
        high = (np.array([width - 1, height - 1]) - reach[:, None] - shift).min(0)
        if (low <= high).all():
            break
        side *= 0.95
    centres = low + place * (high - low) + shift  # (T, 2), (x, y)
    return np.stack([_crop(photo, *view, size) for view in zip(centres, sides, angles, strict=True)])


def plan(label: int, frames: int, random: np.random.Generator) -> np.ndarray:
    """Return how far right, down, closer and clockwise each frame is from the clip's middle: (frames, 4).

    Any clip filmed backwards is as likely as the clip itself, with the class of the opposite motion.
    """
    pace = random.uniform(0.7, 1.4)
    progress = np.linspace(0, 1, frames) ** pace  # (T,)
    progress = (1 - progress[::-1] if random.uniform() < 0.5 else progress) - 0.5
    motion = np.array(list(CLASSES.values())[label]) * [random.uniform(*extent) for extent in EXTENT]  # (4,)
    jitter = random.normal(size=(frames, 4)) * JITTER  # (T, 4)
    return progress[:, None] * motion + jitter + [0, 0, 0, random.uniform(-TILT, TILT)]


def _crop(photo: np.ndarray, centre: np.ndarray, side: float, angle: float, size: int) -> np.ndarray:
    """Cut out the square around (x, y) whose sides are turned clockwise by ``angle`` (radians): (size, size, 3)."""
    cos, sin = np.cos(angle) * side / size, np.sin(angle) * side / size
    turn = np.array([[cos, -sin], [sin, cos]])  # from pixels of the crop to pixels of the photograph, y downwards
    matrix = np.column_stack([turn, centre - turn @ np.full(2, (size - 1) / 2)])
    return cv2.warpAffine(photo, matrix, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _images(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob('*')) if path.suffix.lower() in SUFFIXES and path.is_file())


def _first_usable(photos: list[Path], index: int, seed: int, skipped: dict[str, str]) -> np.ndarray:
    """Return the photograph of a clip, or the next that can be used; each round through them has its own order."""
    turn, start = divmod(index, len(photos))
    order = np.random.default_rng([seed, turn]).permutation(len(photos))
    for path in (photos[i] for i in np.roll(order, -start)):
        try:
            photo = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert('RGB'))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            skipped[str(path)] = f'not readable ({error})'
            continue
        if min(photo.shape[:2]) >= LEAST_PHOTO:
            return photo
        skipped[str(path)] = f'only {photo.shape[1]}x{photo.shape[0]} pixels'
    raise ValueError(f'none of the {len(photos)} photographs can be used; {photos[0]}: {skipped[str(photos[0])]}')


def _keep_settings(path: Path, settings: dict) -> None:
    """Write the settings down, or raise ValueError if the clips that earlier runs left were made with others."""
    if path.is_file():
        before = json.loads(path.read_text())
        other = {name: before.get(name) for name in settings if before.get(name) != settings[name]}
        if other:
            raise ValueError(f'{path.parent} holds clips that were made with {other}: remove it or give another --out')
    with whole_file(path) as part:
        part.write_text(json.dumps(settings))
