"""Make German number words and their English translation, so that nothing has to be downloaded."""

from __future__ import annotations

import random
import re

from ...extras import import_extra
from ...models.translation import Vocabulary
from ...registry import TASK_UTILS
from .subword import Pair

LETTERS = 'abcdefghijklmnopqrstuvwxyzäöüß'
WORDS = (
    'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen '
    'seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand and '
    '- ,'
).split()


def numbers(split: str) -> list[int]:
    """Return the numbers of a split, which are the same in every run.

    There are 500 to validate and 2,000 to test, drawn evenly from 0 to 99,999.  To train there are 16,000 others and
    four copies of each number below 1,000 that is not among those 2,500, because small numbers would be rare.

    Raises:
        ValueError: If the split is unknown.
    """
    drawn = random.Random(0).sample(range(100_000), 18_500)
    small = sorted(set(range(1000)) - set(drawn[:2500]))
    splits = dict(train=drawn[2500:] + 4 * small, valid=drawn[:500], test=drawn[500:2500])
    if split not in splits:
        raise ValueError(f'no split {split!r}; there are {", ".join(splits)}')
    return splits[split]


@TASK_UTILS.register_module()
class NumberWords:
    """Numbers from 0 to 99,999 in words, letter by letter in German, word by word in English.

    'vierundzwanzigtausenddrei' is 'twenty-four thousand and three': the units come before the tens in German, and
    German writes one word.  The words come from num2words, the splits from :func:`numbers`.
    """

    target_language, lowercase = 'en', True
    settings: dict = {}

    def __init__(self) -> None:
        self.source_vocabulary, self.target_vocabulary = Vocabulary(LETTERS), Vocabulary(WORDS)

    def read(self, split: str) -> list[Pair]:
        """Return the pairs of a split, or raise ValueError if it is unknown."""
        num2words = import_extra('num2words').num2words
        pairs = []
        for number in numbers(split):
            english = num2words(number, lang='en')
            pairs.append(Pair(list(num2words(number, lang='de')), re.findall(r'[a-z]+|[-,]', english), english))
        return pairs

    def fingerprints(self) -> dict[str, str]:
        """Return digests of both vocabularies, on which the numbers of the tokens depend."""
        return dict(
            source_vocabulary=self.source_vocabulary.fingerprint(),
            target_vocabulary=self.target_vocabulary.fingerprint(),
        )

    def encode(self, line: str) -> list[str]:
        """Return the letters of a German number word without white space."""
        return list(''.join(line.lower().split()))

    def join(self, tokens: list[str]) -> str:
        """Join English words and punctuation by spaces."""
        return ' '.join(tokens)

    def decode(self, tokens: list[str]) -> str:
        """Return an English number word as one would write it."""
        return self.join(tokens).replace(' - ', '-').replace(' ,', ',')
