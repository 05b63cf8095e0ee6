"""Read CIFAR-10 from a folder of the official Python batches."""

import numpy as np
from mmengine.fileio import exists, get, join_path
from mmpretrain.datasets import CIFAR10 as _CIFAR10

from ..registry import DATASETS
from ..signatures import shows_arguments
from .cifar_batches import load_batch


@DATASETS.register_module()
@shows_arguments('ann_file', 'download')
class CIFAR10(_CIFAR10):
    """mmpretrain's CIFAR10 without its download, its checksums and its free unpickling.

    Each sample has ``img``, uint8 (32, 32, 3) in RGB order, and ``gt_label``, from 0 to 9.

    Args:
        data_root: The folder that holds ``cifar-10-batches-py``; ``tools/data/prepare_cifar10.py`` makes it.
        split: ``'train'`` (50,000 images) or ``'test'`` (10,000).
        **kwargs: Arguments of mmpretrain's data sets: ``pipeline``, ``indices``, ``classes``, ...

    Raises:
        FileNotFoundError: If the folder or one of its files is missing.
        ValueError: If ``split`` is unknown, or a file is damaged or tries to run code.
    """

    def __init__(self, data_root: str = 'data/cifar10', split: str = 'train', **kwargs) -> None:
        if split not in ('train', 'test'):
            raise ValueError(f"split must be 'train' or 'test', got {split!r}")
        super().__init__(data_root=data_root, split=split, download=False, **kwargs)

    def load_data_list(self) -> list[dict]:
        folder = join_path(self.data_prefix['root'], self.base_folder)
        samples = []
        for name, _ in self.train_list if self.split == 'train' else self.test_list:
            path = join_path(folder, name)
            if not exists(path):
                raise FileNotFoundError(
                    f'No CIFAR-10 at {folder}: {name} is missing. Make the folder with '
                    'python tools/data/prepare_cifar10.py cifar-10-python.tar.gz --out '
                    f'{self.data_prefix["root"] or "."}'
                )
            images, labels = load_batch(get(path), path)  # (N, 32, 32, 3), N
            samples += [
                dict(img=image, gt_label=label)
                for image, label in zip(np.ascontiguousarray(images), labels, strict=True)
            ]
        return samples
