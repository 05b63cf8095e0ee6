"""Read Imagenette, photographs of ten easily told classes of ImageNet (https://github.com/fastai/imagenette)."""

from pathlib import Path

from mmpretrain.datasets import ImageNet

from ..registry import DATASETS
from ..signatures import shows_arguments

CLASSES = dict(
    n01440764='tench',
    n02102040='English springer',
    n02979186='cassette player',
    n03000684='chain saw',
    n03028079='church',
    n03394916='French horn',
    n03417042='garbage truck',
    n03425413='gas pump',
    n03445777='golf ball',
    n03888257='parachute',
)
REMEDY = 'make the folder with python tools/data/prepare_imagenette.py imagenette2-160.tgz --out data/imagenette'
EXTENSIONS = ('.jpeg', '.jpg', '.png', '.webp')


@DATASETS.register_module()
@shows_arguments()
class Imagenette(ImageNet):
    """Ten of ImageNet's classes, in folders named by WordNet id, ``{train,val}/n01440764/*.JPEG``.

    Each sample has ``img_path`` and ``gt_label``, from 0 to 9 in the order of the WordNet ids.

    Args:
        data_root: The folder that holds ``train`` and ``val``; ``tools/data/prepare_imagenette.py`` makes it.
        split: ``'train'`` (9,469 images) or ``'val'`` (3,925).
        **kwargs: Arguments of mmpretrain's data sets: ``pipeline``, ``indices``, ...

    Raises:
        FileNotFoundError: If the folders are not those of the ten classes, or one has no image.
        ValueError: If ``split`` is unknown.
    """

    IMG_EXTENSIONS = EXTENSIONS
    METAINFO = {'classes': tuple(CLASSES.values())}

    def __init__(self, data_root: str = 'data/imagenette', split: str = 'train', **kwargs) -> None:
        if split not in ('train', 'val'):
            raise ValueError(f"split must be 'train' or 'val', got {split!r}")
        super().__init__(data_root=data_root, split=split, **kwargs)

    def load_data_list(self) -> list[dict]:
        folder = Path(self.img_prefix)
        found = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
        for problem, names in (('lacks', CLASSES.keys() - found), ('also holds', found - CLASSES.keys())):
            if names:
                raise FileNotFoundError(f'{folder} {problem} {", ".join(sorted(names))}: {REMEDY}')
        samples = super().load_data_list()
        filled = {sample['gt_label'] for sample in samples}
        empty = [name for label, name in enumerate(CLASSES) if label not in filled]
        if empty:
            raise FileNotFoundError(
                f'no image in {", ".join(str(folder / name) for name in empty)} '
                f'({", ".join(self.extensions)}): {REMEDY}'
            )
        return samples
