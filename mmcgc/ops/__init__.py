"""Per-sample gated convolution as a function of tensors; knows torch alone."""

from .conv.functional import context_gated_conv
from .flops import multiply_adds
from .gating import COMBINES, gate_values

__all__ = ['COMBINES', 'context_gated_conv', 'gate_values', 'multiply_adds']
