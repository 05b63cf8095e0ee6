"""Read pictures and clips to show to a network, from files and folders or from its validation set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import mmcv
import numpy as np
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, DefaultScope

from ...apis.demo_video import from_video_file
from ...datasets.pictures import check_picture
from ...engine.clips import check_clips
from ..network import input_shape
from ..trained import Trained

IMAGES = ('.bmp', '.jfif', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')
VIDEOS = ('.avi', '.mkv', '.mov', '.mp4', '.webm')


@dataclass
class Sample:
    """One picture or clip.

    Attributes:
        name: Name of the file, or the sample's number in the data set.
        inputs: The keyword arguments of the model.
        frames: What the network sees, cropped and resized: uint8 RGB (T, H, W, 3), T = 1 for a picture.
        label: The true class, if it is known.
    """

    name: str
    inputs: dict
    frames: np.ndarray
    label: int | None = None


def find_files(paths: Sequence[str], video: bool) -> list[Path]:
    """List the files among ``paths`` and the pictures (or videos) in the folders among them, in order.

    Raises:
        FileNotFoundError: If a path is missing, or a folder holds no such file.
    """
    files, suffixes = [], VIDEOS if video else IMAGES
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f'no {path} here ({Path.cwd()})')
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in suffixes) if path.is_dir() else [path]
        if not found:
            raise FileNotFoundError(f'{path} holds no {"video" if video else "picture"} ({", ".join(suffixes)})')
        files += found
    return files


def read_samples(trained: Trained, paths: Sequence[str]) -> list[Sample]:
    """Read pictures or videos from files and folders, through the pipeline of the validation set.

    If the data set lies in memory (CIFAR-10, digits), pictures are cut to the size that the network trained on.

    Raises:
        FileNotFoundError: See :func:`find_files`.
        ValueError: If a file cannot be read; the message names it.
    """
    with DefaultScope.overwrite_default_scope(trained.cfg.default_scope):
        pipeline = Compose(_file_pipeline(trained))
        if trained.is_video:
            check_clips(trained.model, pipeline.transforms)
        return [_from_file(trained, pipeline, file) for file in find_files(paths, trained.is_video)]


def _file_pipeline(trained: Trained) -> list[dict]:
    steps = list(trained.dataset_cfg.pipeline)
    if trained.is_video:
        return from_video_file(steps)
    loaded = [step for step in steps if step['type'].split('.')[-1] != 'LoadImageFromFile']
    if len(loaded) < len(steps):
        return loaded
    size = input_shape(trained.cfg)[-2:]
    fit = [dict(type='ResizeEdge', scale=max(size), edge='short'), dict(type='CenterCrop', crop_size=size)]
    return fit + loaded


def _from_file(trained: Trained, pipeline: Compose, file: Path) -> Sample:
    try:
        packed = _from_video(pipeline, file) if trained.is_video else pipeline(_open_image(file, trained))
    except Exception as error:
        raise ValueError(f'cannot read {file}: {error}; mend it or leave it out') from error
    return _sample(trained, file.stem, packed)


def _open_image(file: Path, trained: Trained) -> dict:
    check_picture(file.read_bytes())
    image = mmcv.imread(str(file), channel_order='bgr' if _swaps(trained) else 'rgb')  # (H, W, 3)
    if image is None:
        raise ValueError('it is no picture that OpenCV can decode')
    return dict(img=image, img_path=str(file), img_shape=image.shape[:2], ori_shape=image.shape[:2])


def _from_video(pipeline: Compose, file: Path) -> dict:
    from ...datasets.loading import load  # not at the top, because pictures go without mmaction2

    return load(pipeline.transforms, dict(filename=str(file), label=-1, start_index=0, modality='RGB'))


def dataset_samples(trained: Trained, number: int) -> list[Sample]:
    """Take the first sample of every class of the validation set, then the second of each, ..., ``number`` in all.

    Raises:
        ValueError: If ``number`` is not positive.
    """
    if number < 1:
        raise ValueError(f'the number of samples must be positive, got {number}')
    with DefaultScope.overwrite_default_scope(trained.cfg.default_scope):
        dataset = DATASETS.build(trained.dataset_cfg)
        labels = [_label(dataset.get_data_info(i)) for i in range(len(dataset))]
        return [_sample(trained, f'{i}', dataset[i], labels[i]) for i in class_by_class(labels)[:number]]


def class_by_class(labels: Sequence[int]) -> list[int]:
    """Order positions so that they take one of every class in turn."""
    seen = {label: count() for label in labels}
    turns = [(next(seen[label]), label, i) for i, label in enumerate(labels)]
    return [i for *_, i in sorted(turns)]


def _label(info: dict) -> int:
    return int(info['gt_label'] if 'gt_label' in info else info['label'])


def _sample(trained: Trained, name: str, packed: dict, label: int | None = None) -> Sample:
    shown = packed['inputs']  # (3, H, W), (T, 3, H, W) or (V, 3, T, H, W)
    if shown.dim() == 5:
        shown = shown[0].transpose(0, 1)  # the first of several views: (T, 3, H, W)
    shown = shown.reshape(-1, *shown.shape[-3:]).permute(0, 2, 3, 1)  # (T, H, W, 3)
    frames = shown.clamp(0, 255).byte().numpy()
    return Sample(name, trained.collate(packed), frames[..., ::-1] if _swaps(trained) else frames, label)


def _swaps(trained: Trained) -> bool:
    """Tell whether the network's preprocessor turns BGR into RGB."""
    return bool(getattr(trained.model.data_preprocessor, 'to_rgb', False))
