"""Classify one video file with a config and its checkpoint."""

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from ..checkpoints.load import class_names, load_weights
from ..engine.clips import check_clips
from ..plain_text import decode_text
from ..whole_file import check_outputs, whole_file
from .device import usable_device
from .launch import load_config

_SHOWN_SIDE = 240  # pixels; smaller videos are enlarged for the annotation


def classify_video(
    config: str,
    checkpoint: str,
    video: str,
    top: int = 5,
    labels: str | None = None,
    out: str | None = None,
    device: str | None = None,
    cfg_options: dict | None = None,
) -> list[tuple[str, float]]:
    """Return the most probable classes of a video file, which is read by the config's test pipeline.

    A config that reads folders of frames reads the video file as well.

    Args:
        config: Path of the config of an mmaction2 recognizer.
        checkpoint: Path or address of a checkpoint of it; it must fit key by key.
        video: Path of the video.
        top: How many classes to return.
        labels: A file with a class name a line; by default see :func:`class_names`.
        out: File, ``*.mp4``, to which the video is written with these classes on every frame.
        device: Where to compute; by default an accelerator if there is one.
        cfg_options: Overrides of the config.

    Returns:
        Names and probabilities, the most probable first.

    Raises:
        FileNotFoundError: If the config, the checkpoint, the video or the file of labels is missing.
        ValueError: If the config is no video config, the checkpoint does not fit it, the video cannot be read, or a
            number or a name is out of range, or the device is not here.
        FloatingPointError: If a score is NaN or infinite.
    """
    from ..datasets.loading import load  # not at the top, because images train without mmaction2

    for path, what in ((video, 'video'), (labels, 'file of labels'), (checkpoint, 'checkpoint')):
        if path and '://' not in path and not os.path.isfile(path):
            raise FileNotFoundError(f'no {what} {path!r} here ({os.getcwd()})')
    if top < 1 or (out and Path(out).suffix != '.mp4'):
        raise ValueError(f'top must be at least 1 and the file to write end in .mp4, got {top} and {out!r}')
    check_outputs([out] if out else [], filter(None, [config, checkpoint, video, labels]))
    device = usable_device(device)
    cfg = load_config(config, None, cfg_options, 'none')
    if cfg.get('default_scope') != 'mmaction' or 'cls_head' not in cfg.model:
        raise ValueError(f'{config} is no config of a video recognizer')
    init_default_scope('mmaction')
    model, names = _load(cfg, checkpoint, labels)
    model.to(device).eval()
    pipeline = Compose(from_video_file(cfg.test_dataloader.dataset.pipeline))
    check_clips(model, pipeline.transforms)
    try:
        sample = load(pipeline.transforms, dict(filename=video, label=-1, start_index=0, modality='RGB'))
    except Exception as error:
        raise ValueError(f'cannot read the video {video}: {error}') from error
    with torch.no_grad():
        scores = model.test_step(pseudo_collate([sample]))[0].pred_score.cpu()  # (classes,)
    if not scores.isfinite().all():
        raise FloatingPointError(f'the scores of {video} are not finite, though the weights are; compute in float32')
    best = scores.topk(min(top, len(scores)))
    classes = [(_name(names, i), p) for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)]
    if out:
        annotate(video, out, [f'{probability:.1%} {name}' for name, probability in classes])
    return classes


def _load(cfg: Config, checkpoint: str, labels: str | None) -> tuple[nn.Module, Sequence[str]]:
    """Return the recognizer with its weights, and the names of its classes, which may be none."""
    if cfg.model.get('backbone', {}).get('pretrained'):
        cfg.model.backbone.pretrained = None
    cfg.model.cls_head.average_clips = 'prob'
    model = MODELS.build(cfg.model)
    meta = load_weights(model, checkpoint, cfg.filename)
    if not labels:
        return model, class_names(cfg.test_dataloader.dataset, meta)
    names = decode_text(Path(labels).read_bytes(), labels).splitlines()
    if len(names) != cfg.model.cls_head.num_classes:
        raise ValueError(f'{labels} names {len(names)} classes, the config has {cfg.model.cls_head.num_classes}')
    return model, names


def _name(names: Sequence[str], label: int) -> str:
    return names[label] if label < len(names) else f'class {label}'


def from_video_file(pipeline: list[dict]) -> list[dict]:
    """Turn a pipeline that may read a folder of frames into one that reads a video file."""
    if all(step['type'] != 'RawFrameDecode' for step in pipeline):
        return pipeline
    decoded = [dict(type='DecordDecode') if step['type'] == 'RawFrameDecode' else step for step in pipeline]
    return [dict(type='DecordInit'), *decoded]


def annotate(video: str, out: str, lines: list[str]) -> None:
    """Write a video with lines of text at the top of every frame.

    Raises:
        ValueError: If OpenCV cannot write ``out``.
    """
    from ..datasets.played_frames import frame_rate, play  # imports mmaction2 if it is installed

    frames = play(video)
    first = next(frames)
    height, width = first.shape[:2]
    factor = max(1, _SHOWN_SIDE / min(height, width))
    size = round(width * factor / 2) * 2, round(height * factor / 2) * 2
    codec = cv2.VideoWriter_fourcc(*'mp4v')
    with whole_file(out, [video]) as part:
        writer = cv2.VideoWriter(str(part), cv2.CAP_FFMPEG, codec, frame_rate(video), size)
        if not writer.isOpened():
            raise ValueError(f'OpenCV {cv2.__version__} cannot write {out}: is its folder writable?')
        for frame in chain([first], frames):
            image = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC)
            writer.write(_with_text(image, lines))
        writer.release()


def _with_text(image: np.ndarray, lines: list[str]) -> np.ndarray:
    """Draw white text on black into a picture, (H, W, 3), and no wider than it."""
    step = max(14, image.shape[0] // 18)
    for i, line in enumerate(lines):
        scale = step / 32
        width = cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0]
        scale *= min(1, (image.shape[1] - 8) / width)
        cv2.rectangle(image, (0, i * step), (min(width + 8, image.shape[1]), (i + 1) * step), (0, 0, 0), -1)
        cv2.putText(
            image, line, (4, (i + 1) * step - step // 4), cv2.FONT_HERSHEY_SIMPLEX, scale, (255,) * 3, 1, cv2.LINE_AA
        )
    return image
