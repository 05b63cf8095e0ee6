"""Read a folder of parallel text in subwords, which ``tools/data/prepare_iwslt14.py`` makes."""

from __future__ import annotations

import functools
import io
import json
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from ...extras import import_extra
from ...models.translation.vocabulary import Vocabulary, digest
from ...plain_text import decode_text
from ...registry import TASK_UTILS
from .moses import detokenise, tokenise

SETTINGS = 'corpus.json'
CODES = 'bpe.codes'
_AGAIN = 'make it again with tools/data/prepare_iwslt14.py'


class Pair(NamedTuple):
    """A sentence and its translation.

    Attributes:
        source, target: Tokens.
        reference: The translation as one would write it; None if nothing is to be compared with it.
    """

    source: list[str]
    target: list[str]
    reference: str | None = None


@TASK_UTILS.register_module()
class SubwordCorpus:
    """Text in byte-pair subwords (Sennrich et al., 2016) over Moses tokens.

    The folder holds ``corpus.json`` (languages, whether the text is lower-cased, number of lines), ``bpe.codes``,
    ``vocab.<language>``, and for each split ``<split>.<language>`` in subwords.  For splits to test on, it also holds
    the untokenised references, ``<split>.detok.<target language>``.

    Args:
        folder: The folder.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file breaks off or holds what it should not.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        path = self.folder / SETTINGS
        if not path.is_file():
            raise FileNotFoundError(
                f'no prepared corpus in {folder!r}: {path} is missing; tools/data/prepare_iwslt14.py makes the folder'
            )
        try:
            self.settings = json.loads(decode_text(path.read_bytes(), str(path)))
            self.source_language, self.target_language = self.settings['source'], self.settings['target']
            self.lowercase, self.lines = self.settings['lowercase'], self.settings['lines']
            self._sums = dict(self.settings.get('sha256', {}))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f'{path} is broken ({error!r}): {_AGAIN}') from error
        self.source_vocabulary, self.target_vocabulary = (
            self._load_vocabulary(f'vocab.{language}') for language in (self.source_language, self.target_language)
        )

    def read(self, split: str) -> list[Pair]:
        """Return the pairs of a split.

        Raises:
            ValueError: If the split is unknown, or a file has another number of lines than it was made with.
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

    def fingerprints(self) -> dict[str, str]:
        """Return digests of both vocabularies and of the merges, on which the numbers of the tokens depend."""
        return dict(
            source_vocabulary=self.source_vocabulary.fingerprint(),
            target_vocabulary=self.target_vocabulary.fingerprint(),
            merges=digest(self._codes),
        )

    def _load_vocabulary(self, name: str) -> Vocabulary:
        vocabulary = Vocabulary.load(self.folder / name)
        cased = next((token for token in vocabulary.tokens if token != token.lower()), None)
        if self.lowercase and cased is not None:
            raise ValueError(f'{self.folder / name} holds {cased!r}, but the corpus is to be lower-cased: {_AGAIN}')
        self._check_sum(name)
        return vocabulary

    def _read_lines(self, name: str, split: str) -> list[str]:
        lines = self._read(name).split('\n')[:-1]  # without the empty piece after the last line's end
        if len(lines) != self.lines[split]:
            raise ValueError(
                f'{self.folder / name} has {len(lines)} whole lines instead of {self.lines[split]}, it '
                f'was truncated or changed: {_AGAIN}'
            )
        self._check_sum(name)
        return lines

    def _read(self, name: str) -> str:
        path = self.folder / name
        if not path.is_file():
            raise FileNotFoundError(f'{path} is missing: {_AGAIN}')
        return decode_text(path.read_bytes(), str(path))

    def _check_sum(self, name: str) -> None:
        """Raise ValueError if a file is not the one that the corpus was made with; not all corpora tell."""
        if self._sums.get(name, actual := sha256((self.folder / name).read_bytes()).hexdigest()) != actual:
            raise ValueError(f'{self.folder / name} is not the file that the corpus was made with: {_AGAIN}')

    def encode(self, line: str) -> list[str]:
        """Split a line of the source language, as one would write it, into subwords."""
        return self._bpe.segment_tokens(tokenise(line, self.source_language, self.lowercase).split())

    def join(self, tokens: list[str]) -> str:
        """Join subwords to tokenised text."""
        return (' '.join(tokens) + ' ').replace('@@ ', '').strip()

    def decode(self, tokens: list[str]) -> str:
        """Join subwords of the target language to text as one would write it."""
        return detokenise(self.join(tokens), self.target_language)

    @functools.cached_property
    def _bpe(self):
        bpe = load_bpe(self._codes, str(self.folder / CODES))
        self._check_sum(CODES)
        return bpe

    @functools.cached_property
    def _codes(self) -> str:
        return self._read(CODES)


def load_bpe(codes: str, where: str):
    """Load the byte-pair merges in the text of a file; raise ValueError, which names ``where``, if a line is none."""
    lines = codes.removesuffix('\n').split('\n')
    first = int(lines[0].startswith('#version'))
    for number, line in enumerate(lines[first:], first + 1):
        if len(line.rstrip('\r ').split(' ')) != 2:
            raise ValueError(
                f'{where}, line {number}: expected two symbols to merge, got {line!r}; it must be a file '
                'of subword-nmt, with one merge a line'
            )
    if not lines[first:]:
        raise ValueError(f'{where} holds no merges')
    return import_extra('subword_nmt.apply_bpe').BPE(io.StringIO(codes))
