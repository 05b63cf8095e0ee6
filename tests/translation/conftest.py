"""Tiny translation models of every kind, and a tiny prepared corpus."""

import random
from pathlib import Path

import pytest
import torch
from translation_kinds import ATTENTION, KINDS

from mmcgc.datasets.translation.prepare import prepare_corpus
from mmcgc.models.translation import TranslationModel


@pytest.fixture
def build():
    """Builds a tiny model of a kind in float64, in eval mode, with every parameter away from its initial value."""

    def build(kind: str, vocabulary: int = 16, **kwargs) -> TranslationModel:
        torch.manual_seed(0)
        encoder, decoder = (
            dict(mixer=mixer, channels=8, hidden=12, heads=2, dropout=0.1,
                 **(dict(num_layers=2) if mixer is ATTENTION else dict(kernel_sizes=[3, 5]))) for mixer in KINDS[kind])
        decoder['tied'] = kind == 'transformer'
        model = TranslationModel(vocabulary, vocabulary, encoder, decoder, **kwargs).double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
        return model.eval()

    return build


GERMAN = 'der die ein Hund Katze Haus Auto läuft schläft und sieht groß klein nicht'.split()
ENGLISH = 'the a one dog cat house car runs sleeps and sees big small not'.split()


@pytest.fixture(scope='session')
def raw(tmp_path_factory) -> Path:
    """Plain pairs: 200 to train, 20 to validate, 20 to test."""
    folder = tmp_path_factory.mktemp('raw')
    generator = random.Random(0)
    for split, count in dict(train=200, valid=20, test=20).items():
        pairs = [[generator.randrange(len(GERMAN)) for _ in range(generator.randint(2, 9))] for _ in range(count)]
        for language, words in dict(de=GERMAN, en=ENGLISH).items():
            lines = [' '.join(words[i] for i in pair).capitalize() + '.\n' for pair in pairs]
            (folder / f'{split}.{language}').write_text(''.join(lines), encoding='utf-8')
    return folder


@pytest.fixture(scope='session')
def corpus_folder(raw, tmp_path_factory) -> Path:
    """The same, prepared."""
    return prepare_corpus(raw, tmp_path_factory.mktemp('corpus') / 'tiny', merges=40)
