"""Bring networks into a form that exporters take: from tensors to tensors, without operators of our own."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from .layers import CGConv1d, CGConv2d, CGConv3d
from .models.translation import TranslationModel


class _Recogniser(nn.Module):
    """A network that gives scores (N, classes) for mmaction2's clips, (N, T, C, H, W) or (N, 1, C, T, H, W)."""

    model: Any

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: Tensor) -> Tensor:
        return self.model.extract_feat(clips, stage='head', test_mode=True)[0]


class _Encoder(nn.Module):
    """A network that encodes the tokens (B, S) of a source, padded with zeros, as (B, S, C)."""

    def __init__(self, model: TranslationModel) -> None:
        super().__init__()
        self.encoder = model.encoder

    def forward(self, tokens: Tensor) -> Tensor:
        return self.encoder(tokens)[0]


def exportable(model: nn.Module) -> nn.Module:
    """Copy a network, in eval mode, for ``torch.onnx.export``, ``torch.export.export`` and ``torch.jit.trace``.

    Args:
        model: A classifier of mmpretrain, a recogniser of mmaction2, a :class:`TranslationModel`, or any network that
            maps tensors to tensors.

    Returns:
        A module that maps one tensor to one, with gated convolutions made of PyTorch's own operators.  It maps
        normalised images (N, C, H, W) or clips to scores, or tokens (B, S) to the encoded source (B, S, C).  Other
        networks stay as they are but for their convolutions.
    """
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        if isinstance(module, (CGConv1d, CGConv2d, CGConv3d)):
            module.backend = 'portable'
    if isinstance(model, TranslationModel):
        return _Encoder(model)
    names = {kind.__name__ for kind in type(model).__mro__}  # mmaction2 need not be installed
    return _Recogniser(model) if 'BaseRecognizer' in names else model
