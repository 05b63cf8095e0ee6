"""Make the norms of a gate, and tell when they use the statistics of the batch."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def new_norm(kind: str, channels: int, groups: int) -> nn.Module:
    """Make a norm of the latent context (N, C, d): over samples and d, over d and some channels, or over d and C."""
    if kind == 'batch':
        return nn.BatchNorm1d(channels)
    return nn.Identity() if kind == 'none' else nn.GroupNorm(groups if kind == 'group' else 1, channels)


def frozen_norms(gate: nn.Module) -> list[nn.Module]:
    """Return the norms of a gate that are in training mode though no parameter of the gate asks for a gradient.

    Networks with ``frozen_stages`` put their own norms in eval mode, but not those of a gate.  The first call with a
    gate that is trained warns if its norms cannot work.
    """
    if not gate.training:
        return []
    norms = [module for name, module in gate.named_children() if name.endswith('norm')]
    if not any(parameter.requires_grad for parameter in gate.parameters()):
        return [norm for norm in norms if norm.training]
    if not gate.norms_checked and not torch.compiler.is_compiling():
        gate.norms_checked = True
        _warn_unfilled(norms)
    return []


@contextmanager
def in_eval_mode(norms: Iterable[nn.Module]) -> Iterator[None]:
    """Let norms in training mode use their running statistics, and leave these alone, within the context."""
    for norm in norms:
        norm.training = False
    try:
        yield
    finally:
        for norm in norms:
            norm.training = True


def _warn_unfilled(norms: Iterable[nn.Module]) -> None:
    counts = [norm.num_batches_tracked for norm in norms if isinstance(norm, _BatchNorm) and not norm.training]
    if any(type(count) is Tensor and not count.is_meta and count == 0 for count in counts):
        warnings.warn(
            'a gate is trained with its batch norms in eval mode (norm_eval=True) and their running statistics were '
            'never filled: they are mean 0 and variance 1 and stay so, which leaves the context without a norm; give '
            "conv_cfg gate=dict(norm='group') ('layer', 'none'), or set norm_eval=False",
            stacklevel=2,
        )
