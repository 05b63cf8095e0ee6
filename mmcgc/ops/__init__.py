"""Functions of tensors that convolve each sample with a gated kernel of its own; they depend on torch alone."""

from .conv.functional import context_gated_conv
from .flops import multiply_adds
from .gating import COMBINES, gate_values

__all__ = ['COMBINES', 'context_gated_conv', 'gate_values', 'multiply_adds']
