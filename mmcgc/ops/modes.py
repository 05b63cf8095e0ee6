"""Tell what happens around a call: tracing, transformations of functions, layers that are replaced or watched."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeGuard, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules.module import _has_any_global_hook

Layer = TypeVar('Layer', bound=nn.Module)
_CALL = nn.Module.__call__
_FORWARDS: dict[type[nn.Module], Callable] = {nn.Linear: nn.Linear.forward, nn.BatchNorm1d: nn.BatchNorm1d.forward}


def traced() -> bool:
    """Tell whether the call is being made into a program: compiled, exported or traced."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.onnx.is_in_onnx_export()


def autocasts(device: torch.device) -> bool:
    """Tell whether autocast is on for a device."""
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Return a context in which autocast is off for a device."""
    return torch.autocast(device.type, enabled=False) if autocasts(device) else nullcontext()


def transformed() -> bool:
    """Tell whether ``torch.func`` transforms the call, or ``torch.autograd.forward_ad`` takes derivatives forward.

    Only PyTorch's own operators take part in that; ours would silently count as constants, or fail.
    """
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def differentiated(grad: Tensor) -> bool:
    """Tell whether a backward pass, which got ``grad``, is itself differentiated (``create_graph=True``), transformed,
    or run for many gradients at once (``is_grads_batched=True``)."""
    return torch.is_grad_enabled() or transformed() or torch._C._functorch.is_legacy_batchedtensor(grad)


def is_watched(module: nn.Module) -> bool:
    """Tell whether a hook waits in a module itself, or in all modules."""
    hooks = module._forward_pre_hooks or module._forward_hooks or module._backward_pre_hooks or module._backward_hooks
    return bool(hooks or _has_any_global_hook())


def is_plain(layer: nn.Module, usual: type[Layer]) -> TypeGuard[Layer]:
    """Tell whether a layer may be computed from its parameters, because a call gives what ``usual`` computes from them.

    It may not if it is no such layer or has its own ``forward``, if a hook waits in it, or if its parameters are
    computed, quantised or tensors of a class of their own.  In doubt the layer has to be called.

    Args:
        layer: A layer of a gate.
        usual: ``nn.Linear`` or ``nn.BatchNorm1d``; subclasses that inherit its ``forward`` count as it.
    """
    kind = type(layer)
    if not isinstance(layer, usual) or kind.forward is not _FORWARDS[usual] or kind.__call__ is not _CALL:
        return False
    if is_watched(layer) or 'forward' in layer.__dict__ or layer._compiled_call_impl is not None:
        return False
    own = layer._parameters
    return 'weight' in own and 'bias' in own and all(p is None or type(p) is nn.Parameter for p in own.values())
