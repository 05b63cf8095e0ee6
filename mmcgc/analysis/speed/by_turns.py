"""Time variants of a network by turns in one process, so that other work of the machine slows all of them alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...progress import tracked
from .peak_memory import now, peak_bytes
from .percentiles import percentiles

_TURN = 0.01  # seconds that a turn on a GPU lasts at least


def first_tensor(output) -> Tensor:
    """Return the output of a network, or the first of several."""
    return output[0] if isinstance(output, (tuple, list)) else output


def measure(
    variants: dict[str, nn.Module], inputs: tuple[Tensor, ...], which: str, repeats: int, bfloat16: bool, graphed: bool
) -> dict[str, dict]:
    """Time variants of one network, which take turns.

    Args:
        variants: Variants by name; ``plain`` is the one that the ratios refer to.
        inputs: Inputs of each of them.
        which: ``'forward'`` in eval mode, or ``'step'``: forward and backward in training mode.
        repeats: Turns of each variant.
        bfloat16: Whether autocast is on.
        graphed: Whether each pass is captured as a CUDA graph first.

    Returns:
        For each variant the median time in ms, the 20th percentile, median and 80th percentile of its ratio to the
        plain one within a turn, its peak memory in MiB, and the seconds of its first pass, which compiles what is
        compiled.
    """
    device = inputs[0].device
    eager = {arm: _run(variant, inputs, which, bfloat16) for arm, variant in variants.items()}
    first = {arm: _seconds(run, device) for arm, run in eager.items()}
    runs = {arm: _captured(run) for arm, run in eager.items()} if graphed else eager
    calls = {arm: _calls(run, device) for arm, run in runs.items()}
    seconds = {arm: [] for arm in runs}
    for turn in tracked(range(repeats)):
        for arm in [*runs][turn % len(runs) :] + [*runs][: turn % len(runs)]:
            seconds[arm].append(_seconds(runs[arm], device, calls[arm]))
    results = {}
    for arm, run in eager.items():
        ratios = [own / plain for own, plain in zip(seconds[arm], seconds['plain'], strict=True)]
        low, median, high = percentiles(ratios)
        results[arm] = dict(
            ms=round(statistics.median(seconds[arm]) * 1e3, 3),
            ratio_p20=round(low, 3),
            ratio=round(median, 3),
            ratio_p80=round(high, 3),
            peak_mib=round(peak_bytes(run, device) / 2**20, 1),
            first_s=round(first[arm], 3),
        )
    return results


def _run(module: nn.Module, inputs: tuple[Tensor, ...], which: str, bfloat16: bool):
    """Return a function without arguments that runs one pass."""
    autocast = torch.autocast(inputs[0].device.type, torch.bfloat16, enabled=bfloat16)
    leaves = [t.detach().clone().requires_grad_(t.requires_grad) for t in inputs]

    def forward() -> None:
        module.eval()
        with torch.inference_mode(), autocast:
            module(*inputs)

    def step() -> None:
        module.train()
        with autocast:
            y = first_tensor(module(*leaves))
        y.float().square().mean().backward()
        module.zero_grad(set_to_none=True)
        for leaf in leaves:
            leaf.grad = None

    return forward if which == 'forward' else step


def _seconds(run: Callable[[], None], device: torch.device, calls: int = 1) -> float:
    """Return the seconds of a pass, as a mean over several calls."""
    start = now(device)
    for _ in range(calls):
        run()
    return (now(device) - start) / calls


def _calls(run: Callable[[], None], device: torch.device) -> int:
    """Return how often a turn runs a pass: once on a CPU, on a GPU so often that the wait at the end does not count."""
    run()
    return 1 if device.type == 'cpu' else max(1, int(_TURN / _seconds(run, device)))


def _captured(run: Callable[[], None]) -> Callable[[], None]:
    """Return a function that replays the same pass as one CUDA graph."""
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        run()
    return graph.replay
