"""Find where a network looks, before and after its last gated convolution, by Grad-CAM++ (paper, A.3, Figure 4)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.utils.dl_utils import is_norm
from torch import Tensor, nn

from mmcgc.layers import ContextGate, GatedConv, gated_layers

from ..trained import Trained
from .samples import Sample


@dataclass
class Look:
    """What one network makes of one sample.

    Attributes:
        maps: Maps (M, h, w) by place ('before', 'context' if a ContextGate pools it, 'after'), from 0 to 1, as a share
            of the highest value of all M; M is 1 for a picture, for a clip the number of frames that the place has.
        label: The class that the network predicts.
        score: Its probability.
        target: The class whose evidence the maps show.
    """

    maps: dict[str, np.ndarray]
    label: int
    score: float
    target: int


def pick_convolution(model: nn.Module, name: str | None = None) -> tuple[str, nn.Module]:
    """Return the convolution of that name; without a name, the last gated one, or else the last larger than 1x1.

    Raises:
        ValueError: If there is no such convolution; the message lists those that there are.
    """
    known = {
        n: m
        for n, m in model.named_modules()
        if isinstance(m, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and math.prod(m.kernel_size) > 1
    }
    if not known:
        raise ValueError('the network has no convolution larger than 1x1')
    name = name or list(gated_layers(model, GatedConv) or known)[-1]
    if name not in known:
        raise ValueError(f'no convolution {name!r} larger than 1x1; there are {", ".join(known)}')
    return name, known[name]


def look(trained: Trained, sample: Sample, layer: nn.Module, target: int | None = None) -> Look:
    """Run a sample through a network and trace the score of a class back to the layer.

    Args:
        trained: The network.
        sample: What the network sees.
        layer: A convolution of the network, see :func:`pick_convolution`.
        target: The class; None stands for the one that the network predicts.

    Returns:
        The maps of three places: ``before``, the layer's input; ``context``, what its gate pools from that (the
        gradient comes by way of the gate alone); ``after``, its output, with the norm and the activation that follow
        it directly.

    Raises:
        ImportError: If grad-cam is not installed.
    """
    cam = _grad_cam_plus_plus(trained.model)
    inputs = {**sample.inputs, 'inputs': sample.inputs['inputs'].requires_grad_()}
    with torch.enable_grad(), _tapped(trained.model, layer) as taps:
        logits = trained.logits(inputs)[0]  # (classes,)
        label = int(logits.argmax())
        goal = label if target is None else target
        gradients = dict(zip(taps, torch.autograd.grad(logits[goal], list(taps.values())), strict=True))
    maps = {}
    for place in ('before', 'context', 'after'):
        if place in taps:
            size = layer.gate.pool_size if place == 'context' else taps[place].shape[2:]
            values = _as_images(taps[place].detach(), size).clamp(min=0)  # as after a ReLU, which Grad-CAM++ assumes
            maps[place] = _map(cam, values, _as_images(gradients[place], size))
    return Look(maps, label, logits.softmax(0)[label].item(), goal)


def _grad_cam_plus_plus(model: nn.Module):
    try:
        from pytorch_grad_cam import GradCAMPlusPlus
    except ImportError as error:
        raise ImportError(
            "Grad-CAM++ needs the package grad-cam: pip install 'grad-cam>=1.3.7,<1.5' "
            f"(or mmcgc's extra: pip install -e '.[analysis]'); {error}"
        ) from error
    return GradCAMPlusPlus(model, target_layers=[])


def _map(cam, values: Tensor, gradients: Tensor) -> np.ndarray:
    """Compute Grad-CAM++ of (M, C, h, w) activations and their gradients, and cut the negative part off: (M, h, w)."""
    values, gradients = values.double().cpu().numpy(), gradients.double().cpu().numpy()
    image = np.maximum(cam.get_cam_image(None, None, None, values, gradients), 0)  # (M, h, w)
    return image / max(image.max(), np.finfo(float).tiny)


def _as_images(tensor: Tensor, size: tuple[int, ...]) -> Tensor:
    """Reshape (B, C, *size), or (B, C, prod(size)), to (M, C, h, w); time becomes part of the batch."""
    tensor = tensor.reshape(*tensor.shape[:2], *size)
    if tensor.dim() == 3:
        return tensor.unsqueeze(2)
    return tensor if tensor.dim() == 4 else tensor.transpose(1, 2).flatten(0, 1)


@contextmanager
def _tapped(model: nn.Module, layer: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Keep the layer's input, the context that its gate pools, and its output in a forward pass.

    Modules after a tap work on a copy, so that an addition in place, as around a shortcut, leaves the tap alone.
    """
    taps, handed = {}, []

    def before(module: nn.Module, inputs: tuple) -> tuple:
        taps['before'] = inputs[0]
        return (inputs[0].clone(),)

    def context(module: nn.Module, inputs: tuple) -> None:
        taps['context'] = inputs[0]

    def after(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor | None:
        if module is not layer and not (handed and inputs[0] is handed[0] and not inputs[0]._version):
            return None
        taps['after'] = output
        handed[:] = [output.clone()]
        return handed[0]

    handles = [layer.register_forward_pre_hook(before), layer.register_forward_hook(after)]
    handles += [m.register_forward_hook(after) for m in model.modules() if is_norm(m) or _is_activation(m)]
    if isinstance(getattr(layer, 'gate', None), ContextGate):
        handles.append(layer.gate.context_encoding.register_forward_pre_hook(context))
    try:
        yield taps
    finally:
        for handle in handles:
            handle.remove()


def _is_activation(module: nn.Module) -> bool:
    return type(module).__module__ == 'torch.nn.modules.activation' and not isinstance(module, nn.MultiheadAttention)
