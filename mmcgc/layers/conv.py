"""``CGConv1d/2d/3d``: drop-in convolutions whose kernel is gated, sample by sample, by the whole input."""

from __future__ import annotations

import inspect
import math

import torch.fx
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from mmcgc.ops import context_gated_conv
from mmcgc.registry import MODELS as MMCGC_MODELS

from .gate import ContextGate

GATE_OPTIONS = tuple(
    name for name, p in inspect.signature(ContextGate).parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY
)


class _ContextGated:
    """What the gated convolutions share; stands before an ``nn.ConvNd`` among the bases.

    ``_conv_forward`` is overridden rather than ``forward``, so that callers that change weight and bias on the fly
    (mmcv's efficient_conv_bn_eval) keep the gate.  A subclass may name another ``gate_type``, which takes the arguments
    of :class:`ContextGate` and gives the same two terms, from the input alone or with the ``context`` that its ``read``
    gives.
    """

    gate_type = ContextGate

    def _add_gate(self, gate: dict | None, frames: int | None, backend: str | None) -> None:
        if gate is not None and not isinstance(gate, dict):
            raise TypeError(f'gate must be a dict of options, got {gate!r}; known are {", ".join(GATE_OPTIONS)}')
        options = dict(gate or {})
        unknown = sorted(set(options) - set(GATE_OPTIONS))
        if unknown:
            raise ValueError(f'unknown gate options {unknown}; known are {sorted(GATE_OPTIONS)}')
        self.backend, self.gate = backend, None
        if math.prod(self.kernel_size) == 1:
            return
        kernel = self.kernel_size[1:] if isinstance(self, nn.Conv3d) and frames is not None else self.kernel_size
        self.gate = self.gate_type(self.in_channels, self.out_channels, kernel, frames, **options)
        self.gate.to(self.weight.device, self.weight.dtype)
        self._reads = 'context' in inspect.signature(self.gate.forward).parameters

    def forward(self, input: Tensor) -> Tensor:
        """As the plain convolution's; ``torch.fx`` does not look into it, as it does not into PyTorch's own layers."""
        if isinstance(input, torch.fx.Proxy):
            path = input.tracer.path_of_module(self)
            if not path:
                raise TypeError(f'torch.fx traces networks that hold a {type(self).__name__}, not the layer by itself; '
                                'put it into an nn.Sequential')
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
        x, gate_in, gate_out = self._terms(x)
        padding = self.padding
        if self.padding_mode != 'zeros':
            x, padding = F.pad(x, self._reversed_padding_repeated_twice, mode=self.padding_mode), 0
        return self._convolve(x, weight, gate_in, gate_out, bias, self.stride, padding, self.dilation)

    def _terms(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """``x``, to be convolved, and the terms of its gate, (B, C, *K) and (B, O, *K)."""
        x, context = self.gate.read(x) if self._reads else (x, None)
        return x, *(self.gate(x) if context is None else self.gate(x, context))

    def _convolve(self, x, weight, gate_in, gate_out, bias, stride, padding, dilation) -> Tensor:
        return context_gated_conv(
            x, weight, gate_in, gate_out, bias, stride, padding, dilation, self.groups,
            combine=self.gate.combine, backend=self.backend,
        )  # fmt: skip

    def _empty(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """No sample, no statistics: the plain convolution's shape, and a zero gradient for the gate's parameters."""
        y = super()._conv_forward(x, weight, bias)
        return y + sum(p.sum() for p in self.gate.parameters()) * 0

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        """Double the weight of a plain checkpoint where ``init='preserve'``: the gate starts at 1/2 (sigmoid(0))."""
        key = f'{prefix}weight'
        if self.gate is not None and self.gate.init == 'preserve' and key in state_dict:
            if not any(name.startswith(f'{prefix}gate.') for name in state_dict):
                scale = 4 if self.gate.combine == 'sigmoid_product' else 2
                state_dict = {**state_dict, key: state_dict[key] * scale}
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class CGConv1d(_ContextGated, nn.Conv1d):
    """Context-gated ``nn.Conv1d`` on (B, C, T); arguments as for :class:`CGConv2d`, without ``num_segments``."""

    def __init__(self, *args, gate: dict | None = None, backend: str | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self._add_gate(gate, None, backend)


class CGConv2d(_ContextGated, nn.Conv2d):
    """Context-gated ``nn.Conv2d`` on (B, C, H, W) (paper, Sec. 2.2).

    Same constructor, same ``weight`` and ``bias``; the gate is one child module, ``gate``.  A 1x1 kernel is not gated
    and has no gate.  A plain checkpoint loads with the gate's keys missing and nothing else.

    Args:
        *args, **kwargs: as for ``nn.Conv2d``.
        num_segments: T; the input is then (N * T, C, H, W), the context is the clip of T frames and every frame has a
            gate of its own (paper, Sec. 3.3).
        gate: options of :class:`ContextGate`.  With ``init='preserve'`` the decoders start at zero, and the weight is
            doubled when a state without any gate key is loaded into the layer, so that it computes exactly what the
            plain layer did and learns from there; a state with gate keys (resuming) is taken as it is.
        backend: of :func:`mmcgc.ops.context_gated_conv`.

    Raises:
        ValueError: an unknown gate option; at the call, an input of the wrong rank or channels, or a batch that
            ``num_segments`` does not divide.
    """

    def __init__(
        self,
        *args,
        num_segments: int | None = None,
        gate: dict | None = None,
        backend: str | None = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.num_segments = num_segments
        self._add_gate(gate, num_segments, backend)

    def _gated(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.num_segments is not None and x.shape[0] % self.num_segments:
            raise ValueError(
                f'num_segments={self.num_segments} does not divide the batch of {x.shape[0]} frames; give every clip '
                f'{self.num_segments} frames (N * T, C, H, W), at test time too'
            )
        return super()._gated(x, weight, bias)


class CGConv3d(_ContextGated, nn.Conv3d):
    """Context-gated ``nn.Conv3d`` on (B, C, T, H, W); a (k, 1, 1) kernel is the paper's 1D form (Sec. 3.3).

    Args:
        *args, **kwargs: as for ``nn.Conv3d``.
        num_frames: T, for a (1, k, k) kernel: the context is the clip and every frame has a gate of its own, the
            paper's 3D form.  The kernel must not reach over time (kernel, stride, dilation 1, padding 0 on that axis).
        gate, backend: as for :class:`CGConv2d`.

    Raises:
        ValueError: an unknown gate option, or ``num_frames`` with a kernel that reaches over time; at the call, an
            input of the wrong rank, channels or number of frames.
    """

    def __init__(
        self, *args, num_frames: int | None = None, gate: dict | None = None, backend: str | None = None, **kwargs
    ):
        super().__init__(*args, **kwargs)
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
        frames, gate_in, gate_out = self._terms(frames)  # (B*T, C, k, k), (B*T, O, k, k)
        stride, padding, dilation = self.stride[1:], self.padding[1:], self.dilation[1:]
        y = self._convolve(frames, weight.squeeze(2), gate_in, gate_out, bias, stride, padding, dilation)
        return y.unflatten(0, (-1, self.num_frames)).transpose(1, 2)  # (B, O, T, H', W')


# In the root registry for every scope, and in mmcgc's own for ``mmcgc.CGConv`` under the default scope ``mmcgc``.
for _registry in (MODELS, MMCGC_MODELS):
    for _name, _layer in dict(CGConv=CGConv2d, CGConv1d=CGConv1d, CGConv2d=CGConv2d, CGConv3d=CGConv3d).items():
        _registry.register_module(_name, module=_layer)
