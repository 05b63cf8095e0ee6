"""Count MFLOPs as the paper does, inferred from Tables 1 and 2; for the true cost see :mod:`.get_complexity`.

Modules are counted as they are called, for one sample, in backbone and head alone (what they share cancels):

- convolution: its multiply-adds, and one for each biased output;
- linear layer: second axis of the input times second axis of the output, whatever the axes hold;
- 2D batch norm: twice its elements; ReLU: its outputs; adaptive pooling: its inputs;
- all else counts nothing: other norms, sigmoid, sums, products (``W * gate`` too), and pooling that is no module.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmcgc.extras import import_extra
from mmcgc.layers import ContextGate
from mmcgc.layers.gate_options import GROUP_SIZE

SELayer = import_extra('mmpretrain.models.utils').SELayer
_COUNTED = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.ReLU, nn.AdaptiveAvgPool2d, nn.MaxPool2d, ContextGate)


def paper_flops(model: nn.Module, inputs: Tensor) -> int:
    """Count the operations of an image classifier of mmpretrain on one image (1, 3, H, W), as the paper does."""
    total, hooks = [], []
    # The authors' squeeze-and-excitation has linear layers, whose biases do not count, mmpretrain's 1x1 convolutions.
    linear = {id(m) for layer in model.modules() if isinstance(layer, SELayer) for m in layer.modules()}
    for name, module in (*model.backbone.named_modules(), *model.head.named_modules()):
        if isinstance(module, _COUNTED) and not name.endswith('channel_interacting'):  # which _gate_cost counts
            bias = getattr(module, 'bias', None) is not None and id(module) not in linear
            hooks.append(
                module.register_forward_hook(lambda m, args, y, bias=bias: total.append(_cost(m, args[0], y, bias)))
            )
    with torch.no_grad():
        model(inputs)
    for hook in hooks:
        hook.remove()
    return sum(total)


def _cost(module: nn.Module, x: Tensor, y: Tensor, bias: bool) -> int:
    if isinstance(module, nn.Conv2d):
        return y.numel() * (module.weight[0].numel() + bias)
    if isinstance(module, nn.Linear):
        return x.shape[1] * y.shape[1]
    if isinstance(module, nn.BatchNorm2d):
        return 2 * y.numel()
    if isinstance(module, ContextGate):
        return _gate_cost(module, x)
    return y.numel() if isinstance(module, nn.ReLU) else x.numel()


def _gate_cost(gate: ContextGate, x: Tensor) -> int:
    """Count pooling, activations and channel interacting; the other linear layers are modules counted by themselves."""
    latent, inputs, outputs = gate.latent, gate.in_channels, gate.out_channels
    relu_in, relu_out = inputs * latent, (inputs + outputs) * latent
    # The authors' layer sees (B, groups, d, C / groups), or (B, d, C) if C is below the size of a group.
    interacting = gate.channel_groups**2 if inputs >= GROUP_SIZE else latent**2
    return x.numel() + (gate.branches != 'out') * relu_in + (gate.branches != 'in') * (relu_out + interacting)
