"""Gate the convolutions of any network in place."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, TypeVar

from mmengine.logging import print_log
from torch import nn
from torch.nn.modules.conv import _ConvNd

from .gated import gated_layers
from .gated_classes import make_gated, undo, why_not

Network = TypeVar('Network', bound=nn.Module)
_FOLDING = ('switch_to_deploy', 'reparameterize', 'fuse', 'merge_kernel')


def convert_to_cgc(
    model: Network,
    include: str | Callable[[str, nn.Module], bool] | None = None,
    gate: dict | None = None,
    **options: Any,
) -> Network:
    """Gate, in place, the convolutions of a network that have more than one kernel element.

    With ``init='preserve'``, the default here, the converted network computes exactly what it did, and learns from
    there.  A convolution stays the same object: weights, even if they are shared or computed (``weight_norm``,
    ``spectral_norm``, pruning, parametrisations), hooks, device, dtype, memory format and mode are as they were.  A
    subclass that computes something around its one convolution (padding, a standardised weight) goes on doing so.  The
    log says how many are gated, which were left plain, and why; :func:`conversion_plan` says it beforehand.  Convert
    before building the optimiser and before wrapping for distributed training.

    Args:
        model: Any network (torchvision, timm, mmdet, mmseg, ...).
        include: Which convolutions to gate: a regular expression that is searched for in the module's name, or a
            function of name and module.  None gates all.
        gate: Options of :class:`ContextGate`; ``init`` defaults to 'preserve'.
        options: Further arguments of the layers, such as ``num_segments`` or ``backend``.

    Returns:
        The network itself.

    Raises:
        TypeError, ValueError: If a layer does not take an option, or there is nothing to convert; the error then lists
            the convolutions and why they cannot be gated.  The network is then as it was.
    """
    plan = conversion_plan(model, include)
    chosen = [name for name, reason in plan.items() if reason is None]
    if not chosen:
        names = '; '.join(f'{name}: {reason}' for name, reason in list(plan.items())[:8])
        raise ValueError(
            f'include={include!r} matches no convolution of {type(model).__name__} that can be gated; it has: '
            f'{names or "none with more than one kernel element"}'
        )
    gate = {'init': 'preserve', **(gate or {})}
    done: list[tuple[nn.Module, type, set[str]]] = []
    for name in chosen:
        conv = model.get_submodule(name)
        before = conv, type(conv), set(vars(conv))
        try:
            make_gated(conv, gate=gate, **options)
        except (TypeError, ValueError) as error:
            for gated in done:
                undo(*gated)
            raise type(error)(f'{name or type(model).__name__}: {error}') from error
        done.append(before)
    refuse_folding(model)
    print_log(describe_gates(model, plan), logger='current')
    return model


def conversion_plan(
    model: nn.Module, include: str | Callable[[str, nn.Module], bool] | None = None
) -> dict[str, str | None]:
    """Tell what :func:`convert_to_cgc` would do with each convolution that has more than one kernel element.

    Args:
        model, include: As for :func:`convert_to_cgc`.

    Returns:
        For the name of each convolution the reason why it stays as it is, or None if it would be gated.
    """
    wanted = include if callable(include) else lambda name, _: include is None or re.search(include, name) is not None
    plan = {}
    for name, module in model.named_modules():
        if isinstance(module, _ConvNd) and any(k > 1 for k in module.kernel_size):
            plan[name] = why_not(module) if wanted(name, module) else 'it is not included'
    return plan


def describe_gates(model: nn.Module, plan: dict[str, str | None] | None = None) -> str:
    """Say how many of a network's convolutions with more than one kernel element are gated, which are not and, if some
    gates are frozen, how many learn."""
    gated: dict[str, Any] = gated_layers(model)
    convs = {n for n, m in model.named_modules() if isinstance(m, _ConvNd) and any(k > 1 for k in m.kernel_size)}
    text = f'{len(convs & set(gated))} of {len(convs)} convolutions with more than one kernel element are gated'
    learning = [name for name, layer in gated.items() if any(p.requires_grad for p in layer.gate.parameters())]
    if len(learning) < len(gated):
        text += f'; {len(learning)} of {len(gated)} gates learn, the others are frozen'
    left = [name for name in convs if name not in gated]
    if not left:
        return text
    reasons = {name: (plan or {}).get(name) or 'plain' for name in sorted(left)}
    shown = [f'{name} ({reason})' for name, reason in reasons.items()]
    return f'{text}; not: {", ".join(shown[:8])}' + (f' and {len(shown) - 8} more' if len(shown) > 8 else '')


def refuse_folding(model: nn.Module) -> None:
    """Make modules refuse to fold their convolutions into one kernel if one of the convolutions is gated.

    A gated kernel differs from sample to sample, so that a folded one would silently compute something else.  RepVGG's
    ``switch_to_deploy`` folds, and timm's ``reparameterize_model`` and ``fuse``.
    """
    gated = set(gated_layers(model).values())
    for name, module in model.named_modules():
        inside = next((n for n, m in module.named_modules() if m in gated and m is not module), None)
        for method in _FOLDING if inside is not None else ():
            if callable(getattr(type(module), method, None)):
                setattr(module, method, functools.partial(_refuse, f'{name}.{inside}'.lstrip('.'), method))


def _refuse(layer: str, method: str, *args: Any, **kwargs: Any) -> None:
    raise ValueError(
        f'{method} folds kernels into one, but the kernel of {layer} is gated and differs from input to input; deploy '
        'the network as it is (mmcgc.export), or build it without that gate'
    )
