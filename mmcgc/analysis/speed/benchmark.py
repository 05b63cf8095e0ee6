"""Measure gated networks and layers in time and memory, against the plain ones and against other ways to run them.

Machines are shared and noisy, so the arms take turns in one process, and every ratio is taken within a turn.
"""

from __future__ import annotations

import copy
import importlib.util
import itertools
from collections.abc import Sequence

import torch
from mmengine.config import Config
from mmengine.utils import get_git_hash
from torch import Tensor, nn

from mmcgc.layers import gated_layers

from ...apis.device import device_name, usable_device
from ..network import build_network, input_shape
from ..tables import markdown_table
from .by_turns import first_tensor, measure
from .peak_memory import keep_memory
from .rivals import RIVALS, CondConv, rival_backends

ARMS = ('plain', 'mmcgc', *RIVALS, 'condconv')
PASSES = ('forward', 'step')
TOLERANCE = 1e-4  # share of the largest output by which ways to run the same gated network in float32 may differ
_VOCABULARY = 100


def benchmark(
    config: str,
    *,
    by_layer: bool = False,
    batch: int = 8,
    size: Sequence[int] | None = None,
    arms: Sequence[str] = ARMS,
    passes: Sequence[str] = PASSES,
    repeats: int = 7,
    device: str = 'cpu',
    channels_last: bool = False,
    bfloat16: bool = False,
    compiled: bool = False,
    graphed: bool = False,
    kept: bool = False,
) -> list[dict]:
    """Measure a gated config's network, or each of its gated layers, in every way to run it.

    'plain' is the same network without gates, 'mmcgc' the library's choice, 'context' computes the gates without
    applying them, 'batch_as_groups' and 'unfold' (the authors' formulation) hold every sample's kernel in memory.
    'condconv' has timm's layer in place of the gated ones, if timm is installed and all of these are ``CGConv2d``.

    Args:
        config: Path of a config with gates.
        by_layer: Measure the layers by themselves, those of equal shape once.
        batch: Number of samples, which are clips for video and sentences for translation.
        size: Size of a sample, as for :func:`input_shape`; for translation the number of tokens.
        arms: Some of :data:`ARMS`, 'plain' among them.
        passes: 'forward' (inference, eval mode) and 'step' (forward and backward, train mode, no optimiser; as in
            training, the network's input needs no gradient, nor does that of a layer that reads it).
        repeats: Turns that are timed, after two passes that are not; a turn is one pass, on a GPU as many as take
            10 ms.
        device: 'cpu', 'cuda', ...
        channels_last, bfloat16, compiled: Memory format, autocast and torch.compile, for all arms.
        graphed: Capture every pass as a CUDA graph, and time its replays.
        kept: Let freed memory stay with this process from this call on (:func:`.keep_memory`), on a CPU.

    Returns:
        A row for each network or layer, pass and arm: median milliseconds, the ratio to 'plain' (20th, 50th and 80th
        percentile over the turns), peak memory in MiB above the start, the seconds of the first pass, and how it was
        measured.

    Raises:
        ValueError: If an arm or pass is unknown, a number is not positive, the network has no gates, CUDA graphs are
            asked for without a GPU, or memory cannot be kept.
        RuntimeError: If two ways to run the network disagree by more than :data:`TOLERANCE`.
    """
    unknown = sorted({*arms} - {*ARMS} | {*passes} - {*PASSES})
    if unknown or 'plain' not in arms:
        raise ValueError(
            f'arms are {", ".join(ARMS)}, plain always among them, and passes {", ".join(PASSES)}; got '
            f'{", ".join((*arms, *passes))}'
        )
    if min(batch, repeats) < 1:
        raise ValueError(f'batch={batch} and repeats={repeats} must be positive')
    usable_device(device)
    if graphed and torch.device(device).type != 'cuda':
        raise ValueError(f'CUDA graphs need --device cuda, got {device!r}')
    if kept:
        keep_memory()
    torch.manual_seed(0)
    network, sample = _network(Config.fromfile(config), batch, size)
    if not gated_layers(network):
        raise ValueError(f"no layer of {config} has a gate: give one with conv_cfg=dict(type='CGConv')")
    cases = _layers(network, sample, batch) if by_layer else [('network', 1, network, (sample,))]
    setting = dict(
        device=device_name(device),
        threads=torch.get_num_threads(),
        batch=batch,
        layout='channels-last' if channels_last else 'contiguous',
        dtype='bfloat16' if bfloat16 else 'float32',
        compiled=compiled,
        graphed=graphed,
        memory='kept' if kept else 'default',
        torch=torch.__version__,
        commit=get_git_hash(digits=7),
    )
    rows = []
    with rival_backends():
        for name, count, module, inputs in cases:
            variants = _variants(module, arms)
            inputs = tuple(_place(t, device, channels_last) for t in inputs)
            for variant in variants.values():
                variant.to(device)
                if channels_last:
                    variant.to(memory_format=torch.channels_last)
            _check_parity(variants, inputs)
            if by_layer and bfloat16:  # because the layer before hands it on so
                inputs = tuple(t.bfloat16() if t.is_floating_point() else t for t in inputs)
            if compiled:
                variants = {arm: torch.compile(variant) for arm, variant in variants.items()}
            for which in passes:
                measured = measure(variants, inputs, which, repeats, bfloat16, graphed)
                for arm, result in measured.items():
                    shape = 'x'.join(map(str, inputs[0].shape))
                    rows.append(
                        dict(
                            config=config,
                            layer=name,
                            count=count,
                            input=shape,
                            arm=arm,
                            **{'pass': which},
                            **result,
                            **setting,
                        )
                    )
    return rows


def check_ratios(rows: list[dict], most: float) -> None:
    """Raise an error if a gated network or layer among the rows is slower than it may be.

    Args:
        rows: Rows of :func:`benchmark`.
        most: The largest ratio to the plain network, as a median, that passes.

    Raises:
        ValueError: If a row of the arm 'mmcgc' is above it; names the first.
    """
    for row in rows:
        if row['arm'] == 'mmcgc' and row['ratio'] > most:
            raise ValueError(
                f'the {row["pass"]} of {row["layer"]} takes {row["ratio"]:.2f} times as long as without gates, more '
                f'than {most:g}: find what has made it slower, or measure again if the machine is not quiet'
            )


def table(rows: list[dict]) -> str:
    """Return the rows as a Markdown table, and a line on how they were measured."""
    header = ['layer', 'input', 'pass', 'arm', 'ms', 'ratio (p20, p80)', 'peak MiB', 'first pass, s']
    lines = [
        [
            f'{row["layer"]} x {row["count"]}' if row['count'] > 1 else row['layer'],
            row['input'],
            row['pass'],
            row['arm'],
            f'{row["ms"]:.2f}',
            '{ratio:.2f} ({ratio_p20:.2f}, {ratio_p80:.2f})'.format(**row),
            f'{row["peak_mib"]:.0f}',
            f'{row["first_s"]:.2f}',
        ]
        for row in rows
    ]
    how = (
        '{config}: {device}, {threads} threads, batch {batch}, {layout}, {dtype}, compiled {compiled}, graphed '
        '{graphed}, memory {memory}, torch {torch}, commit {commit}'
    )
    return markdown_table(header, lines, right=(4, 5, 6, 7)) + '\n\n' + how.format(**rows[0])


def _network(cfg: Config, batch: int, size: Sequence[int] | None) -> tuple[nn.Module, Tensor]:
    """Build the network to run and its input; of a translation model take the encoder, which has the gates."""
    if cfg.model.type.endswith('TranslationModel'):
        cfg.model.update({f'{side}_vocabulary': _VOCABULARY for side in ('source', 'target')})
        tokens = torch.randint(4, _VOCABULARY, (batch, *(size or (32,))))
        return build_network(cfg).encoder, tokens
    return build_network(cfg), torch.randn(batch, *input_shape(cfg, size)[1:])


def _layers(network: nn.Module, sample: Tensor, batch: int) -> list[tuple[str, int, nn.Module, tuple[Tensor, ...]]]:
    """List (name of the first, how many, layer, inputs) of the gated layers, those that are alike once.

    An input requires a gradient if it does in the network.
    """
    names, found = {m: name for name, m in network.named_modules()}, {}

    def keep(layer: nn.Module, inputs: tuple) -> None:
        shape, needed = inputs[0].shape, inputs[0].requires_grad
        layers, *_ = found.setdefault((repr(layer), shape, needed), ([], shape, needed))
        layers.append(layer)

    handles = [layer.register_forward_pre_hook(keep) for layer in gated_layers(network).values()]
    network(sample[:1])
    for handle in handles:
        handle.remove()
    return [
        (names[first], 1 + len(others), first, (torch.randn(shape[0] * batch, *shape[1:], requires_grad=needed),))
        for (first, *others), shape, needed in found.values()
    ]


def _variants(module: nn.Module, arms: Sequence[str]) -> dict[str, nn.Module]:
    """Make a copy of the module for each arm that can run."""
    variants = {}
    for arm in arms:
        copied = copy.deepcopy(module)
        layers = list(gated_layers(copied).values())
        if arm == 'condconv':
            if importlib.util.find_spec('timm') is None or any(not isinstance(layer, nn.Conv2d) for layer in layers):
                continue
            copied = _replaced(copied, layers)
        elif arm in RIVALS:
            if any(not hasattr(layer, 'backend') or _needs_three_axes(layer) for layer in layers):
                continue
            for layer in layers:
                layer.backend = arm
        elif arm == 'plain':
            for layer in layers:
                layer.gate = None
        variants[arm] = copied
    return variants


def _replaced(module: nn.Module, layers: list[nn.Module]) -> nn.Module:
    """Replace the gated ``layers`` of ``module`` by CondConv."""
    if module in layers:
        return CondConv(module)
    for name in [name for name, m in module.named_modules() if m in layers]:
        module.set_submodule(name, CondConv(module.get_submodule(name)))
    return module


def _needs_three_axes(layer: nn.Module) -> bool:
    """Tell whether a layer cannot be computed as a convolution over two axes, which the rivals need."""
    return isinstance(layer, nn.Conv3d) and layer.num_frames is None and layer.kernel_size[1:] != (1, 1)


def _place(t: Tensor, device: str, channels_last: bool) -> Tensor:
    return t.to(device, memory_format=torch.channels_last if channels_last and t.dim() == 4 else torch.preserve_format)


@torch.no_grad()
def _check_parity(variants: dict[str, nn.Module], inputs: tuple[Tensor, ...]) -> None:
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        outputs = {
            arm: first_tensor(variant.eval()(*inputs))
            for arm, variant in variants.items()
            if arm not in ('plain', 'context', 'condconv')
        }
    for (one, a), (other, b) in itertools.pairwise(outputs.items()):
        error = float((a - b).abs().max() / a.abs().max())
        if not error < TOLERANCE:
            raise RuntimeError(f'{one} and {other} differ by {error:.1e} of the largest output')
