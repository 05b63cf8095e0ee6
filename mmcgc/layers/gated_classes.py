"""Make the gated form of any class of convolutions, so that a convolution can be gated where it is.

A convolution becomes gated when its class changes.  The object stays the same one, so that its parameters and those
that it shares, weights that a hook or a parametrisation computes, hooks, device, dtype, memory format and mode need
not be carried over.
"""

from __future__ import annotations

import copy
from functools import cache

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .conv import CGConv1d, CGConv2d, CGConv3d, GatedConv

_GATED = {nn.Conv1d: CGConv1d, nn.Conv2d: CGConv2d, nn.Conv3d: CGConv3d}
_FUNCTIONS = {torch.conv1d, torch.conv2d, torch.conv3d}
_ARGUMENTS = ('input', 'weight', 'bias', 'stride', 'padding', 'dilation', 'groups')


def why_not(conv: nn.Module) -> str | None:
    """Tell why a convolution with more than one kernel element cannot be gated, or return None if it can."""
    if isinstance(conv, GatedConv):
        return 'it is gated already'
    if not isinstance(conv, tuple(_GATED)):
        return 'only nn.Conv1d, nn.Conv2d, nn.Conv3d and their subclasses can be gated'
    if any(isinstance(p, nn.parameter.UninitializedTensorMixin) for p in conv.parameters()):
        return 'its weight has no shape yet: run the network once before'
    plain = _base(type(conv))
    if not isinstance(conv.weight, Tensor) or 'forward' in vars(conv):
        return 'its forward was replaced'
    if plain is not type(conv) and _own_forward(type(conv)):
        return _why_not_around(conv)
    return None


def make_gated(conv: nn.Module, **options) -> None:
    """Change the class of a convolution and add the gate; after an error the convolution is as it was.

    Args:
        conv: One against which :func:`why_not` has no reason.
        options: Of the gated layer: ``gate``, ``backend``, ``num_segments``, ``num_frames``.

    Raises:
        TypeError, ValueError: If the layer does not take an option.
    """
    kind, before = type(conv), set(vars(conv))
    conv.__class__ = _gated_class(kind)
    try:
        conv.set_up(**options)
    except BaseException:
        undo(conv, kind, before)
        raise


def undo(conv: nn.Module, kind: type, before: set[str]) -> None:
    """Take back :func:`make_gated`, given the class and the names of attributes that the convolution had before."""
    conv._modules.pop('gate', None)
    for name in set(vars(conv)) - before:
        del vars(conv)[name]
    conv.__class__ = kind


def _base(kind: type) -> type:
    return next(cls for cls in kind.__mro__ if cls in _GATED)


def _own_forward(kind: type) -> bool:
    plain = _base(kind)
    return kind.forward is not plain.forward or kind._conv_forward is not plain._conv_forward


def _gated_class(kind: type) -> type:
    if not _is_parametrised(kind):
        return _gated_form(kind)
    own = {name: value for name, value in vars(kind).items() if name not in ('__dict__', '__weakref__')}
    return type(kind.__name__, (_gated_form(kind.__bases__[0]),), own)


@cache
def _gated_form(kind: type) -> type:
    """Make the gated form of a class; for the three of PyTorch it is our own layer."""
    if kind in _GATED:
        return _GATED[kind]
    plain = _base(kind)
    around = (_Around,) if _own_forward(kind) else ()
    # MMEngine's initialisers look at the name and the direct bases of a class.
    bases = (*around, _Rebuilt, _GATED[plain], kind, plain)
    return type(kind.__name__, bases, dict(__doc__=kind.__doc__, __module__=kind.__module__, _plain_class=kind))


def _is_parametrised(kind: type) -> bool:
    """Tell whether ``torch.nn.utils.parametrize`` made the class for one module, over the module's own."""
    return kind.__name__ == f'Parametrized{kind.__bases__[0].__name__}' and '__deepcopy__' in vars(kind)


class _Rebuilt:
    """Lets objects of a class that was made here be pickled, by the class from which it was made."""

    def __reduce__(self):
        return _empty, (self._plain_class,), vars(self)


def _empty(kind: type) -> nn.Module:
    gated = _gated_form(kind)
    return gated.__new__(gated)


class _Around:
    """A convolution whose class computes something around it, such as padding or a standardised weight.

    The gate reads the input of the layer.  The class's own ``forward`` then runs, and the one convolution that it calls
    is the gated one.
    """

    _within = False

    def forward(self, input: Tensor) -> Tensor:
        if self.gate is None or isinstance(input, torch.fx.Proxy):
            return super().forward(input)
        if input.dim() != self.weight.dim() or input.shape[1] != self.in_channels or not len(input):
            raise ValueError(
                f'{type(self).__name__} takes (B, {self.in_channels}, *S) with {self.weight.dim() - 2} axes S and at '
                f'least one sample, got {tuple(input.shape)}'
            )
        self._within = True
        try:
            with _Gating(self, self._terms(input)):
                return super().forward(input)
        finally:
            self._within = False

    def _conv_forward(self, *arguments) -> Tensor:
        following = super(GatedConv, self) if self._within else super()
        return following._conv_forward(*arguments)


class _Gating(TorchFunctionMode):
    """A context in which the convolution with a layer's weight is the gated one, with given terms."""

    def __init__(self, layer: GatedConv, terms: list[Tensor | None]):
        super().__init__()
        self.layer, self.terms = layer, terms

    def __torch_function__(self, function, types, args=(), kwargs=None):
        call = _call(function, args, kwargs)
        if call is None or call['weight'].shape != self.layer.weight.shape:
            return function(*args, **(kwargs or {}))
        settings = call.get('stride', 1), call.get('padding', 0), call.get('dilation', 1)
        return self.layer._convolve(call['input'], call['weight'], *self.terms, call.get('bias'), *settings)


class _Counting(TorchFunctionMode):
    """Counts the convolutions with a weight of this shape."""

    def __init__(self, shape: torch.Size):
        super().__init__()
        self.shape, self.count = shape, 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        call = _call(function, args, kwargs)
        self.count += call is not None and call['weight'].shape == self.shape
        return function(*args, **(kwargs or {}))


def _call(function, args: tuple, kwargs: dict | None) -> dict | None:
    """Return the arguments of a convolution by name, or None for any other function."""
    return dict(zip(_ARGUMENTS, args, strict=False), **(kwargs or {})) if function in _FUNCTIONS else None


def _why_not_around(conv: nn.Module) -> str | None:
    """Try the class's ``forward`` on a copy, and tell why it does not call one convolution with the layer's weight."""
    if isinstance(conv, nn.Conv3d) and getattr(conv, 'num_frames', None) is not None:
        return 'its forward is its own'
    trial, sizes = copy.deepcopy(conv).eval(), [4 * k * d for k, d in zip(conv.kernel_size, conv.dilation, strict=True)]
    x = torch.zeros(1, conv.in_channels, *sizes, dtype=conv.weight.dtype, device=conv.weight.device)
    try:
        with torch.no_grad(), _Counting(conv.weight.shape) as counting:
            trial(x)
    except Exception as error:
        return f'its own forward does not run on {tuple(x.shape)} alone: {type(error).__name__}'
    if counting.count != 1:
        return f'its own forward calls {counting.count} convolutions with its weight, where one can be gated'
    return None
