"""Check that networks of other libraries survive being gated: their function, a training step, state and export."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..export import exportable
from ..layers import conversion_plan, gated_layers
from .neighbours import SOURCES, Source
from .tables import markdown_table

CHECKS = ('function', 'step', 'state', 'export')
# A difference below this share of an output's largest magnitude counts as none; float32 rounds at every layer.
SAME = {torch.float64: 1e-5, torch.float32: 1e-2}


@dataclass
class Result:
    """What was found about one network.

    Attributes:
        name: Its library and its name there.
        gated, convs: Numbers of convolutions with more than one kernel element: those that are gated, and all.
        plain: The reason for each convolution that stays plain, by name.
        differences: The largest difference between the outputs of the gated and the plain network with the same
            weights, over the largest magnitude of the output, in eval and train mode, by dtype.
        passed: What to print of each check that passed.
        failed: What went wrong in a check, or in 'build'.
        seconds: Time that all checks took.
    """

    name: str
    gated: int = 0
    convs: int = 0
    plain: dict[str, str] = field(default_factory=dict)
    differences: dict[torch.dtype, float] = field(default_factory=dict)
    passed: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0

    def cells(self) -> list[str]:
        """Return the row of the table."""
        differences = [f'{self.differences[dtype]:.0e}' if dtype in self.differences else '-' for dtype in SAME]
        checks = [f'{self.passed.get(name, "-")}' if name not in self.failed else '**failed**' for name in CHECKS]
        return [self.name, f'{self.gated}/{self.convs}', *differences, *checks, f'{self.seconds:.0f}']


def check_networks(names: Sequence[str] = (), source: str | None = None) -> Iterator[Result]:
    """Check networks, one after the other; a failure of one does not keep the others from being checked.

    Args:
        names: Names of the networks in their library, for mmdet and mmseg the path of the recipe without ``.py``; all
            of the list in :mod:`.neighbours` if there are none.
        source: The library; if it is None, the names must be in the list.

    Raises:
        ValueError: If no list has a name and there is no source.
    """
    sources = SOURCES if source is None else {source: SOURCES[source]}
    wanted = [(key, name) for key, value in sources.items() for name in names or value.networks]
    if source is None and names:
        wanted = [(key, name) for key, name in wanted if name in SOURCES[key].networks]
        unknown = sorted(set(names) - {name for _, name in wanted})
        if unknown:
            raise ValueError(f'no list has {", ".join(unknown)}; name the library by source: {", ".join(SOURCES)}')
    for key, name in wanted:
        yield check(SOURCES[key], name, f'{key} {name}')


def check(source: Source, name: str, title: str) -> Result:
    """Build a network of a library plain and gated, and check the gated one against the plain one."""
    result, start = Result(title), time.perf_counter()
    with _noted(result, 'build'):
        source.require()
        plain, gated, other = (_seeded(source.build, seed, name, seed > 0) for seed in range(3))
        _wake(plain)
        result.plain = {name: reason for name, reason in conversion_plan(plain).items() if reason}
        layers = gated_layers(gated)
        result.gated, result.convs = len(layers), len(conversion_plan(gated))
        x = source.inputs(name)
        with _noted(result, 'function'):
            _load_plain(gated, plain)
            for dtype in SAME:
                result.differences[dtype] = _largest_difference(plain.to(dtype), gated.to(dtype), x.to(dtype))
            result.passed['function'] = 'kept'
        plain.float(), gated.float()
        with _noted(result, 'step'):
            result.passed['step'] = _step(gated, lambda: source.loss(gated, x))
        with _noted(result, 'state'):
            result.passed['state'] = _round_trip(gated, other, x)
        with _noted(result, 'export'):
            result.passed['export'] = _export(plain, gated, x)
    result.seconds = time.perf_counter() - start
    return result


def table(results: Sequence[Result]) -> str:
    """Return the results as a Markdown table, with a line below for each failure and each convolution left plain."""
    header = ['network', 'gated', *(str(dtype).removeprefix('torch.') for dtype in SAME), *CHECKS, 'seconds']
    lines = [markdown_table(header, [result.cells() for result in results], right=(1, 2, 3, 5, 8))]
    for result in results:
        lines += [f'{result.name}: {name} failed: {reason}' for name, reason in result.failed.items()]
        lines += [f'{result.name}: {name} stays plain: {reason}' for name, reason in result.plain.items()]
    return '\n\n'.join(lines)


@contextmanager
def _noted(result: Result, check: str) -> Iterator[None]:
    """Note any error within as a failure of the check, and go on, because the code is another library's."""
    try:
        yield
    except Exception as error:
        result.failed[check] = f'{type(error).__name__}: {error}'


def _seeded(build: Callable, seed: int, *arguments) -> nn.Module:
    torch.manual_seed(seed)
    return build(*arguments)


def _wake(model: nn.Module) -> None:
    """Give values to parameters that start at or near zero; as scales of residual branches they would hide these."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.abs().max() < 1e-3:
                parameter.normal_(std=0.1)


def _load_plain(gated: nn.Module, plain: nn.Module) -> None:
    missing, unexpected = gated.load_state_dict(plain.state_dict(), strict=False)
    missing = [key for key in missing if '.gate.' not in f'.{key}']
    if missing or unexpected:
        raise ValueError(f'a plain checkpoint misses {missing} and has beyond the gated network {unexpected}')


def _largest_difference(plain: nn.Module, gated: nn.Module, x: Tensor) -> float:
    found = [_difference(plain.train(mode), gated.train(mode), x) for mode in (False, True)]
    if not all(difference < SAME[x.dtype] for difference in found):  # so that NaN fails too
        raise ValueError(f'the outputs differ by {found[0]:.1e} in eval and {found[1]:.1e} in train mode, {x.dtype}')
    return max(found)


def _difference(plain: Callable, gated: Callable, x: Tensor) -> float:
    """Return the largest difference of any output over its largest magnitude; NaN if an output of both is zero."""
    pairs = zip(_outputs(plain, x), _outputs(gated, x), strict=True)
    return torch.stack([(g - p).abs().max() / p.abs().max() for p, g in pairs]).max().item()


@torch.no_grad()
def _outputs(model: Callable, x: Tensor) -> list[Tensor]:
    torch.manual_seed(0)  # so that dropout draws the same
    return [y for y in tree_leaves(model(x)) if isinstance(y, Tensor)]


def _step(model: nn.Module, loss_of: Callable[[], Tensor]) -> str:
    """Take a step of SGD, in which each layer whose weight has a gradient must move its gate; return how many did."""
    layers = gated_layers(model.train())
    before = {name: [p.detach().clone() for p in layer.gate.parameters()] for name, layer in layers.items()}
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.01)
    torch.manual_seed(0)
    loss = loss_of()
    loss.backward()
    learning = {name for name, layer in layers.items() if _has_gradient(layer)}
    nn.utils.clip_grad_norm_(parameters, 1)  # a longer step from untrained weights may leave only rounding
    optimizer.step()
    not_finite = [name for name, value in model.state_dict().items() if not value.isfinite().all()]
    if not_finite or not loss.isfinite():
        raise ValueError(f'after a step with the loss {loss.item()} these are not finite: {not_finite[:4]}')
    after = {name: layer.gate.parameters() for name, layer in layers.items()}
    moved = {name for name in layers if not all(map(torch.equal, before[name], after[name]))}
    if not moved or learning - moved:
        raise ValueError(f'a step moves {len(moved)} gates, but not those of {sorted(learning - moved)[:4]}')
    return f'{len(moved)}/{len(layers)}'


def _has_gradient(layer: nn.Module) -> bool:
    weights = [p for name, p in layer.named_parameters() if not name.startswith('gate.') and p.dim() > 1]
    return any(p.grad is not None and p.grad.any() for p in weights)


def _round_trip(model: nn.Module, other: nn.Module, x: Tensor) -> str:
    other.load_state_dict(model.state_dict())
    difference = _difference(model.eval(), other.eval(), x)
    if difference != 0:
        raise ValueError(f'a network with the same state gives outputs that differ by {difference:.1e}')
    return 'equal'


def _export(plain: nn.Module, gated: nn.Module, x: Tensor) -> str:
    with torch.no_grad():
        try:
            torch.export.export(exportable(plain), (x,), strict=False)
        except Exception:
            return 'as plain: no'
        program = torch.export.export(exportable(gated), (x,), strict=False).module()
    difference = _difference(gated.eval(), program, x)
    if not difference < 1e-4:
        raise ValueError(f'the exported program differs by {difference:.1e}')
    return 'yes'
