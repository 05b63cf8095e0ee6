"""Count the parameters and multiply-adds of a network, the gates' share apart.

It counts every multiply-add of convolutions, linear layers and matrix products, one for every element that adaptive
pooling reads, and one for every element of a gated kernel, ``weight * gate``; it leaves out norms, activations, sums.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from mmengine import Config
from mmengine.analysis import jit_handles
from mmengine.analysis.jit_analysis import JitModelAnalysis
from torch import nn

from mmcgc.layers import ContextGate, GatedConv, gated_layers
from mmcgc.library_counts import OPERATORS, gated_conv

from ..network import build_network, input_shape
from ..tables import markdown_table

PARTS = ('pooling', 'context encoding', 'channel interacting', 'gate decoding', 'other gates', 'gating the kernel')


@dataclass(frozen=True)
class Complexity:
    """The ``parameters`` and ``multiply_adds`` of a network, and those of its gates, ``gate_parameters`` and ``gates``.

    ``gates`` holds multiply-adds by part; ``uncounted`` names custom operators of the network without a formula here.
    """

    parameters: int
    multiply_adds: int
    gate_parameters: int
    gates: dict[str, int]
    uncounted: tuple[str, ...]


def describe(config: str, size: Sequence[int] | None = None) -> str:
    """Describe the complexity of a config's network on one sample in text; ``size`` is as for :func:`input_shape`."""
    cfg = Config.fromfile(config)
    shape = input_shape(cfg, size)
    found = analyse(build_network(cfg), torch.zeros(shape))
    gates = sum(found.gates.values())
    lines = [
        ('whole network', found.parameters, found.multiply_adds),
        ('without the gates', found.parameters - found.gate_parameters, found.multiply_adds - gates),
        ('the gates', found.gate_parameters, gates),
    ]
    table = [[name, f'{parameters:,}', f'{count:,}'] for name, parameters, count in lines]
    table += [[f'  {part}', '', f'{count:,}'] for part, count in found.gates.items() if count]
    text = f'{config}, input {tuple(shape)}\n\n' + markdown_table(['', 'parameters', 'multiply-adds'], table, (1, 2))
    if found.uncounted:
        text += f'\n\nNot counted, for want of a formula: {", ".join(found.uncounted)}'
    return text


def gate_multiply_adds(gate: ContextGate, shape: Sequence[int]) -> Counter:
    """Count the multiply-adds of a gate's network, by part, for an input of that shape (B, C, *S).

    They follow from the shapes alone (paper, Sec. 2.2, "Complexity"), however the layer evaluates the gate.
    """
    clips = shape[0] // (gate.num_frames or 1)
    inputs, outputs = clips * gate.in_channels, clips * gate.out_channels
    weights = {name: m.weight.numel() for name, m in gate.named_children() if isinstance(m, nn.Linear)}
    shared = gate.branches == 'both' and 'decode_out' not in weights
    counts = Counter({'pooling': math.prod(shape)})
    for name, weight in weights.items():
        if name == 'channel_interacting':
            counts['channel interacting'] += clips * gate.channel_groups * gate.latent * weight
        elif name.startswith('decode'):
            vectors = inputs * name.startswith('decode_in') + outputs * (shared or name.startswith('decode_out'))
            counts['gate decoding'] += vectors * weight
        else:
            counts['context encoding'] += inputs * weight
    return counts


def analyse(model: nn.Module, inputs: torch.Tensor) -> Complexity:
    """Count a network on one batch; the model is called in the mode that it is in, so put it in eval mode first.

    MMEngine's analyser counts the operators of the traced network.  The networks of :class:`ContextGate` are left out
    of the trace (a ResNet-110 has 109) and counted by :func:`gate_multiply_adds`; other gates are traced as they are.
    """
    layers = gated_layers(model, GatedConv)
    gates = [layer.gate for layer in layers.values()]
    known = [gate for gate in gates if type(gate).forward is ContextGate.forward]
    others = [f'{name}.gate'.lstrip('.') for name, layer in layers.items() if layer.gate not in known]
    shares = Counter()
    analyser = JitModelAnalysis(model, (inputs,)).set_op_handle(**_HANDLES)
    analyser.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    with _counted_only(known, shares), torch.no_grad():
        operators = analyser.by_operator()
        shares['other gates'] = sum(analyser.by_module()[name] for name in others)
    shares['gating the kernel'] = operators.pop('gate_product', 0)
    return Complexity(
        parameters=sum(p.numel() for p in model.parameters()),
        multiply_adds=int(sum(operators.values()) + sum(shares.values()) - shares['other gates']),
        gate_parameters=sum(p.numel() for gate in gates for p in gate.parameters()),
        gates={part: int(shares[part]) for part in PARTS},
        uncounted=tuple(sorted(name for name in analyser.unsupported_ops() if not name.startswith('aten::'))),
    )


@contextmanager
def _counted_only(gates: list[ContextGate], shares: Counter) -> Iterator[None]:
    """Make calls of the gates within the block add their multiply-adds to ``shares`` and return terms of zeros."""

    def stand_in(gate: ContextGate, x: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        shares.update(gate_multiply_adds(gate, [int(n) for n in x.shape]))
        terms = (('out', gate.in_channels), ('in', gate.out_channels))  # the branch that lacks a term, its channels
        return tuple(
            None if gate.branches == other else x.new_zeros(x.shape[0], channels, *gate.kernel_size)
            for other, channels in terms
        )

    for gate in gates:
        gate.forward = partial(stand_in, gate)
    try:
        yield
    finally:
        for gate in gates:
            del gate.forward


def _matmul(inputs: list[Any], outputs: list[Any]) -> int:
    """Count for any two shapes that broadcast; MMEngine's handle leaves out axes that only the second operand has."""
    return math.prod(jit_handles.get_shape(outputs[0])) * jit_handles.get_shape(inputs[0])[-1]


_READ = jit_handles.elementwise_flop_counter(1, 0)
_HANDLES = {
    'aten::_convolution': jit_handles.conv_flop_jit,
    **dict.fromkeys(OPERATORS, gated_conv),
    'aten::linear': jit_handles.linear_flop_jit,
    'aten::addmm': jit_handles.addmm_flop_jit,
    'aten::einsum': jit_handles.einsum_flop_jit,
    **dict.fromkeys(('aten::matmul', 'aten::mm', 'aten::bmm'), _matmul),
    **{f'aten::adaptive_{kind}_pool{axes}d': _READ for kind in ('avg', 'max') for axes in (1, 2, 3)},
}
