"""Give layers with a gate what they share, and find those of a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:  # the class that Gated is mixed into
    from typing_extensions import Self

    _Layer = nn.Module
else:
    _Layer = object


class Gated(_Layer):
    """A layer whose kernel is multiplied by its child ``gate``, or is plain if that is None.

    It stands before an ``nn.Module`` among the bases.

    Attributes:
        gate: The module that reads the input.
        gate_frames: T if the batch holds clips of T frames, each with a gate of its own; else None.
        gate_gain: The largest value of the gate.
    """

    gate: nn.Module | None
    gate_frames: int | None = None

    @property
    def gate_gain(self) -> float:
        return 1

    def apply(self, fn: Callable[[nn.Module], Any]) -> Self:
        """Apply ``fn`` as ``nn.Module`` does, but keep initialisers of an OpenMMLab network away from the gate.

        They go by the class of a layer (``Linear``, norms), or write into all layers below a name (``override``), while
        the gate's own options say how it starts.
        """
        in_init_weights = hasattr(self, '_params_init_info')  # mmengine's BaseModule.init_weights sets it while it runs
        if not in_init_weights and getattr(fn, '__module__', None) != 'mmengine.model.weight_init':
            return super().apply(fn)
        for child in self.children():
            if child is not self.gate:
                child.apply(fn)
        fn(self)
        return self


def gated_layers(model: nn.Module, kind: type[Gated] = Gated) -> dict[str, Gated]:
    """Find a network's layers that have a gate, by name and in the network's order; ``kind`` picks some of them."""
    return {name: m for name, m in model.named_modules() if isinstance(m, kind) and m.gate is not None}
