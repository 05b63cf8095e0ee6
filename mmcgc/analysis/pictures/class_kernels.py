"""Measure distances of a layer's modulated kernels between and within classes (paper, A.4, Figure 5)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from mmcgc.layers import GatedConv
from mmcgc.ops import gate_values

from ...progress import tracked
from ..trained import Trained
from .gated_layers import layer_weight, recorded_terms

IMAGES_AT_ONCE = 64
_NEUTRAL = {'sum': 0.0, 'product': 1.0, 'sigmoid_product': float('inf')}  # terms that change nothing


@dataclass
class ClassKernels:
    """Where the modulated kernels of K classes lie; distances are L2, in units of the weight.

    Attributes:
        classes: Names of the K classes.
        counts: Images of each class, (K,).
        centres: The mean modulated kernel of each class, (K, R, O, C / groups, *K); R as in :func:`class_kernels`.
        inter: Distances between the centres, (K, K).
        intra: The mean distance of the kernels of a class to its centre, (K,).
    """

    classes: list[str]
    counts: np.ndarray
    centres: np.ndarray
    inter: np.ndarray
    intra: np.ndarray

    @property
    def difference(self) -> np.ndarray:
        """In row k, how much further each other centre is than the kernels of class k on average, (K, K)."""
        return self.inter - self.intra[:, None]

    @property
    def share(self) -> float:
        """The share of the K (K - 1) ordered pairs of different classes whose difference is positive."""
        return float((self.difference[self._pairs] > 0).mean())

    @property
    def ratio(self) -> float:
        """Inter-class over intra-class distance, averaged over the same pairs."""
        return float((self.inter / self.intra[:, None])[self._pairs].mean())

    @property
    def _pairs(self) -> np.ndarray:
        return ~np.eye(len(self.intra), dtype=bool)


def measure_class_kernels(
    trained: Trained, loader: Iterable[dict], name: str, layer: GatedConv, budget: int = 2**28
) -> ClassKernels:
    """Run a data set through a network and measure the modulated kernels of one of its layers.

    Memory grows by a label and a distance for each image, and working arrays do not grow with the number of classes.
    One pass over the data writes the two terms inside the sigmoid, R (C + O) numbers a kernel element instead of the
    kernel's R C O, to a temporary file (1.8 GB for the 50,000 images of ImageNet and a 3x3 kernel from 512 to 512
    channels), on which :func:`class_kernels` works.

    Args:
        trained: The network.
        loader: Batches with ``data_samples`` that hold ``gt_label``.
        name, layer: A gated layer of the network.
        budget: Bytes, see :func:`class_kernels`.

    Raises:
        ValueError: If there are fewer than two classes, or a class has one image, which has no distance to its centre.
    """
    with tempfile.TemporaryFile() as file:
        labels, shape = _write_terms(trained, loader, name, layer, file)
        terms = np.memmap(file, np.float32, 'r', shape=(len(labels), *shape))
        return class_kernels(terms, labels, layer, trained.class_name, budget)


@torch.no_grad()
def _write_terms(trained: Trained, loader, name: str, layer: GatedConv, file: BinaryIO) -> tuple[np.ndarray, tuple]:
    labels, shape = [], ()
    with recorded_terms({name: layer}) as terms:
        for batch in tracked(loader):
            inputs = trained.model.data_preprocessor(batch, False)
            trained.model(**inputs)
            labels += [int(sample.gt_label.item()) for sample in inputs['data_samples']]
            both = joined_terms(layer, *terms.pop(name))  # (B * R, C + O, n)
            both = both.unflatten(0, (len(inputs['data_samples']), -1))  # (B, R, C + O, n)
            file.write(both.float().cpu().numpy().tobytes())
            shape = tuple(both.shape[1:])
    file.flush()
    return np.array(labels), shape


def joined_terms(layer: GatedConv, gate_in: Tensor | None, gate_out: Tensor | None) -> Tensor:
    """Join both terms in one tensor, (B, C + O, n), for :func:`class_kernels`; a term that is None is filled in."""
    given = gate_out if gate_in is None else gate_in
    both = (gate_in, layer.in_channels), (gate_out, layer.out_channels)
    neutral = _NEUTRAL[layer.gate_combine]
    full = [given.new_full((len(given), channels, *given.shape[2:]), neutral) if term is None else term
            for term, channels in both]  # fmt: skip
    return torch.cat(full, 1).flatten(2)


@torch.no_grad()
def class_kernels(
    terms: np.ndarray, labels: Sequence[int], layer: GatedConv, class_name=str, budget: int = 2**28
) -> ClassKernels:
    """Measure distances of the modulated kernels between the class centres, and within the classes (paper, A.4).

    The centre of a class is the mean of its images' kernels W * G; inter-class distances are those between centres; the
    intra-class distance is the mean (not the root mean square) of the distances of the images' kernels to their centre,
    which is why sums of squares do not suffice.  The kernels are rebuilt from their terms, twice, a block of output
    channels and ``IMAGES_AT_ONCE`` images at a time: squared distances add up over the blocks.  Beside the terms, this
    holds one number an image, K^2 for the pairs, the K centres in single precision, and a block of ``budget`` bytes.

    Args:
        terms: The terms G1 and G2 of the layer's gate for each image, joined, (N, R, C + O, n).  R > 1 if a sample has
            several kernels, as a clip has one for each frame: they count as one long kernel.
        labels: Classes of the N images.
        layer: The gated convolution.
        class_name: The function that names the class of a label.
        budget: Bytes for the block of centres.

    Raises:
        ValueError: If there are fewer than two classes, or a class has one image, which has no distance to its centre.
    """
    labels = np.asarray(labels)
    found, counts = np.unique(labels, return_counts=True)
    names = [class_name(int(label)) for label in found]
    if len(found) < 2:
        raise ValueError(f'distances between classes need at least two of them, got {", ".join(names) or "no image"}')
    if counts.min() < 2:
        single = ', '.join(name for name, n in zip(names, counts, strict=True) if n < 2)
        raise ValueError(f'only one image of {single}: the spread of a class needs two; add images or drop the class')

    weight = layer_weight(layer)
    members = [np.flatnonzero(labels == label) for label in found]
    squared = torch.zeros(len(labels), dtype=torch.float64)  # distances to the own centre
    between = torch.zeros(len(found), len(found), dtype=torch.float64)
    centres = np.empty((len(found), terms.shape[1], *weight.shape), np.float32)
    for block in _blocks(layer, weight, 8 * len(found) * terms.shape[1], budget):
        means = []
        for images in tracked(members):
            chunks = [images[i : i + IMAGES_AT_ONCE] for i in range(0, len(images), IMAGES_AT_ONCE)]
            total = sum(_kernels(terms[chunk], layer, weight, block).sum(0).cpu().double() for chunk in chunks)
            means.append(total / len(images))  # (R, o, C / groups, *K)
            mean = means[-1].to(weight)
            for chunk in chunks:
                difference = _kernels(terms[chunk], layer, weight, block) - mean  # (<= 64, R, o, C / groups, *K)
                squared[chunk] += difference.square().flatten(1).sum(1).cpu()
        means = torch.stack(means)  # (K, R, o, C / groups, *K)
        centres[:, :, block] = means.numpy()
        between += _pairwise_squares(means.flatten(1))
    intra = np.array([squared[images].sqrt().mean().item() for images in members])
    return ClassKernels(names, counts, centres, between.sqrt().numpy(), intra)


def _blocks(layer: GatedConv, weight: Tensor, bytes_each: int, budget: int) -> list[slice]:
    """Split the output channels into blocks of at most ``budget`` bytes; a kernel element takes ``bytes_each``."""
    outputs = weight.shape[0]
    size = budget // (bytes_each * weight[0].numel()) if layer.groups == 1 else outputs
    size = min(max(1, size), outputs)
    return [slice(i, min(i + size, outputs)) for i in range(0, outputs, size)]


def _kernels(terms: np.ndarray, layer: GatedConv, weight: Tensor, block: slice) -> Tensor:
    """Rebuild the modulated kernels of some images for the output channels of ``block``: (B, R, o, C / groups, *K)."""
    joined = torch.from_numpy(terms).to(weight.device).flatten(0, 1).unflatten(2, weight.shape[2:])  # (B R, C + O, *K)
    gate_in, gate_out = joined[:, : layer.in_channels], joined[:, layer.in_channels :][:, block]
    gates = layer.gate_gain * gate_values(gate_in, gate_out, block.stop - block.start, layer.groups, layer.gate_combine)
    return (weight[block] * gates).unflatten(0, terms.shape[:2])


def _pairwise_squares(points: Tensor) -> Tensor:
    """Compute squared distances of (K, E) points, in double precision and about their mean: (K, K)."""
    points = points - points.mean(0)
    products = points @ points.T
    squares = products.diagonal()
    return (squares[:, None] + squares[None] - 2 * products).clamp(min=0).fill_diagonal_(0)
