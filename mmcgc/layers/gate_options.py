"""List the options of gates and their values, and check those that are given."""

from __future__ import annotations

import inspect

from torch import nn

from mmcgc.ops import COMBINES

from ..ops.context.pooling import POOLS

GROUP_SIZE = 16
CHOICES = {
    'latent': ('half', 'full'),
    'pool': tuple(POOLS),
    'branches': ('both', 'in', 'out'),
    'combine': COMBINES,
    'temporal_decoder': ('joint', 'additive'),
    'init': ('kaiming', 'xavier', 'torch', 'preserve'),
    'norm': ('batch', 'group', 'layer', 'none'),
}


def choose_groups(in_channels: int, out_channels: int) -> int:
    """Count the groups of channels that interact: of 16, or of the largest smaller divisor that fits, or one group."""
    for size in range(min(GROUP_SIZE, in_channels), 0, -1):
        if in_channels % size == 0 and out_channels % (in_channels // size) == 0:
            return in_channels // size
    return 1


def check_choices(**options) -> None:
    """Raise ValueError if an option has a value that it does not know."""
    for name, value in options.items():
        choices = CHOICES[name]
        if name == 'latent' and isinstance(value, int) and not isinstance(value, bool) and value > 0:
            continue
        if value not in choices:
            more = ' or a positive integer' if name == 'latent' else ''
            raise ValueError(f'gate option {name}={value!r} is unknown; choose one of {", ".join(choices)}{more}')


def check_positive(**options) -> None:
    """Raise ValueError if an option is neither None nor a positive integer."""
    for name, value in options.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ValueError(f'gate option {name}={value!r} must be a positive integer')


def gate_options(gate_type: type[nn.Module]) -> list[str] | None:
    """Name a gate class's options beyond channels, kernel size and frames; return None if ``**options`` takes any."""
    names = set()
    for cls in gate_type.__mro__:
        if '__init__' not in vars(cls):
            continue
        _, *given = inspect.signature(cls.__init__).parameters.values()
        named = [p for p in given if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        by_position = [p.name for p in given if p.kind is not p.KEYWORD_ONLY][:3]
        names |= {p.name for p in named} - {*by_position, 'num_frames'}
        if cls is nn.Module or not any(p.kind is p.VAR_KEYWORD for p in given):
            return None if cls is nn.Module else sorted(names)
    return None
