"""Tell where the Triton kernels can run: on NVIDIA GPUs, and for tests in Triton's interpreter on the CPU."""

from __future__ import annotations

import os

import torch

# Triton 3.3 takes named tuples as arguments of a kernel, and compiles for NVIDIA GPUs from this capability on.
_LEAST_TRITON, _LEAST_CAPABILITY = (3, 3), (8, 0)


def no_device(kind: str, index: int | None, dtype: torch.dtype) -> str | None:
    """Tell why the kernels cannot take a tensor of ``dtype`` on this device, or return None if they can."""
    try:
        import triton
    except ImportError:
        return 'Triton is not installed: pip install triton'
    if tuple(int(part) for part in triton.__version__.split('.')[:2]) < _LEAST_TRITON:
        return f'it needs Triton {".".join(map(str, _LEAST_TRITON))} or later, got {triton.__version__}'
    if kind == 'cpu':
        if not interpreted():
            return 'on the CPU it runs in the interpreter alone: set TRITON_INTERPRET=1 before Triton is imported'
        return 'the interpreter has no bfloat16' if dtype == torch.bfloat16 else None
    if kind != 'cuda' or torch.version.hip is not None or not torch.cuda.is_available():
        return f'it needs an NVIDIA GPU, got a tensor on {kind!r}'
    if torch.cuda.get_device_capability(index) < _LEAST_CAPABILITY:
        return f'it needs compute capability {_LEAST_CAPABILITY}, got {torch.cuda.get_device_capability(index)}'
    return None


# This is what torch.compiler.assume_constant_result does; that function imports the whole compiler.
no_device._dynamo_marked_constant = True


def interpreted() -> bool:
    """Tell whether Triton's interpreter runs the kernels."""
    return os.environ.get('TRITON_INTERPRET') == '1'
