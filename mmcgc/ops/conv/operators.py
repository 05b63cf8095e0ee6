"""Give the operators of all backends their result's shape and layout, and make them known to torch.

A backend's forward operator takes (x, weight, gate_in, gate_out, bias, stride, padding, dilation, ...).  Its backward
operator takes (grad, x, weight, gate_in, gate_out, the same settings, need_x, need_weight_or_gate).  An empty tensor
stands for a gradient that is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.library import CustomOpDef

from ..modes import differentiated
from . import reference


def result_format(x: Tensor) -> torch.memory_format:
    """Return the memory format that the result takes from ``x``."""
    last = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
    return last if x.is_contiguous(memory_format=last) and not x.is_contiguous() else torch.contiguous_format


def output_shape(
    x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> list[int]:
    """Return the shape of the result, (B, O, *S')."""
    axes = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    return [x.shape[0], weight.shape[0], *((size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, s, p, d in axes)]


def register(
    forward: CustomOpDef,
    backward: CustomOpDef,
    grad_like: Callable[[Tensor], Tensor] = lambda t: t.new_empty(t.shape),
) -> None:
    """Tell torch the results' shapes and how to differentiate; only x, weight, gate_in and gate_out are saved.

    ``grad_like`` gives the layout of the gradients of weight, gate_in and gate_out; by default they are contiguous.
    """

    @forward.register_fake
    def _(x, weight, gate_in, gate_out, bias, stride, padding, dilation, *others):
        shape = output_shape(x, weight, stride, padding, dilation)
        return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=result_format(x))

    @backward.register_fake
    def _(grad, x, weight, gate_in, gate_out, *settings):
        *_, need_x, need_weight_or_gate = settings
        wanted = (t if t is not None and need_weight_or_gate else x.new_empty(0) for t in (weight, gate_in, gate_out))
        return torch.empty_like(x) if need_x else x.new_empty(0), *map(grad_like, wanted)

    def save(ctx, inputs, output):
        x, weight, gate_in, gate_out, _, *ctx.settings = inputs
        ctx.save_for_backward(x, weight, gate_in, gate_out)

    def differentiate(ctx, grad):
        tensors, needs = ctx.saved_tensors, ctx.needs_input_grad
        if differentiated(grad):
            grads = _formula_gradients(grad, tensors, ctx.settings)
        else:
            grads = backward(grad, *tensors, *ctx.settings, needs[0], any(needs[1:4]))
        grads = [g if need and t is not None else None for g, t, need in zip(grads, tensors, needs, strict=False)]
        axes = [0, *range(2, grad.dim())]
        return *grads, grad.sum(axes) if needs[4] else None, *(None for _ in ctx.settings)

    forward.register_autograd(differentiate, setup_context=save)


def _formula_gradients(grad: Tensor, tensors: Sequence[Tensor | None], settings: Sequence) -> list[Tensor | None]:
    """Give the gradients of x, weight, gate_in and gate_out by the formula, which any transformation takes."""
    settings = (*settings, 1, 'sum')[:5]  # what groups and combine are if an operator takes neither

    def formula(given: dict[int, Tensor]) -> Tensor:
        return reference.run(*map(given.get, range(4)), None, *settings)

    _, gradients = torch.func.vjp(formula, {i: t for i, t in enumerate(tensors) if t is not None})
    return list(map(gradients(grad)[0].get, range(4)))
