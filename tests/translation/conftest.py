"""Tiny translation models of every kind, and a tiny prepared corpus."""

from pathlib import Path

import pytest
import torch
from stand_ins import parallel_text
from translation_kinds import ATTENTION, KINDS

from mmcgc.datasets.translation.prepare import prepare_corpus
from mmcgc.models.translation import TranslationModel


@pytest.fixture
def build():
    """Builds a tiny model of a kind in float64, in eval mode, with every parameter away from its initial value."""

    def build(kind: str, vocabulary: int = 16, **kwargs) -> TranslationModel:
        torch.manual_seed(0)
        encoder, decoder = (
            dict(
                mixer=mixer,
                channels=8,
                hidden=12,
                heads=2,
                dropout=0.1,
                **(dict(num_layers=2) if mixer is ATTENTION else dict(kernel_sizes=[3, 5])),
            )
            for mixer in KINDS[kind]
        )
        decoder['tied'] = kind == 'transformer'
        model = TranslationModel(vocabulary, vocabulary, encoder, decoder, **kwargs).double()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
        return model.eval()

    return build


@pytest.fixture(scope='session')
def raw(tmp_path_factory) -> Path:
    """Plain pairs: 200 to train, 20 to validate, 20 to test."""
    return parallel_text(tmp_path_factory.mktemp('raw'))


@pytest.fixture(scope='session')
def corpus_folder(raw, tmp_path_factory) -> Path:
    """The same, prepared."""
    return prepare_corpus(raw, tmp_path_factory.mktemp('corpus') / 'tiny', merges=40)
