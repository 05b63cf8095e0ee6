"""Number the tokens of a language."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from ...plain_text import decode_text

SPECIALS = ('<pad>', '<s>', '</s>', '<unk>')
PAD, BOS, EOS, UNK = range(4)
_MULTIPLE = 8


class Vocabulary:
    """Numbers the tokens of a language: the four special ones first, then ``tokens`` in their order.

    Args:
        tokens: Distinct tokens, without special ones.

    Raises:
        ValueError: If a token comes twice or is special.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self.tokens = [*SPECIALS, *tokens]
        self._ids = {token: i for i, token in enumerate(self.tokens)}
        if len(self._ids) < len(self.tokens):
            twice = next(token for token, count in Counter(self.tokens).items() if count > 1)
            raise ValueError(f'the token {twice!r} comes twice in a vocabulary')

    def __len__(self) -> int:
        """Return the rows of an embedding: the tokens, rounded up to a multiple of eight (the rest stays unused)."""
        return -(-len(self.tokens) // _MULTIPLE) * _MULTIPLE

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Return the numbers of the tokens, and that of ``<unk>`` for those that are not in the vocabulary."""
        return [self._ids.get(token, UNK) for token in tokens]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Return the tokens of the numbers, without special ones."""
        return [self.tokens[i] for i in ids if len(SPECIALS) <= i < len(self.tokens)]

    def fingerprint(self) -> str:
        """Return a digest of the tokens in their order."""
        return digest('\n'.join(self.tokens))

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Read a file with a token and its count on each line.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If a line is not a token and its count, or the file breaks off.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f'no vocabulary {str(path)!r}: tools/data/prepare_iwslt14.py makes it')
        lines = decode_text(Path(path).read_bytes(), str(path)).split('\n')
        if lines.pop() != '':
            raise ValueError(
                f'{path} breaks off in line {len(lines) + 1}: make it again with tools/data/prepare_iwslt14.py'
            )
        tokens = []
        for number, line in enumerate(lines, 1):
            token, _, count = line.partition(' ')
            if not token or not count.isdecimal():
                raise ValueError(f"{path}, line {number}: expected 'token count', got {line!r}")
            tokens.append(token)
        return cls(tokens)


def vocabulary_text(lines: Iterable[list[str]]) -> str:
    """Make the content of a vocabulary file: the tokens of tokenised lines and their counts, most frequent first."""
    counts = Counter(token for line in lines for token in line)
    for special in SPECIALS:
        counts.pop(special, None)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ''.join(f'{token} {count}\n' for token, count in ordered)


def digest(text: str) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a text, by which it is told from others."""
    return sha256(text.encode()).hexdigest()[:16]
