"""Let mmaction2's data sets of videos and frame folders give the frames asked for, or an error that names the clip."""

import logging

import torch
from mmaction.datasets import RawframeDataset as _RawframeDataset
from mmaction.datasets import VideoDataset as _VideoDataset
from mmengine.fileio import list_from_file
from mmengine.logging import print_log

from ..registry import DATASETS
from ..signatures import shows_arguments
from .loading import UNKNOWN, load_step

_LOADING = 'mmaction.datasets.transforms.loading'


class CheckedClips:
    """A base class that names or skips the clips that cannot be read.

    It stands before a data set of mmaction2 among the bases.

    The frames that it gives are those that decoding the file in order gives, upright (:func:`.loading.load_step`).
    Only the loading part of the pipeline (opening, sampling, decoding) is watched; errors of later transforms pass
    unchanged.  What is known of a clip is kept in shared memory, so that workers examine, skip and count it once.

    Args:
        broken: What happens with a clip that cannot be read (missing, empty, truncated, too few frames): ``'raise'``
            names it in an error; ``'skip'`` logs it with a running count and, in training, takes another clip instead.
            In test mode ``'skip'`` decodes all clips once at the start and leaves the broken ones out, so that metrics
            are over the readable ones.
        min_frames: A clip with fewer frames than this counts as broken.
        *args, **kwargs: Arguments of mmaction2's data set.

    Raises:
        ValueError: If ``broken`` is unknown or a line of the list cannot be read; when a clip is read, if
            it is broken, or if all clips are.
    """

    def __init__(self, *args, broken: str = 'raise', min_frames: int = 2, **kwargs) -> None:
        if broken not in ('raise', 'skip'):
            raise ValueError(f"broken must be 'raise' or 'skip', got {broken!r}")
        self.broken, self.min_frames = broken, min_frames
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        try:
            return super().load_data_list()
        except (AssertionError, IndexError, ValueError) as error:
            lines = [line.strip() for line in list_from_file(self.ann_file)]
            parts = [line.split(getattr(self, 'delimiter', None)) for line in lines]
            odd = [not all(number.isdecimal() for number in numbers) for _, *numbers in parts]
            worst = max(range(len(lines)), key=lambda i: (odd[i], len(parts[i])))
            raise ValueError(
                f'{self.ann_file} cannot be read, see line {worst + 1}, {lines[worst]!r}: expected a path '
                "and numbers with spaces between; for videos whose paths hold spaces, write ';' in the "
                "list and set delimiter=';' in the config, and rename or link such folders"
            ) from error

    def full_init(self) -> None:
        if self._fully_initialized:
            return
        super().full_init()
        self._flags = torch.zeros(len(self), dtype=torch.bool).share_memory_()  # (N,), the clips found broken
        self._known = torch.full((len(self),), UNKNOWN, dtype=torch.int32).share_memory_()  # (N,), see load_step
        self._left_out = 0
        if self.test_mode and self.broken == 'skip':
            self.get_subset_([i for i in range(len(self)) if self._load(i) is not None])
            kept = ~self._flags
            self._left_out, self._flags, self._known = self.skipped, self._flags[kept], self._known[kept]

    @property
    def skipped(self) -> int:
        """How many clips have been found broken so far, by all workers of this process."""
        return self._left_out + int(self._flags.sum())

    def prepare_data(self, idx: int):
        sample = self._load(idx)
        for transform in self.pipeline.transforms[self._loading_steps() :]:
            if sample is None:
                return None
            sample = transform(sample)
        return sample

    def _loading_steps(self) -> int:
        modules = [type(transform).__module__ for transform in self.pipeline.transforms]
        return max((i + 1 for i, module in enumerate(modules) if module == _LOADING), default=0)

    def _load(self, idx: int) -> dict | None:
        """Return the sample after the loading part of the pipeline, or None if the clip is skipped."""
        if self._flags[idx]:
            return None
        sample = self.get_data_info(idx)
        name = sample.get('filename') or sample.get('frame_dir')
        try:
            for transform in self.pipeline.transforms[: self._loading_steps()]:
                sample, self._known[idx] = load_step(transform, sample, int(self._known[idx]))
                self._check_frames(sample)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            if self.broken == 'raise':
                raise ValueError(
                    f'cannot read the clip {name}: {reason}. Mend it or take it out of {self.ann_file}, '
                    "or set broken='skip' for this data set in the config"
                ) from error
            self._skip(idx, name, reason)
            return None
        return sample

    def _check_frames(self, sample: dict) -> None:
        total = sample.get('total_frames')
        if total is not None and total < self.min_frames:
            raise ValueError(f'{total} frames, expected {self.min_frames} or more (min_frames)')

    def _skip(self, idx: int, name: str, reason: str) -> None:
        self._flags[idx] = True
        total = len(self._flags)
        print_log(
            f'skipped the clip {name}: {reason}; {self.skipped} of {total} clips skipped so far',
            'current',
            logging.WARNING,
        )
        if self.skipped == total:
            raise ValueError(f'none of the {total} clips of {self.ann_file} can be read; the last, {name}: {reason}')


@DATASETS.register_module()
@shows_arguments()
class VideoDataset(CheckedClips, _VideoDataset):
    """mmaction2's VideoDataset with the arguments of :class:`CheckedClips`."""


@DATASETS.register_module()
@shows_arguments()
class RawframeDataset(CheckedClips, _RawframeDataset):
    """mmaction2's RawframeDataset with the arguments of :class:`CheckedClips`."""
