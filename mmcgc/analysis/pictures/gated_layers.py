"""Find the gated convolutions of a network, and their gates on what it is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mmcgc.layers import GatedConv, gated_layers
from mmcgc.ops import gate_values


def pick_layers(model: nn.Module, names: Sequence[str] = ()) -> dict[str, GatedConv]:
    """Return the gated convolutions of these names, or the last one if no name is given.

    Raises:
        ValueError: If the network has no gate, or no gated layer of that name; the message lists those that there are.
    """
    layers = gated_layers(model, GatedConv)
    if not layers:
        raise ValueError("the network has no gated layer; its config needs conv_cfg=dict(type='CGConv')")
    for name in names:
        if name not in layers:
            raise ValueError(f'no gated layer {name!r}; there are {", ".join(layers)}')
    return {name: layers[name] for name in names or list(layers)[-1:]}


@contextmanager
def recorded_terms(layers: dict[str, GatedConv]) -> Iterator[dict[str, tuple[Tensor | None, Tensor | None]]]:
    """Record the terms of Eq. 1 in every forward pass within: by layer, G1 (B, C, *K) and G2 (B, O, *K), or None.

    If a layer runs several times, as for clips in parts, its batches are joined.  Terms stay until the caller takes
    them out.
    """
    terms = {}

    def keep(name: str, new: tuple) -> None:
        new = tuple(None if term is None else term.detach() for term in new)
        old = terms.get(name, (None, None))
        terms[name] = tuple(b if a is None else torch.cat([a, b]) for a, b in zip(old, new, strict=True))

    handles = [layer.gate.register_forward_hook(lambda gate, inputs, new, name=name: keep(name, new))
               for name, layer in layers.items()]  # fmt: skip
    try:
        yield terms
    finally:
        for handle in handles:
            handle.remove()


def layer_gates(layer: GatedConv, gate_in: Tensor | None, gate_out: Tensor | None) -> Tensor:
    """Compute the gates from their terms, from 0 to the layer's gain: (B, O, C / groups, *K)."""
    return layer.gate_gain * gate_values(gate_in, gate_out, layer.out_channels, layer.groups, layer.gate_combine)


def layer_weight(layer: GatedConv) -> Tensor:
    """Return the kernel that the gates multiply, (O, C / groups, *K), without time if each frame has its own gate."""
    return layer.weight.detach().reshape(*layer.weight.shape[:2], *layer.gated_kernel)
