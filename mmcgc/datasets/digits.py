"""Read scikit-learn's handwritten digits, 1,797 real 8x8 images that come with the package."""

import numpy as np
from mmpretrain.datasets import BaseDataset

from ..registry import DATASETS
from ..signatures import shows_arguments


@DATASETS.register_module()
@shows_arguments('ann_file')
class Digits(BaseDataset):
    """The digits of :func:`sklearn.datasets.load_digits`, with a fifth of every class held out for testing.

    Each sample has ``img``, uint8 (8, 8, 3) with the grey value repeated, and ``gt_label``, from 0 to 9.  The split is
    fixed: it depends on no seed of the run.

    Args:
        split: ``'train'`` (1,437 images) or ``'test'`` (360).
        **kwargs: Arguments of mmpretrain's data sets: ``pipeline``, ``indices``, ``test_mode``, ...

    Raises:
        ValueError: If ``split`` is unknown.
    """

    METAINFO = {'classes': tuple('0123456789')}

    def __init__(self, split: str = 'train', **kwargs) -> None:
        if split not in ('train', 'test'):
            raise ValueError(f"split must be 'train' or 'test', got {split!r}")
        self.split = split
        super().__init__(ann_file='', **kwargs)

    def load_data_list(self) -> list[dict]:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        splits = dict(
            zip(
                ('train', 'test'),
                train_test_split(np.arange(len(digits.target)), test_size=0.2, stratify=digits.target, random_state=0),
                strict=True,
            )
        )
        images = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8), from 0 to 255 instead of 16
        images = np.repeat(images[..., None], 3, axis=-1)  # (1797, 8, 8, 3)
        return [dict(img=images[i], gt_label=int(digits.target[i])) for i in splits[self.split]]

    def extra_repr(self) -> list[str]:
        return [f'Split: \t{self.split}']
