"""``CGConv1d/2d/3d`` are drop-in convolutions whose kernel is gated, sample by sample, by the whole input."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import torch.fx
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.common_types import _size_1_t, _size_2_t, _size_3_t

from mmcgc.ops import context_gated_conv
from mmcgc.registry import MODELS as MMCGC_MODELS

from .gate import ContextGate
from .gate_options import gate_options
from .gated import Gated

if TYPE_CHECKING:  # the class that GatedConv is mixed into
    from torch.nn.modules.conv import _ConvNd
else:
    _ConvNd = object

PaddingMode = Literal['zeros', 'reflect', 'replicate', 'circular']


class GatedConv(Gated, _ConvNd):
    """The base of the gated convolutions, which stands before an ``nn.ConvNd`` among a class's bases.

    The gate enters in ``_conv_forward`` rather than in ``forward``, so that callers that change weight and bias on the
    fly (mmcv's efficient_conv_bn_eval) keep it.  A subclass may name another ``gate_type``: any module that is built
    with ``(in_channels, out_channels, kernel_size)``, with ``num_frames`` if there are frames, and with the options of
    ``gate`` by name.  For x (B, C, *S) the module gives the two terms inside the sigmoid, (B, C, *K) and (B, O, *K), or
    None for one of them.  Like :class:`ContextGate`, it may say how the terms meet (``combine``) and by what the
    sigmoid is multiplied (``gain``).
    """

    gate_type: type[nn.Module] = ContextGate

    def _add_gate(self, gate: dict | None, frames: int | None, backend: str | None) -> None:
        known = gate_options(self.gate_type)
        if gate is not None and not isinstance(gate, dict):
            raise TypeError(f'gate must be a dict of options, got {gate!r}; known are {known or "any"}')
        unknown = sorted(set(gate or ()) - set(known)) if known is not None else ()
        if unknown:
            raise ValueError(f'unknown gate options {unknown}; known are {known}')
        self.backend, self.gate, self.gate_frames = backend, None, frames
        if math.prod(self.kernel_size) == 1:
            return
        clip: dict[str, int] = {} if frames is None else dict(num_frames=frames)
        self.gate = self.gate_type(self.in_channels, self.out_channels, self.gated_kernel, **clip, **(gate or {}))
        stored = next(self.parameters())  # the weight itself may be computed at each call, and stale until then
        self.gate.to(stored.device, stored.dtype).train(self.training)

    @property
    def gated_kernel(self) -> tuple[int, ...]:
        """The kernel K, without the axis of time if every frame has a gate of its own."""
        return self.kernel_size[1:] if isinstance(self, nn.Conv3d) and self.gate_frames else self.kernel_size

    @property
    def gate_combine(self) -> str:
        """How the two terms of the gate meet: 'sum', 'product' or 'sigmoid_product'."""
        return getattr(self.gate, 'combine', 'sum')

    @property
    def gate_gain(self) -> float:
        """The factor of the sigmoid, which is the largest value of the gate."""
        return getattr(self.gate, 'gain', 1)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve as the plain layer does; ``torch.fx`` does not look inside, as with PyTorch's own layers."""
        if isinstance(input, torch.fx.Proxy):
            path = input.tracer.path_of_module(self)
            if not path:
                raise TypeError(
                    f'torch.fx traces networks that hold a {type(self).__name__}, not the layer by itself; '
                    'put it into an nn.Sequential'
                )
            return input.tracer.create_proxy('call_module', path, (input,), {})
        return super().forward(input)

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.gate is None:
            return super()._conv_forward(x, weight, bias)
        rank = weight.dim()
        if x.dim() == rank - 1:
            return self._conv_forward(x.unsqueeze(0), weight, bias).squeeze(0)
        if x.dim() != rank or x.shape[1] != self.in_channels:
            raise ValueError(
                f'{type(self).__name__} takes (B, {self.in_channels}, *S) with {rank - 2} axes S, got {tuple(x.shape)}'
            )
        if x.shape[0] == 0:
            return self._empty(x, weight, bias)
        return self._gated(x, weight, bias)

    def _gated(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        gate_in, gate_out = self._terms(x)
        padding: str | int | tuple[int, ...] = self.padding
        if self.padding_mode != 'zeros':
            x, padding = F.pad(x, self._reversed_padding_repeated_twice, mode=self.padding_mode), 0
        return self._convolve(x, weight, gate_in, gate_out, bias, self.stride, padding, self.dilation)

    def _terms(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the terms of the gate of ``x``, (B, C, *K) and (B, O, *K)."""
        gate: Any = self.gate
        terms = gate(x)
        if not isinstance(terms, (tuple, list)) or len(terms) != 2:
            raise TypeError(
                f'{type(gate).__name__} must give two terms, (B, C, *K) and (B, O, *K) or None for one of them, '
                f'got {type(terms).__name__}'
            )
        return tuple(terms)

    def _convolve(
        self,
        x: Tensor,
        weight: Tensor,
        gate_in: Tensor | None,
        gate_out: Tensor | None,
        bias: Tensor | None,
        stride: int | tuple[int, ...],
        padding: str | int | tuple[int, ...],
        dilation: int | tuple[int, ...],
    ) -> Tensor:
        weight = weight if self.gate_gain == 1 else weight * self.gate_gain
        return context_gated_conv(
            x, weight, gate_in, gate_out, bias, stride, padding, dilation, self.groups,
            combine=self.gate_combine, backend=self.backend,
        )  # fmt: skip

    def _empty(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the plain convolution's result for no samples, with a zero gradient for the gate's parameters."""
        gate: Any = self.gate
        y = super()._conv_forward(x, weight, bias)
        return y + sum(p.sum() for p in gate.parameters()) * 0


class CGConv1d(GatedConv, nn.Conv1d):
    """Context-gated ``nn.Conv1d`` on (B, C, T); arguments are those of :class:`CGConv2d`, without ``num_segments``."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _size_1_t,
        stride: _size_1_t = 1,
        padding: str | _size_1_t = 0,
        dilation: _size_1_t = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = 'zeros',
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        *,
        gate: dict | None = None,
        backend: str | None = None,
    ) -> None:
        sizes = in_channels, out_channels, kernel_size, stride, padding, dilation, groups
        super().__init__(*sizes, bias, padding_mode, device, dtype)
        self.set_up(gate=gate, backend=backend)

    def set_up(self, *, gate: dict | None = None, backend: str | None = None) -> None:
        """Add the gate to a convolution that is built; the arguments are those of the constructor."""
        self._add_gate(gate, None, backend)


class CGConv2d(GatedConv, nn.Conv2d):
    """Context-gated ``nn.Conv2d`` on (B, C, H, W) (paper, Sec. 2.2).

    The constructor, ``weight`` and ``bias`` are the plain layer's; the gate is one child module, ``gate``.  A 1x1
    kernel is not gated and has no gate.  A plain checkpoint loads with the gate's keys missing and nothing else.

    Args:
        in_channels, ..., dtype: As for ``nn.Conv2d``, in its order.
        num_segments: T, the frames of a clip.  The input is then (N * T, C, H, W), the context is the clip, and every
            frame has a gate of its own (paper, Sec. 3.3).
        gate: Options of :class:`ContextGate`.  With ``init='preserve'`` the gate starts at 1 everywhere, so that the
            layer computes exactly what the plain one with the same weight does, and learns from there.
        backend: Of :func:`mmcgc.ops.context_gated_conv`.

    Raises:
        ValueError: If a gate option is unknown; at the call, if the input has the wrong rank or channels, or a batch
            that ``num_segments`` does not divide.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _size_2_t,
        stride: _size_2_t = 1,
        padding: str | _size_2_t = 0,
        dilation: _size_2_t = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = 'zeros',
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        *,
        num_segments: int | None = None,
        gate: dict | None = None,
        backend: str | None = None,
    ) -> None:
        sizes = in_channels, out_channels, kernel_size, stride, padding, dilation, groups
        super().__init__(*sizes, bias, padding_mode, device, dtype)
        self.set_up(num_segments=num_segments, gate=gate, backend=backend)

    def set_up(self, *, num_segments: int | None = None, gate: dict | None = None, backend: str | None = None) -> None:
        """Add the gate to a convolution that is built; the arguments are those of the constructor."""
        self.num_segments = num_segments
        self._add_gate(gate, num_segments, backend)

    def _terms(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if self.num_segments is not None and x.shape[0] % self.num_segments:
            raise ValueError(
                f'num_segments={self.num_segments} does not divide the batch of {x.shape[0]} frames; give every clip '
                f'{self.num_segments} frames (N * T, C, H, W), at test time too'
            )
        return super()._terms(x)


class CGConv3d(GatedConv, nn.Conv3d):
    """Context-gated ``nn.Conv3d`` on (B, C, T, H, W); a (k, 1, 1) kernel is the paper's 1D form (Sec. 3.3).

    Args:
        in_channels, ..., dtype: As for ``nn.Conv3d``, in its order.
        num_frames: T, for a (1, k, k) kernel: the context is the clip and every frame has a gate of its own, as in the
            paper's 3D form.  The kernel must not reach over time (kernel, stride, dilation 1, padding 0 on that axis).
        gate, backend: As for :class:`CGConv2d`.

    Raises:
        ValueError: If a gate option is unknown, or the kernel reaches over time with ``num_frames``; at the call, if
            the input has the wrong rank, channels or number of frames.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _size_3_t,
        stride: _size_3_t = 1,
        padding: str | _size_3_t = 0,
        dilation: _size_3_t = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = 'zeros',
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        *,
        num_frames: int | None = None,
        gate: dict | None = None,
        backend: str | None = None,
    ) -> None:
        sizes = in_channels, out_channels, kernel_size, stride, padding, dilation, groups
        super().__init__(*sizes, bias, padding_mode, device, dtype)
        self.set_up(num_frames=num_frames, gate=gate, backend=backend)

    def set_up(self, *, num_frames: int | None = None, gate: dict | None = None, backend: str | None = None) -> None:
        """Add the gate to a convolution that is built; the arguments are those of the constructor."""
        self.num_frames = num_frames
        if num_frames is not None and math.prod(self.kernel_size) > 1:
            time = (self.kernel_size[0], self.stride[0], self.dilation[0], self.padding[0])
            if time != (1, 1, 1, 0) or isinstance(self.padding, str) or self.padding_mode != 'zeros':
                raise ValueError(
                    f'num_frames={num_frames} needs a (1, k, k) kernel with stride, dilation 1 and padding 0 over time '
                    f'and zero padding in space, got kernel_size={self.kernel_size}, stride={self.stride}, '
                    f'padding={self.padding}, padding_mode={self.padding_mode!r}; leave num_frames=None for an N-d gate'
                )
        self._add_gate(gate, num_frames, backend)

    def _gated(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.num_frames is None:
            return super()._gated(x, weight, bias)
        if x.shape[2] != self.num_frames:
            raise ValueError(f'num_frames={self.num_frames}, but the input {tuple(x.shape)} has {x.shape[2]} frames')
        frames = x.transpose(1, 2).flatten(0, 1)  # (B*T, C, H, W)
        gate_in, gate_out = self._terms(frames)  # (B*T, C, k, k), (B*T, O, k, k)
        stride, padding, dilation = self.stride[1:], self.padding[1:], self.dilation[1:]
        y = self._convolve(frames, weight.squeeze(2), gate_in, gate_out, bias, stride, padding, dilation)
        return y.unflatten(0, (-1, self.num_frames)).transpose(1, 2)  # (B, O, T, H', W')


# The root registry serves every scope, and mmcgc's own serves ``mmcgc.CGConv`` under the default scope ``mmcgc``.
for _registry in (MODELS, MMCGC_MODELS):
    for _name, _layer in dict(CGConv=CGConv2d, CGConv1d=CGConv1d, CGConv2d=CGConv2d, CGConv3d=CGConv3d).items():
        _registry.register_module(_name, module=_layer)
