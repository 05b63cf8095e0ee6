"""Per-sample gated convolution as a function of tensors; knows torch alone."""

from .flops import multiply_adds
from .functional import context_gated_conv
from .gating import COMBINES, gate_values

__all__ = ['COMBINES', 'context_gated_conv', 'gate_values', 'multiply_adds']
