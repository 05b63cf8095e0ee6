"""Tell which form text is in: words as one writes them, tokens apart, or pieces of words."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PIECE = re.compile(r'\w@@(?=\s)|(?:^|\s)▁\w')


def is_segmented(line: str) -> bool:
    """Tell whether a line holds pieces of words, as subword-nmt (``@@``) or SentencePiece (``▁``) writes them."""
    return _PIECE.search(line) is not None


def check_form(lines: Sequence[str], tokenised: bool, where: str) -> None:
    """Refuse text that is plainly of another form than was said.

    One line with pieces of words is enough for that.  Whether text is tokenised is seen from the full stops at the ends
    of its lines: if most lines end in one that stands apart, it is; if most end in one that does not, it is not.

    Args:
        lines: The lines of a file, with single spaces for white space.
        tokenised: Whether the text is said to be tokenised.
        where: What the text is, for the error.

    Raises:
        ValueError: If the text is of another form; the message says how to go on.
    """
    segmented = next((line for line in lines if is_segmented(line)), None)
    if segmented is not None:
        raise ValueError(
            f'{where} is in pieces of words already, such as {segmented[:60]!r}: give the text before '
            'BPE or SentencePiece (fairseq keeps it in the folder tmp), and its merges with --codes'
        )
    apart = sum(line.endswith(' .') for line in lines)
    attached = sum(line.endswith('.') for line in lines) - apart
    if tokenised and 2 * attached > len(lines):
        raise ValueError(
            f'{where} is not tokenised, most of its lines end in a word with a full stop: leave --tokenised out'
        )
    if not tokenised and 2 * apart > len(lines):
        raise ValueError(
            f'{where} is tokenised already, most of its lines end in a full stop that stands apart: add --tokenised'
        )
