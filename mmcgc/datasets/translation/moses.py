"""Tokenise and detokenise as Moses does, through sacremoses."""

import functools
import unicodedata

from ...extras import import_extra


def tokenise(line: str, language: str, lowercase: bool) -> str:
    """Separate words and punctuation by single spaces, and escape special characters.

    Letters with accents are composed first (Unicode's NFC), because Moses parts an accent from its letter.
    """
    line = ' '.join(unicodedata.normalize('NFC', line).split())
    tokens = ' '.join(_tokenizer(language).tokenize(line, return_str=True).split())
    return tokens.lower() if lowercase else tokens


def detokenise(line: str, language: str) -> str:
    """Return tokenised text as one would write it."""
    return _detokenizer(language).detokenize(line.split())


@functools.cache
def _tokenizer(language: str):
    return import_extra('sacremoses').MosesTokenizer(language)


@functools.cache
def _detokenizer(language: str):
    return import_extra('sacremoses').MosesDetokenizer(language)
