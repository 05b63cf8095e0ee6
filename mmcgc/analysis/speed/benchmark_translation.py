"""Measure how quickly models translate, and in how much memory: several in one run, each in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.runner import load_checkpoint
from mmengine.utils import get_git_hash
from torch import Tensor

from ...apis.device import device_name, usable_device
from ...datasets.translation import TokenBatchSampler
from ...engine.cost import peak_resident_bytes
from ...models.translation import EOS, PAD
from ...progress import tracked
from ...registry import DATASETS, MODELS
from ..tables import markdown_table
from .peak_memory import now
from .percentiles import percentiles

COLUMNS = (
    'config',
    'weights',
    'parameters',
    'device',
    'threads',
    'dtype',
    'beam',
    'sentences',
    'batch_tokens',
    'written_tokens',
    'sentences_per_second_p20',
    'sentences_per_second_p50',
    'sentences_per_second_p80',
    'tokens_per_second_p50',
    'peak_mib',
    'ratio_to_first',
    'torch',
    'commit',
)


def benchmark(
    configs: list[str],
    checkpoints: list[str] | None = None,
    sentences: int = 1000,
    max_tokens: int = 4000,
    repeats: int = 3,
    device: str | None = None,
    bfloat16: bool = False,
    search: dict | None = None,
) -> list[dict]:
    """Measure each model on the first sentences of its config's test set.

    Args:
        configs: Paths of the configs.
        checkpoints: One for each config; without them the weights are random, and every translation is as long as
            ``search`` allows.
        sentences: Most sentences to translate.
        max_tokens: Most source tokens of a batch, padding included.
        repeats: Passes over the sentences, after one batch to warm up.
        device: Where to compute; by default an accelerator if there is one.
        bfloat16: Autocast to bfloat16.
        search: Overrides of ``model.search``.

    Returns:
        A row for each model, with the columns of :data:`COLUMNS`: speeds at the 20th, 50th and 80th percentile of the
        passes, tokens with their ``</s>``, and the peak memory in MiB, of the accelerator, or else of the process.

    Raises:
        FileNotFoundError: If a config or a checkpoint is missing.
        ValueError: If the numbers of configs and checkpoints differ, a number is not positive, or the device is
            not here.
        RuntimeError: If the search's scores are not those of a full forward pass.
    """
    if checkpoints and len(checkpoints) != len(configs):
        raise ValueError(f'{len(configs)} configs need as many checkpoints, got {len(checkpoints)}')
    if min(sentences, max_tokens, repeats) < 1:
        raise ValueError(f'sentences={sentences}, max_tokens={max_tokens} and repeats={repeats} must be positive')
    missing = [path for path in (*configs, *(checkpoints or ())) if '://' not in path and not Path(path).is_file()]
    if missing:
        raise FileNotFoundError(f'no file {missing[0]!r} here ({Path.cwd()})')
    device = usable_device(device)
    rows = []
    models = list(zip(configs, checkpoints or [None] * len(configs), strict=True))
    for config, checkpoint in tracked(models):
        with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as process:
            rows.append(
                process.submit(
                    _measure,
                    config,
                    checkpoint,
                    sentences,
                    max_tokens,
                    repeats,
                    device,
                    bfloat16,
                    search or {},
                ).result()
            )
        ratio = rows[-1]['sentences_per_second_p50'] / rows[0]['sentences_per_second_p50']
        rows[-1]['ratio_to_first'] = round(ratio, 3)
    return rows


def table(rows: list[dict]) -> str:
    """Return the rows as a Markdown table, and a line on how they were measured."""
    header = ['model', 'weights', 'parameters', 'sentences/s (p20, p80)', 'tokens/s', 'ratio', 'peak MiB']
    lines = [
        [
            row['config'],
            row['weights'],
            f'{row["parameters"]:,}',
            '{sentences_per_second_p50} ({sentences_per_second_p20}, {sentences_per_second_p80})'.format(**row),
            *(str(row[name]) for name in ('tokens_per_second_p50', 'ratio_to_first', 'peak_mib')),
        ]
        for row in rows
    ]
    how = (
        '{device}, {threads} threads, {dtype}, beam {beam}, {sentences} sentences in batches of {batch_tokens} '
        'tokens, torch {torch}, commit {commit}'
    )
    return markdown_table(header, lines, right=(2, 3, 4, 5, 6)) + '\n\n' + how.format(**rows[0])


def _measure(
    path: str,
    checkpoint: str | None,
    sentences: int,
    max_tokens: int,
    repeats: int,
    device: str,
    bfloat16: bool,
    search: dict,
) -> dict:
    torch.manual_seed(0)
    cfg = Config.fromfile(path)
    cfg.model.search = dict(cfg.model.get('search', {}), **search)
    model = MODELS.build(cfg.model)
    if checkpoint:
        load_checkpoint(model, checkpoint, map_location='cpu', strict=True, logger='silent')
    model.to(device).eval()
    data = DATASETS.build(dict(cfg.test_dataloader.dataset, sort=False))
    data = data.get_subset(sentences) if sentences < len(data) else data
    batches = list(_batches(model, data, max_tokens))
    _check_scores(model, batches[0])

    seconds, written = [], 0
    with torch.inference_mode(), torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bfloat16):
        model(batches[0], mode='predict')
        for _ in range(repeats):
            start = now(torch.device(device))
            samples = [sample for batch in batches for sample in model(batch, mode='predict')]
            seconds.append(now(torch.device(device)) - start)
            written = sum(len(sample.tokens) + 1 for sample in samples)
    p20, median, p80 = percentiles([len(data) / s for s in seconds])
    return dict(
        config=Path(path).stem,
        weights='trained' if checkpoint else 'random',
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        device=device_name(device),
        threads=torch.get_num_threads(),
        dtype='bfloat16' if bfloat16 else 'float32',
        beam=model.search['beam'],
        sentences=len(data),
        batch_tokens=max_tokens,
        written_tokens=written,
        sentences_per_second_p20=round(p20, 2),
        sentences_per_second_p50=round(median, 2),
        sentences_per_second_p80=round(p80, 2),
        tokens_per_second_p50=round(median * written / len(data), 1),
        peak_mib=round(_peak_mib(device), 1),
        torch=torch.__version__,
        commit=get_git_hash(digits=7),
    )


def _batches(model: torch.nn.Module, data, max_tokens: int) -> Iterator[Tensor]:
    """Yield the source sentences on the model's device, those of like length together, the longest first."""
    for indices in reversed(list(TokenBatchSampler(DefaultSampler(data, shuffle=False), 1 << 30, max_tokens))):
        yield model.data_preprocessor(dict(inputs=[data[i]['inputs'] for i in indices]))['inputs']


@torch.inference_mode()
def _check_scores(model: torch.nn.Module, inputs: Tensor) -> None:
    """Raise RuntimeError unless the score of a translation, found step by step, is that of one full forward pass."""
    inputs = inputs[:2, : int((inputs[:2] != PAD).sum(1).max())]
    for source, sample in zip(inputs, model(inputs, mode='predict'), strict=True):
        target = torch.cat([sample.tokens, sample.tokens.new_tensor([EOS])])[None]  # (1, T)
        logs = model(source[source != PAD][None], target).log_softmax(-1)  # (1, T, V)
        expected = (
            float(logs[0].gather(1, target[0][:, None]).sum()) / target.shape[1] ** model.search['length_penalty']
        )
        if abs(expected - sample.score) > 1e-3 * max(1, abs(expected)):
            raise RuntimeError(
                f'the search gives a translation the score {sample.score:.6f}, a full forward {expected:.6f}'
            )


def _peak_mib(device: str) -> float:
    if torch.device(device).type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / 2**20
    return peak_resident_bytes() / 2**20
