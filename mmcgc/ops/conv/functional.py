"""Check the arguments of a gated convolution, cast them under autocast, and run it by the backend of choice."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional as F

from ..gating import COMBINES
from ..modes import autocasts
from . import portable, reference, tiled, triton_conv

BACKENDS = {'triton': triton_conv, 'tiled': tiled, 'reference': reference, 'portable': portable}
# The order in which backends are tried, by the device of x; 'cpu' stands for all devices but CUDA.
_ORDER = {'cuda': ('triton', 'tiled', 'reference'), 'cpu': ('tiled', 'reference')}


def context_gated_conv(
    x: Tensor,
    weight: Tensor,
    gate_in: Tensor | None = None,
    gate_out: Tensor | None = None,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    combine: str = 'sum',
    backend: str | None = None,
) -> Tensor:
    """Convolve every sample with its own gated kernel (paper, Eqs. 1 and 2).

    For sample b the result equals
    ``conv(x[b], weight * sigmoid(gate_in[b][None] + gate_out[b][:, None]), bias, stride, ...)``.

    Args:
        x: (B, C, *S) with one, two or three spatial axes S.
        weight: (O, C / groups, *K).
        gate_in: (B, C, *K), the term inside the sigmoid that is shared over output channels; None leaves it out.
        gate_out: (B, O, *K), the term that is shared over input channels; None leaves it out.
        bias: (O,), added after the convolution, not gated.
        stride, padding, dilation, groups: As in :func:`torch.nn.functional.conv2d`; padding may be 'same' or 'valid'.
        combine: How the two terms meet: 'sum', 'product' or 'sigmoid_product' (see :func:`gate_values`).
        backend: 'triton' (NVIDIA GPUs), 'tiled', 'reference' or 'portable'.  None takes the first that can run on the
            device, 'portable' for ONNX, or 'reference' within the transformations of ``torch.func`` and for derivatives
            taken forward, which the first two refuse.

    Returns:
        (B, O, *S').  Under autocast ``x`` and ``weight`` are cast to its dtype; the gate stays in float32.

    Raises:
        ValueError: If arguments do not fit together, combine or backend is unknown, or the backend cannot run here.
    """
    nd = x.dim() - 2
    if nd not in (1, 2, 3) or weight.dim() != x.dim():
        raise ValueError(
            f'x must be (B, C, *S) with 1 to 3 spatial axes and weight (O, C / groups, *K) of the same rank, '
            f'got x {tuple(x.shape)} and weight {tuple(weight.shape)}'
        )
    _check_shapes(x, weight, gate_in, gate_out, groups)
    if combine not in COMBINES:
        raise ValueError(f'combine={combine!r} is unknown; choose one of {", ".join(COMBINES)}')
    stride, dilation = _tuple('stride', stride, nd), _tuple('dilation', dilation, nd)
    x, padding = _resolve_padding(x, weight.shape[2:], stride, padding, dilation)
    _check_size(x, weight, padding, dilation)
    if autocasts(x.device):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    arguments = (x, weight, gate_in, gate_out, bias, stride, padding, dilation, groups, combine)
    return _choose(backend, arguments).run(*arguments)


def _choose(name: str | None, arguments: tuple) -> ModuleType:
    if name is None and torch.onnx.is_in_onnx_export():
        return portable
    if name is None:
        names = _ORDER.get(arguments[0].device.type, _ORDER['cpu'])
        return next(BACKENDS[key] for key in names if BACKENDS[key].can_run(*arguments) is None)
    if name not in BACKENDS:
        raise ValueError(f'backend={name!r} is unknown; choose one of {", ".join(BACKENDS)}, or None for the best')
    reason = BACKENDS[name].can_run(*arguments)
    if reason is not None:
        raise ValueError(f'backend={name!r} cannot run here: {reason}; leave backend=None to have one chosen')
    return BACKENDS[name]


def _tuple(name: str, value: int | Sequence[int], nd: int) -> tuple[int, ...]:
    values = (value,) * nd if isinstance(value, int) else tuple(value)
    if len(values) != nd:
        raise ValueError(f'{name} must be one integer or {nd} of them, got {value!r}')
    return values


def _resolve_padding(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: int | str | Sequence[int],
    dilation: Sequence[int],
) -> tuple[Tensor, tuple[int, ...]]:
    if padding == 'valid':
        return x, (0,) * len(kernel)
    if padding != 'same':
        if isinstance(padding, str):
            raise ValueError(f"padding={padding!r} is unknown; give integers, 'same' or 'valid'")
        return x, _tuple('padding', padding, len(kernel))
    if any(s != 1 for s in stride):
        raise ValueError(f"padding='same' needs stride 1, got stride {stride}; give the padding as integers")
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    odd = [t % 2 for t in total]
    if any(odd):
        x = F.pad(x, [p for extra in reversed(odd) for p in (0, extra)])
    return x, tuple(t // 2 for t in total)


def _check_shapes(x: Tensor, weight: Tensor, gate_in: Tensor | None, gate_out: Tensor | None, groups: int) -> None:
    (b, c), (o, i), kernel = x.shape[:2], weight.shape[:2], tuple(weight.shape[2:])
    if i * groups != c or o % groups:
        raise ValueError(
            f'weight {tuple(weight.shape)} with groups={groups} takes {i * groups} input channels and needs output '
            f'channels divisible by groups, got x with {c} channels'
        )
    if gate_in is None and gate_out is None:
        raise ValueError('give gate_in, gate_out or both; without either this is torch.nn.functional.conv')
    for name, gate, channels in (('gate_in', gate_in, c), ('gate_out', gate_out, o)):
        if gate is not None and tuple(gate.shape) != (b, channels, *kernel):
            raise ValueError(f'{name} must be {(b, channels, *kernel)}, got {tuple(gate.shape)}')


def _check_size(x: Tensor, weight: Tensor, padding: Sequence[int], dilation: Sequence[int]) -> None:
    kernel = weight.shape[2:]
    for size, k, p, d in zip(x.shape[2:], kernel, padding, dilation, strict=True):
        if size + 2 * p < d * (k - 1) + 1:
            raise ValueError(
                f'the kernel {tuple(kernel)} with dilation {dilation} is larger than the input {tuple(x.shape[2:])} '
                f'with padding {padding}; enlarge the input or the padding'
            )
