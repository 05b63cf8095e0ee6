"""Make clips of handwritten digits that move in one of eight directions, which only the order of the frames tells."""

from pathlib import Path

import cv2
import numpy as np

from ..registry import DATASETS
from ..whole_file import whole_folder
from .clip_writer import write_clip
from .digits import Digits
from .video import VideoDataset

# (y, x) in pixels, y downwards.
DIRECTIONS = {
    'right': (0, 1), 'down-right': (1, 1), 'down': (1, 0), 'down-left': (1, -1),
    'left': (0, -1), 'up-left': (-1, -1), 'up': (-1, 0), 'up-right': (-1, 1),
}  # fmt: skip
FRAMES, SIDE, DIGIT_SIDE = 8, 32, 16
SPEEDS = (2, 3)  # pixels a frame along each axis that the direction has
CLIPS = {'train': 4000, 'test': 1024}
LIST = 'clips.txt'


def positions(start: tuple[int, int], direction: str, speed: int) -> np.ndarray:
    """Return where the digit is: int (FRAMES, 2), (y, x) from 0 to SIDE - 1.  What leaves on one side enters opposite.

    For every frame, direction and speed this maps the starts one-to-one onto all places.  If the starts are drawn
    evenly, a single frame therefore says nothing of the direction; a clip and its reverse consist of the same frames.
    """
    steps = np.arange(FRAMES)[:, None] * speed * np.array(DIRECTIONS[direction])  # (FRAMES, 2)
    return (np.array(start) + steps) % SIDE


def render(digit: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Draw a digit, uint8 (8, 8), at each of (T, 2) places on black, wrapping around: uint8 (T, SIDE, SIDE, 3)."""
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    canvas[:DIGIT_SIDE, :DIGIT_SIDE] = cv2.resize(digit, (DIGIT_SIDE, DIGIT_SIDE), interpolation=cv2.INTER_CUBIC)
    frames = np.stack([np.roll(canvas, tuple(place), axis=(0, 1)) for place in places])  # (T, SIDE, SIDE)
    return np.repeat(frames[..., None], 3, axis=-1)


@DATASETS.register_module()
class MovingDigits(VideoDataset):
    """MP4 clips of 8 frames of 32x32; the label, from 0 to 7, is the direction in which the digit moves.

    The digits are real ones: the two splits of :class:`Digits`, so that test clips show digits unseen in training.  The
    clips are made on first use and kept; if processes that start together each make them, those of one are kept.

    Args:
        split: ``'train'`` or ``'test'``.
        data_root: Where the clips are kept, in a folder that is named after split, number and seed.
        num_clips: How many clips; by default 4,000 for training and 1,024 for testing.
        seed: The seed of the choice of digits, starts and speeds.
        **kwargs: Arguments of :class:`VideoDataset`: ``pipeline``, ``test_mode``, ``broken``, ...

    Raises:
        ValueError: If ``split`` is unknown or ``num_clips`` is not positive.
    """

    METAINFO = {'classes': tuple(DIRECTIONS)}

    def __init__(
        self,
        split: str = 'train',
        data_root: str = 'data/moving_digits',
        num_clips: int | None = None,
        seed: int = 0,
        **kwargs,
    ) -> None:
        if split not in CLIPS:
            raise ValueError(f"split must be 'train' or 'test', got {split!r}")
        self.split, self.seed = split, seed
        self.num_clips = CLIPS[split] if num_clips is None else num_clips
        if self.num_clips < 1:
            raise ValueError(f'num_clips must be at least 1, got {num_clips}')
        self.folder = Path(data_root, f'{split}-{self.num_clips}-seed{seed}')
        super().__init__(ann_file=str(self.folder / LIST), data_prefix=dict(video=str(self.folder)), **kwargs)

    def load_data_list(self) -> list[dict]:
        if not self.folder.is_dir():
            self._make_clips()
        return super().load_data_list()

    def _make_clips(self) -> None:
        with whole_folder(self.folder, keep=True) as folder:
            lines = [f'{self._make_clip(folder, *plan)}\n' for plan in self._plan()]
            (folder / LIST).write_text(''.join(lines))

    def _plan(self) -> list[tuple]:
        """Draw (index, digit, start, direction, speed) of every clip: directions take turns, the rest is random."""
        digits = [sample['img'][..., 0] for sample in Digits(self.split)]  # (8, 8) each
        random = np.random.default_rng([self.seed, list(CLIPS).index(self.split)])
        return [
            (
                i,
                digits[random.integers(len(digits))],
                tuple(random.integers(SIDE, size=2)),
                list(DIRECTIONS)[i % len(DIRECTIONS)],
                random.choice(SPEEDS),
            )
            for i in range(self.num_clips)
        ]

    def _make_clip(self, folder: Path, index: int, digit: np.ndarray, start: tuple, direction: str, speed: int) -> str:
        name = f'{index:05d}.mp4'
        write_clip(folder / name, render(digit, positions(start, direction, speed)))
        return f'{name} {list(DIRECTIONS).index(direction)}'
