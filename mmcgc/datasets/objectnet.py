"""Read ObjectNet (Barbu et al., 2019), photographs that test networks trained on ImageNet."""

import json
from pathlib import Path

from mmengine.fileio import list_dir_or_file
from mmpretrain.datasets import BaseDataset
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

from ..registry import DATASETS
from ..signatures import shows_arguments

OBJECTS, FOLDERS = 'objectnet_to_imagenet_1k.json', 'folder_to_objectnet_label.json'
EXTENSIONS = ('.png', '.jpg', '.jpeg')


@DATASETS.register_module()
@shows_arguments('ann_file', 'data_prefix')
class ObjectNet(BaseDataset):
    """The objects of ObjectNet that ImageNet has too, 113 of 313, with ImageNet's classes as labels.

    Each sample has ``img_path`` and ``gt_label``, the list of the classes of ImageNet, from 0 to 999, that show its
    object: ``mmcgc.AnyLabelAccuracy`` takes each of them for right.  Which these are is read from the files that come
    with the data.

    Args:
        data_root: The unpacked archive, with ``images/<folder>/*.png`` and ``mappings``.
        **kwargs: Arguments of mmpretrain's data sets: ``pipeline``, ``indices``, ...

    Raises:
        FileNotFoundError: If a file of ``mappings`` is missing, or the folder of an object, or all of its images.
        ValueError: If a file of ``mappings`` names what ImageNet or the other file does not have.
    """

    METAINFO = {'classes': IMAGENET_CATEGORIES}

    def __init__(self, data_root: str = 'data/objectnet', **kwargs) -> None:
        super().__init__(ann_file='', data_root=data_root, data_prefix='images', **kwargs)

    def load_data_list(self) -> list[dict]:
        mappings, labels = Path(self.data_root, 'mappings'), {name: i for i, name in enumerate(IMAGENET_CATEGORIES)}
        folders = {label: folder for folder, label in _read(mappings / FOLDERS).items()}
        samples = []
        for name, classes in _read(mappings / OBJECTS).items():
            unknown = [text for text in classes.split('; ') if text not in labels]
            if unknown or name not in folders:
                what = f'{unknown[0]!r} is no class of ImageNet' if unknown else f'{FOLDERS} has no folder for it'
                raise ValueError(f'{mappings / OBJECTS}, {name!r}: {what}; use the mappings of the same archive')
            found = _images(Path(self.img_prefix, folders[name]))
            samples += [dict(img_path=path, gt_label=[labels[text] for text in classes.split('; ')]) for path in found]
        return samples


def _read(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise FileNotFoundError(f'{path} is missing: unpack all of ObjectNet, images and mappings, into one folder')
    return json.loads(path.read_text(encoding='utf-8'))


def _images(folder: Path) -> list[str]:
    names = sorted(list_dir_or_file(folder, list_dir=False, suffix=EXTENSIONS)) if folder.is_dir() else []
    if not names:
        raise FileNotFoundError(f'{folder} has no image ({", ".join(EXTENSIONS)}): unpack ObjectNet again')
    return [str(folder / name) for name in names]
