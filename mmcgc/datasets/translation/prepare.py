"""From downloaded parallel text to a folder of subwords: tokens, merges, vocabularies, splits."""

from __future__ import annotations

import contextlib
import io
import json
import re
import tempfile
from pathlib import Path

from mmengine.logging import print_log

from ...extras import import_extra
from ...models.translation.vocabulary import count_tokens
from ...whole_file import check_outputs, write_whole_files
from .moses import detokenise, tokenise
from .sources import TextFiles
from .subword import CODES, SETTINGS, load_bpe

Splits = dict[str, list[tuple[str, str]]]

# The sets that make up the usual test set of IWSLT'14, in order.
_TEST_SETS = ('TED.dev2010', 'TEDX.dev2012', 'TED.tst2010', 'TED.tst2011', 'TED.tst2012')
_VALID_EVERY = 23


def prepare_corpus(source: str | Path, out: str | Path, *, languages: tuple[str, str] = ('de', 'en'),
                   splits: tuple[str, str, str] = ('train', 'valid', 'test'), tokenised: bool = False,
                   merges: int = 10_000, codes: str | Path | None = None, max_words: int = 175,
                   max_ratio: float = 1.5) -> Path:
    """Write the folder that :class:`SubwordCorpus` reads; existing files are replaced once everything has been checked.

    The raw archive of IWSLT'14 (with ``train.tags.de-en.de``) is cleaned and split as is usual: tags left out, every
    23rd of the clean training pairs for validation, dev2010, dev2012 and tst2010 to tst2012 for testing.  Any other
    source holds ``<split>.<language>``, which may be gzipped.  All text is tokenised as Moses does and lower-cased;
    training pairs with more than ``max_words`` tokens on a side, with none, or with a ratio above ``max_ratio`` are
    left out.

    Args:
        source: Folder or tar archive.
        out: The folder to write.
        languages: Source and target.
        splits: Names of the files of the three splits (not for the raw archive).
        tokenised: The text is tokenised, lower-cased and clean; references are then made by detokenising.
        merges: Byte-pair merges to learn on both languages together.
        codes: A file of merges to use instead; by default ``code`` of the source where it is tokenised and has one.
        max_words, max_ratio: Limits of the cleaning.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is truncated, is no text, or has another number of lines than its other language; or what
            is to be written lies in ``source`` or is ``codes``.
    """
    root = Path(out)
    check_outputs([root / SETTINGS, root / CODES], [source, *([codes] if codes else [])])
    files = TextFiles(source)
    de, en = languages
    if f'train.tags.{de}-{en}.{de}' in files:
        raw = _read_iwslt(files, languages)
        if tokenised:
            raise ValueError(f'{source} holds the raw IWSLT archive, which is not tokenised: leave --tokenised out')
    else:
        raw = {name: files.parallel(f'{file}.{de}', f'{file}.{en}')
               for name, file in zip(('train', 'valid', 'test'), splits, strict=True)}
    words = raw if tokenised else {name: _tokenise(pairs, languages, name) for name, pairs in raw.items()}
    if not tokenised:
        kept = [i for i, pair in enumerate(words['train']) if _is_clean(pair, max_words, max_ratio)]
        print_log(f'train: {len(words["train"]) - len(kept)} of {len(words["train"])} pairs left out: empty, above '
                  f'{max_words} tokens, or with a ratio above {max_ratio}')
        for texts in (raw, words):
            texts['train'] = [texts['train'][i] for i in kept]
    if 'valid' not in raw:
        for texts in (raw, words):
            train = texts.pop('train')
            texts['train'] = [pair for i, pair in enumerate(train, 1) if i % _VALID_EVERY]
            texts['valid'] = train[_VALID_EVERY - 1::_VALID_EVERY]
    if not words['train']:
        raise ValueError(f'{source}: no training pair is left after cleaning')

    contents = {}
    if codes is None and tokenised and 'code' in files:
        contents[CODES] = '\n'.join(files.lines('code')) + '\n'
    elif codes is not None:
        contents[CODES] = '\n'.join(TextFiles(Path(codes).parent).lines(Path(codes).name)) + '\n'
    else:
        print_log(f'learning {merges} merges')
        contents[CODES] = learn_merges(words['train'], merges)
    with tempfile.TemporaryDirectory() as staging:
        (Path(staging) / CODES).write_bytes(contents[CODES].encode())
        bpe = load_bpe(Path(staging) / CODES)
        for side, language in enumerate(languages):
            for name in ('train', 'valid', 'test'):
                lines = [' '.join(bpe.segment_tokens(pair[side].split())) for pair in words[name]]
                contents[f'{name}.{language}'] = _join(lines)
                if name == 'train':
                    contents[f'vocab.{language}'] = count_tokens(line.split() for line in lines)
        for name in ('valid', 'test'):
            references = [detokenise(pair[1], en) if tokenised else pair[1] for pair in raw[name]]
            contents[f'{name}.detok.{en}'] = _join(references)
        settings = dict(source=de, target=en, lowercase=True, reference='detokenised' if tokenised else 'raw',
                        lines={name: len(words[name]) for name in ('train', 'valid', 'test')})
        contents[SETTINGS] = json.dumps(settings, indent=2) + '\n'
    write_whole_files(root, contents.items())  # the settings, which make the folder a corpus, come last
    return root


def learn_merges(pairs: list[tuple[str, str]], merges: int) -> str:
    """The file of ``merges`` byte-pair merges for both sides together."""
    text, codes = io.StringIO(_join([pair[side] for side in (0, 1) for pair in pairs])), io.StringIO()
    with contextlib.redirect_stderr(io.StringIO()):  # it draws a progress bar
        import_extra('subword_nmt.learn_bpe').learn_bpe(text, codes, merges)
    return codes.getvalue()


def _join(lines: list[str]) -> str:
    return ''.join(f'{line}\n' for line in lines)


def _read_iwslt(files: TextFiles, languages: tuple[str, str]) -> Splits:
    """Training and test pairs of the raw archive; the validation pairs come from the clean training pairs."""
    pair = '-'.join(languages)
    columns = []
    for language in languages:
        lines = files.lines(f'train.tags.{pair}.{language}')
        lines = [line for line in lines if not re.search('<(url|talkid|keywords)>', line)]
        columns.append([' '.join(re.sub('</?(title|description)>', ' ', line).split()) for line in lines])
    if len(columns[0]) != len(columns[1]):
        raise ValueError(f'{files.source} is not parallel: train.tags.{pair} has {len(columns[0])} sentences in '
                         f'{languages[0]} and {len(columns[1])} in {languages[1]}; one of the files was truncated')
    test = []
    for name in _TEST_SETS:
        sides = [_segments(files, f'IWSLT14.{name}.{pair}.{language}.xml') for language in languages]
        if len(sides[0]) != len(sides[1]):
            raise ValueError(f'{files.source} is not parallel: {name} has {len(sides[0])} segments in {languages[0]} '
                             f'and {len(sides[1])} in {languages[1]}; one of the files was truncated')
        test += zip(*sides, strict=True)
    return dict(train=list(zip(*columns, strict=True)), test=test)


def _segments(files: TextFiles, name: str) -> list[str]:
    lines = [line for line in files.lines(name) if '<seg id' in line]
    return [re.sub(r'<seg id="\d+">|</seg>', '', line).replace('’', "'").strip() for line in lines]


def _tokenise(pairs: list[tuple[str, str]], languages: tuple[str, str], name: str) -> list[tuple[str, str]]:
    print_log(f'{name}: tokenising {len(pairs)} pairs')
    return [tuple(tokenise(text, language, True) for text, language in zip(pair, languages, strict=True))
            for pair in pairs]


def _is_clean(pair: tuple[str, str], max_words: int, max_ratio: float) -> bool:
    short, long = sorted(len(side.split()) for side in pair)
    return 0 < short and long <= max_words and long <= max_ratio * short
