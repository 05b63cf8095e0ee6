"""Translate text with a trained model, as ``tools/translate.py`` does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import torch

from ..checkpoints.load import load_weights
from ..datasets.translation.forms import is_segmented
from ..engine.vocabulary_match import check_fingerprints
from ..models.translation import EOS, UNK
from ..registry import MODELS, TASK_UTILS
from .device import usable_device
from .launch import load_config


class Translator:
    """Translate lines of ordinary text, one line for each line, in their order.

    An empty line stays empty.  Of a line with more than ``max_length`` tokens the first ``max_length`` are translated.
    Words in another script become ``<unk>``, and pieces of words (``@@``) are read as words.  :attr:`counts` counts the
    lines of all four kinds.

    Args:
        config: Path of the model's config, whose test data set names the corpus.
        checkpoint: Path or address of the checkpoint.
        device: Where to compute; by default the first accelerator, or the CPU.
        max_length: Most tokens of a line.
        max_tokens: Most tokens of a batch, padding included.
        buffer: Lines that are read before they are translated, so that a batch has lines of like length.
        search: Overrides of the config's ``model.search``: ``beam``, ``length_penalty``.

    Attributes:
        counts: Number of ``lines``, and of those that were ``empty``, ``cut``, ``foreign`` (mostly unknown words) or
            ``segmented`` (in pieces of words).

    Raises:
        FileNotFoundError: If the config, the checkpoint or the corpus is missing.
        ValueError: If the checkpoint does not fit the model or belongs to another corpus, a number is not positive, or
            the config or the device cannot be used.
    """

    def __init__(
        self,
        config: str,
        checkpoint: str,
        device: str | None = None,
        max_length: int = 1024,
        max_tokens: int = 4000,
        buffer: int = 2000,
        search: dict | None = None,
    ) -> None:
        if min(max_length, max_tokens, buffer) < 1:
            raise ValueError(f'max_length={max_length}, max_tokens={max_tokens}, buffer={buffer} must be positive')
        device = usable_device(device)
        cfg = load_config(config, None, None, 'none')
        corpus = ((cfg.get('test_dataloader') or {}).get('dataset') or {}).get('corpus')
        if corpus is None:
            raise ValueError(f'{config} has no test_dataloader.dataset.corpus, so it is no config of a translation')
        self.corpus = TASK_UTILS.build(corpus)
        cfg.model.search = dict(cfg.model.get('search', {}), **(search or {}))
        self.model = MODELS.build(cfg.model)
        check_fingerprints(load_weights(self.model, checkpoint, config), self.corpus.fingerprints(), checkpoint)
        self.model.to(device).eval()
        self.max_length, self.max_tokens, self.buffer = max_length, max_tokens, buffer
        self.counts: Counter[str] = Counter()

    def translate(self, lines: Iterable[str]) -> Iterator[str]:
        """Yield the translation of each line as ordinary text; raise FloatingPointError if scores are not finite."""
        lines = iter(lines)
        while chunk := list(islice(lines, self.buffer)):
            sources = [self._encode(line) for line in chunk]
            translations = [''] * len(chunk)
            for batch in self._batches(sources):
                inputs = [torch.tensor([*sources[i], EOS]) for i in batch]
                with torch.inference_mode():
                    samples = self.model.test_step(dict(inputs=inputs))
                for i, sample in zip(batch, samples, strict=True):
                    tokens = self.corpus.target_vocabulary.decode(sample.tokens.tolist())
                    translations[i] = self.corpus.decode(tokens)
            yield from translations

    def report(self) -> str:
        """Return one line on what was translated and what was out of the ordinary."""
        unusual = dict(
            empty='empty',
            cut=f'cut to {self.max_length} tokens',
            foreign='of mostly unknown words',
            segmented='in pieces of words already',
        )
        noted = [f'{self.counts[kind]} {what}' for kind, what in unusual.items() if self.counts[kind]]
        return f'{self.counts["lines"]} lines translated' + (f', of which {", ".join(noted)}' if noted else '')

    def _encode(self, line: str) -> list[int]:
        ids = self.corpus.source_vocabulary.encode(self.corpus.encode(line))
        found = dict(
            empty=not ids,
            cut=len(ids) > self.max_length,
            foreign=2 * ids.count(UNK) > len(ids),
            segmented=is_segmented(line),
        )
        self.counts.update(['lines', *(kind for kind, is_so in found.items() if is_so)])
        return ids[: self.max_length]

    def _batches(self, sources: list[list[int]]) -> Iterator[list[int]]:
        """Yield the numbers of the lines that are not empty, in batches of like length."""
        batch: list[int] = []
        for i in sorted((i for i, ids in enumerate(sources) if ids), key=lambda i: len(sources[i])):
            if batch and (len(sources[i]) + 1) * (len(batch) + 1) > self.max_tokens:
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch
