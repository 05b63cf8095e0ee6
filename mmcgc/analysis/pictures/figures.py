"""The parts that all pictures share: colours that everyone can tell apart, kernels as tiles, the writing of a file.

Figures are made without pyplot, so that no display is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ...engine.curves import COLOURS
from ...whole_file import check_outputs, whole_file

SEQUENTIAL, DIVERGING = 'viridis', 'PuOr'
SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp', '.pdf', '.svg')

__all__ = ['COLOURS', 'DIVERGING', 'SEQUENTIAL', 'check_picture', 'save', 'tiles']


def check_picture(path: str | Path, inputs: Iterable[str | Path] = ()) -> Path:
    """Check the path of a picture to write, and return it.

    Raises:
        ValueError: If its suffix is none of ``SUFFIXES``; see also :func:`.check_outputs`.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f'cannot write {path}: a picture ends in {", ".join(SUFFIXES)}')
    check_outputs([path], inputs)
    return path


def save(figure: Figure, path: str | Path, dpi: int = 100) -> Path:
    """Write a figure to a file, which is far smaller as .jpg or .webp if it shows photographs."""
    path = check_picture(path)
    settings = dict(optimize=True) if path.suffix == '.png' else None
    with whole_file(path) as part:
        figure.savefig(part, dpi=dpi, facecolor='white', pil_kwargs=settings)
    return path


def tiles(kernels: np.ndarray, most: int = 8) -> np.ndarray:
    """Lay out kernels as a table, output channels downwards and input channels to the right, with gaps of one pixel.

    Args:
        kernels: Kernels (O, C, *K) with one to three axes K; time (3D) goes downwards within a tile.
        most: Output and input channels to show, evenly spaced.

    Returns:
        The table (rows, columns), with NaN in the gaps.
    """
    kernels = kernels[:: -(-kernels.shape[0] // most), :: -(-kernels.shape[1] // most)]
    kernels = kernels.reshape(*kernels.shape[:2], -1, kernels.shape[-1])  # (O, C, k1, k2)
    padded = np.pad(kernels.astype(float), ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    o, c, height, width = padded.shape
    return padded.transpose(0, 2, 1, 3).reshape(o * height, c * width)[:-1, :-1]
