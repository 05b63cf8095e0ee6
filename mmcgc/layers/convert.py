"""Swap the convolutions of any network for context-gated ones."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import nn

from .conv import CGConv1d, CGConv2d, CGConv3d

_GATED = {nn.Conv1d: CGConv1d, nn.Conv2d: CGConv2d, nn.Conv3d: CGConv3d}


def convert_to_cgc(
    model: nn.Module,
    include: str | Callable[[str, nn.Module], bool] | None = None,
    gate: dict | None = None,
    **options,
) -> nn.Module:
    """Swap, in place, every ``nn.Conv1d/2d/3d`` with more than one kernel element for its context-gated form.

    Weights are kept.  With ``init='preserve'``, the default here, the converted network computes exactly what it did:
    gates start at 1.  Subclasses of the convolutions are left alone.  Convert before building
    the optimiser and before wrapping for distributed training.

    Args:
        model: any network (torchvision, timm, mmdet, mmseg, ...).
        include: which to swap: a regular expression searched for in the module's name, or a function of name and
            module; None: all.
        gate: options of :class:`ContextGate`; ``init`` defaults to 'preserve'.
        options: further arguments of the layers, such as ``num_segments`` or ``backend``.

    Returns:
        The network; a new module only where ``model`` itself is a convolution.

    Raises:
        ValueError: nothing to convert, listing some convolutions that there are.
    """
    gate = {'init': 'preserve', **(gate or {})}
    convs = {n: m for n, m in model.named_modules() if type(m) in _GATED and m.weight[0, 0].numel() > 1}
    if include is None:
        chosen = convs
    else:
        wanted = include if callable(include) else lambda name, _: re.search(include, name) is not None
        chosen = {name: module for name, module in convs.items() if wanted(name, module)}
    if not chosen:
        names = ', '.join(list(convs)[:8]) or 'none with more than one kernel element'
        raise ValueError(f'include={include!r} matches no convolution of {type(model).__name__}; it has: {names}')
    swapped = {id(module): _gated(module, gate, options) for module in chosen.values()}
    if id(model) in swapped:
        return swapped[id(model)]
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if id(child) in swapped:
                parent._modules[name] = swapped[id(child)]
    return model


def _gated(conv: nn.Module, gate: dict, options: dict) -> nn.Module:
    layer = _GATED[type(conv)](
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups,
        conv.bias is not None, conv.padding_mode, conv.weight.device, conv.weight.dtype, gate=gate, **options,
    )  # fmt: skip
    layer.load_state_dict(conv.state_dict(), strict=False)
    layer.weight.requires_grad_(conv.weight.requires_grad)
    if conv.bias is not None:
        layer.bias.requires_grad_(conv.bias.requires_grad)
    return layer.train(conv.training)
