"""German number words and their English translation: real words, real reordering, nothing to download."""

from __future__ import annotations

import random
import re

from ...models.translation import Vocabulary
from ...registry import TASK_UTILS
from .extras import import_extra
from .subword import Pair

LETTERS = 'abcdefghijklmnopqrstuvwxyzäöüß'
WORDS = ('zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen '
         'seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand and '
         '- ,').split()
SIZES = dict(train=20_000, valid=500, test=2_000)


@TASK_UTILS.register_module()
class NumberWords:
    """Numbers from 0 to 99,999 in words, letter by letter in German, word by word in English.

    'vierundzwanzigtausenddrei' is 'twenty-four thousand and three': the units come before the tens in German, and
    German writes one word.  The splits do not overlap, and depend on no seed of the run: 20,000 numbers to train on,
    500 to validate and 2,000 to test.  The words come from num2words.
    """

    target_language, lowercase = 'en', True
    settings: dict = {}

    def __init__(self) -> None:
        self.source_vocabulary, self.target_vocabulary = Vocabulary(LETTERS), Vocabulary(WORDS)

    def read(self, split: str) -> list[Pair]:
        """The pairs of a split; ValueError where it is unknown."""
        if split not in SIZES:
            raise ValueError(f'no split {split!r}; there are {", ".join(SIZES)}')
        numbers = random.Random(0).sample(range(100_000), sum(SIZES.values()))
        first = 0
        for name, size in SIZES.items():
            if name == split:
                break
            first += size
        num2words = import_extra('num2words').num2words
        pairs = []
        for number in numbers[first:first + size]:
            english = num2words(number, lang='en')
            pairs.append(Pair(list(num2words(number, lang='de')), re.findall(r'[a-z]+|[-,]', english), english))
        return pairs

    def encode(self, line: str) -> list[str]:
        """The letters of a German number word, white space left out."""
        return list(''.join(line.lower().split()))

    def join(self, tokens: list[str]) -> str:
        """English words and punctuation apart."""
        return ' '.join(tokens)

    def decode(self, tokens: list[str]) -> str:
        """An English number word as one would write it."""
        return self.join(tokens).replace(' - ', '-').replace(' ,', ',')
