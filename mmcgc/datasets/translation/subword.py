"""A folder of parallel text in subwords: what ``tools/data/prepare_iwslt14.py`` makes."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import NamedTuple

from ...extras import import_extra
from ...models.translation import Vocabulary
from ...registry import TASK_UTILS
from .moses import detokenise, tokenise

SETTINGS = 'corpus.json'
CODES = 'bpe.codes'
_AGAIN = 'make it again with tools/data/prepare_iwslt14.py'


class Pair(NamedTuple):
    """A sentence and its translation.

    Attributes:
        source, target: Tokens.
        reference: The translation as one would write it; None where nothing is to be compared with it.
    """

    source: list[str]
    target: list[str]
    reference: str | None = None


@TASK_UTILS.register_module()
class SubwordCorpus:
    """Text in byte-pair subwords (Sennrich et al., 2016) over Moses tokens.

    The folder holds ``corpus.json`` (languages, whether the text is lower-cased, number of lines), ``bpe.codes``,
    ``vocab.<language>``, and for each split ``<split>.<language>`` in subwords; of splits for testing, also the
    untokenised references, ``<split>.detok.<target language>``.

    Args:
        folder: The folder.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file breaks off or holds what it should not.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        path = self.folder / SETTINGS
        if not path.is_file():
            raise FileNotFoundError(f'no prepared corpus in {folder!r}: {path} is missing; '
                                    'tools/data/prepare_iwslt14.py makes the folder')
        try:
            self.settings = json.loads(path.read_text(encoding='utf-8'))
            self.source_language, self.target_language = self.settings['source'], self.settings['target']
            self.lowercase, self.lines = self.settings['lowercase'], self.settings['lines']
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f'{path} is broken ({error!r}): {_AGAIN}') from error
        self.source_vocabulary = Vocabulary.load(self.folder / f'vocab.{self.source_language}')
        self.target_vocabulary = Vocabulary.load(self.folder / f'vocab.{self.target_language}')

    def read(self, split: str) -> list[Pair]:
        """The pairs of a split.

        Raises:
            ValueError: The split is unknown, or a file has another number of lines than it was made with.
        """
        if split not in self.lines:
            raise ValueError(f'{self.folder} has no split {split!r}; it has {", ".join(self.lines)}')
        source = self._read_lines(f'{split}.{self.source_language}', split)
        target = self._read_lines(f'{split}.{self.target_language}', split)
        name = f'{split}.detok.{self.target_language}'
        if (self.folder / name).is_file():
            references = self._read_lines(name, split)
        else:
            references = [None] * len(target)
        return [Pair(s.split(), t.split(), r) for s, t, r in zip(source, target, references, strict=True)]

    def _read_lines(self, name: str, split: str) -> list[str]:
        path = self.folder / name
        if not path.is_file():
            raise FileNotFoundError(f'{path} is missing: {_AGAIN}')
        lines = path.read_bytes().decode().split('\n')[:-1]  # without the empty piece after the last line's end
        if len(lines) != self.lines[split]:
            raise ValueError(f'{path} has {len(lines)} whole lines instead of {self.lines[split]}, it was truncated or '
                             f'changed: {_AGAIN}')
        return lines

    def encode(self, line: str) -> list[str]:
        """A line of the source language, as one would write it, in subwords."""
        return self._bpe.segment_tokens(tokenise(line, self.source_language, self.lowercase).split())

    def join(self, tokens: list[str]) -> str:
        """Subwords as tokenised text."""
        return (' '.join(tokens) + ' ').replace('@@ ', '').strip()

    def decode(self, tokens: list[str]) -> str:
        """Subwords of the target language as one would write it."""
        return detokenise(self.join(tokens), self.target_language)

    @functools.cached_property
    def _bpe(self):
        path = self.folder / CODES
        if not path.is_file():
            raise FileNotFoundError(f'{path} is missing: {_AGAIN}')
        return load_bpe(path)


def load_bpe(path: Path):
    """The byte-pair merges of a file; ValueError where a line is none."""
    with path.open(encoding='utf-8', newline='\n') as file:
        for number, line in enumerate(file, 1):
            if not line.startswith('#version') and len(line.rstrip('\r\n ').split(' ')) != 2:
                raise ValueError(f'{path}, line {number}: expected two symbols to merge, got {line!r}')
        return import_extra('subword_nmt.apply_bpe').BPE(file)
