"""The network of the context as one function of tensors, with the choice of who computes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from . import triton_context
from .norm import Norm

Parts = tuple[Sequence[Tensor], Sequence[Norm]]


def fused_terms(context: Tensor, parts: Callable[[], Parts | None], groups: int) -> tuple[Tensor, Tensor] | None:
    """Return both terms of a gate from its pooled context, if a kernel takes them, and None if modules have to.

    Args:
        context: The context P (N, C, p), pooled.
        parts: Gives the weights (of the encoding, the channel interacting module and both decoders) and the norms, or
            None if modules have to be called.  It is asked only if there may be a kernel.
        groups: The number of groups of the channel interacting module.

    Returns:
        G1 (N, n, C) and G2 (N, n, O), or None.
    """
    if not context.is_cuda:
        return None
    given = parts()
    if given is None or triton_context.can_run(context, *given, groups) is not None:
        return None
    return triton_context.run(context, *given, groups)
