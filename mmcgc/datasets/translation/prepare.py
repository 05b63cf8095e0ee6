"""Turn downloaded parallel text into a folder of subwords: tokens, merges, vocabularies and splits."""

from __future__ import annotations

import contextlib
import io
import json
import re
from hashlib import sha256
from pathlib import Path

from mmengine.logging import print_log

from ...extras import import_extra
from ...models.translation.vocabulary import vocabulary_text
from ...progress import tracked
from ...whole_file import check_outputs, write_whole_files
from .forms import check_form
from .moses import detokenise, tokenise
from .sources import TextFiles, read_text
from .subword import CODES, SETTINGS, load_bpe

Splits = dict[str, list[tuple[str, str]]]

# The sets that make up the usual test set of IWSLT'14, in order.
_TEST_SETS = ('TED.dev2010', 'TEDX.dev2012', 'TED.tst2010', 'TED.tst2011', 'TED.tst2012')
_VALID_EVERY = 23


def prepare_corpus(
    source: str | Path,
    out: str | Path,
    *,
    languages: tuple[str, str] = ('de', 'en'),
    splits: tuple[str, str, str] = ('train', 'valid', 'test'),
    tokenised: bool = False,
    merges: int = 10_000,
    codes: str | Path | None = None,
    max_words: int = 175,
    max_ratio: float = 1.5,
) -> Path:
    """Write the folder that :class:`SubwordCorpus` reads; existing files are replaced once everything has been checked.

    The raw archive of IWSLT'14 (with ``train.tags.de-en.de``) is cleaned and split as is usual: tags go, every 23rd of
    the clean training pairs is for validation, and dev2010, dev2012 and tst2010 to tst2012 are for testing.  Any other
    source holds ``<split>.<language>``, which may be gzipped, in one folder: the top one, or the only one below with
    the training text (``<split>`` may lead to another).  The text is lower-cased and, unless it is ``tokenised``,
    tokenised as Moses does; then training pairs with more than ``max_words`` tokens on a side, with none, or with a
    ratio above ``max_ratio`` are left out.

    Args:
        source: Folder or tar archive.
        out: The folder to write.
        languages: Source and target language.
        splits: Names of the files of the three splits (not for the raw archive).
        tokenised: Whether the text is tokenised and clean; references are then made by detokenising.
        merges: How many byte-pair merges to learn, on both languages together.
        codes: A file of merges to use instead; by default ``code`` of the source if it is tokenised and has one.
        max_words, max_ratio: Limits of the cleaning.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is truncated, is no text, or has another number of lines than its other language; if it is
            not certain which file is meant; if the text is in pieces of words, or not tokenised as was said; or if what
            is to be written lies in ``source``, is ``codes``, or takes the place of files that are no corpus.
    """
    root = Path(out)
    check_outputs([root / SETTINGS, root / CODES], [source, *([codes] if codes else [])])
    if merges < 1 or max_words < 1 or not max_ratio >= 1:
        raise ValueError(f'merges={merges}, max_words={max_words} and max_ratio={max_ratio} must be at least 1')
    de, en = languages
    tagged = f'train.tags.{de}-{en}.{de}'
    files = TextFiles(source, f'{splits[0]}.{de}', tagged)
    if files.mark == tagged:
        raw = _read_iwslt(files, languages)
        if tokenised:
            raise ValueError(f'{source} holds the raw IWSLT archive, which is not tokenised: leave --tokenised out')
    else:
        raw = {
            name: files.parallel(f'{file}.{de}', f'{file}.{en}')
            for name, file in zip(('train', 'valid', 'test'), splits, strict=True)
        }
    for name, pairs in raw.items():
        for side, language in enumerate(languages):
            check_form([pair[side] for pair in pairs], tokenised, f'the text of {name}.{language} from {files.folder}')
    words = {
        name: _lower(pairs, name) if tokenised else _tokenise(pairs, languages, name) for name, pairs in raw.items()
    }
    if not tokenised:
        kept = [i for i, pair in enumerate(words['train']) if _is_clean(pair, max_words, max_ratio)]
        print_log(
            f'train: {len(words["train"]) - len(kept)} of {len(words["train"])} pairs left out: empty, above '
            f'{max_words} tokens, or with a ratio above {max_ratio}'
        )
        for texts in (raw, words):
            texts['train'] = [texts['train'][i] for i in kept]
    if 'valid' not in raw:
        for texts in (raw, words):
            train = texts.pop('train')
            texts['train'] = [pair for i, pair in enumerate(train, 1) if i % _VALID_EVERY]
            texts['valid'] = train[_VALID_EVERY - 1 :: _VALID_EVERY]
    if not words['train']:
        raise ValueError(f'{source}: no training pair is left after cleaning')

    if codes is not None:
        merged = read_text(Path(codes))
    elif tokenised and 'code' in files:
        merged = files.text('code')
    else:
        print_log(f'learning {merges} merges')
        merged = learn_merges(words['train'], merges)
    contents = {CODES: merged.replace('\r\n', '\n').rstrip('\n') + '\n'}
    bpe = load_bpe(contents[CODES], str(codes or f'{files.folder}/code'))
    for side, language in enumerate(languages):
        for name in ('train', 'valid', 'test'):
            lines = [' '.join(bpe.segment_tokens(pair[side].split())) for pair in tracked(words[name])]
            contents[f'{name}.{language}'] = _join(lines)
            if name == 'train':
                contents[f'vocab.{language}'] = vocabulary_text(line.split() for line in lines)
    for name in ('valid', 'test'):
        references = [detokenise(pair[1], en) if tokenised else pair[1] for pair in raw[name]]
        contents[f'{name}.detok.{en}'] = _join(references)
    settings = dict(
        source=de,
        target=en,
        lowercase=True,
        reference='detokenised' if tokenised else 'raw',
        lines={name: len(words[name]) for name in ('train', 'valid', 'test')},
        sha256={name: sha256(content.encode()).hexdigest() for name, content in contents.items()},
    )
    contents[SETTINGS] = json.dumps(settings, indent=2) + '\n'
    foreign = [name for name in contents if (root / name).exists()]
    if foreign and not (root / SETTINGS).exists():
        raise ValueError(
            f'{root} holds {", ".join(foreign)}, which would be overwritten, but is no corpus that this '
            'command has made: give another --out'
        )
    write_whole_files(root, contents.items())  # the settings, which make the folder a corpus, come last
    return root


def learn_merges(pairs: list[tuple[str, str]], merges: int) -> str:
    """Learn ``merges`` byte-pair merges for both sides together, and return them as the text of a file."""
    text = io.StringIO(_join([pair[side] for side in (0, 1) for pair in pairs]))
    codes = _Merges(merges)
    with contextlib.redirect_stderr(io.StringIO()):  # it draws a bar of its own
        import_extra('subword_nmt.learn_bpe').learn_bpe(text, codes, merges)
    return codes.whole()


class _Merges(io.StringIO):
    """A file to which the first line and then one merge a call are written; each merge moves the bar on."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.bar = tracked(range(count))
        next(self.bar)  # it starts here, where standard error is still that of the user

    def write(self, text: str) -> int:
        if self.tell():
            next(self.bar, None)
        return super().write(text)

    def whole(self) -> str:
        """Return all that was written; the bar ends, even if there were fewer merges to learn."""
        for _ in self.bar:
            pass
        return self.getvalue()


def _join(lines: list[str]) -> str:
    return ''.join(f'{line}\n' for line in lines)


def _read_iwslt(files: TextFiles, languages: tuple[str, str]) -> Splits:
    """Read training and test pairs of the raw archive; the validation pairs come from the clean training pairs."""
    pair = '-'.join(languages)
    columns = []
    for language in languages:
        lines = files.lines(f'train.tags.{pair}.{language}')
        lines = [line for line in lines if not re.search('<(url|talkid|keywords)>', line)]
        columns.append([' '.join(re.sub('</?(title|description)>', ' ', line).split()) for line in lines])
    if len(columns[0]) != len(columns[1]):
        raise ValueError(
            f'{files.source} is not parallel: train.tags.{pair} has {len(columns[0])} sentences in '
            f'{languages[0]} and {len(columns[1])} in {languages[1]}; one of the files was truncated'
        )
    test = []
    for name in _TEST_SETS:
        sides = [_segments(files, f'IWSLT14.{name}.{pair}.{language}.xml') for language in languages]
        if len(sides[0]) != len(sides[1]):
            raise ValueError(
                f'{files.source} is not parallel: {name} has {len(sides[0])} segments in {languages[0]} '
                f'and {len(sides[1])} in {languages[1]}; one of the files was truncated'
            )
        test += zip(*sides, strict=True)
    return dict(train=list(zip(*columns, strict=True)), test=test)


def _segments(files: TextFiles, name: str) -> list[str]:
    lines = [line for line in files.lines(name) if '<seg id' in line]
    return [re.sub(r'<seg id="\d+">|</seg>', '', line).replace('’', "'").strip() for line in lines]


def _tokenise(pairs: list[tuple[str, str]], languages: tuple[str, str], name: str) -> list[tuple[str, str]]:
    print_log(f'{name}: tokenising {len(pairs)} pairs')
    return [
        tuple(tokenise(text, language, True) for text, language in zip(pair, languages, strict=True))
        for pair in tracked(pairs)
    ]


def _lower(pairs: list[tuple[str, str]], name: str) -> list[tuple[str, str]]:
    lowered = [tuple(side.lower() for side in pair) for pair in pairs]
    changed = sum(old != new for old, new in zip(pairs, lowered, strict=True))
    if changed:
        print_log(f'{name}: {changed} of {len(pairs)} pairs had capitals and were lower-cased')
    return lowered


def _is_clean(pair: tuple[str, str], max_words: int, max_ratio: float) -> bool:
    short, long = sorted(len(side.split()) for side in pair)
    return 0 < short and long <= max_words and long <= max_ratio * short
