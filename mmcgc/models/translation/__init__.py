"""Machine translation: one encoder-decoder, its token mixers, beam search and vocabularies."""

from .attention import SelfAttention
from .layers import ConvMixer
from .model import TranslationModel
from .preprocessor import TextPreprocessor
from .search import beam_search
from .vocabulary import BOS, EOS, PAD, UNK, Vocabulary

__all__ = [
    'BOS',
    'EOS',
    'PAD',
    'UNK',
    'ConvMixer',
    'SelfAttention',
    'TextPreprocessor',
    'TranslationModel',
    'Vocabulary',
    'beam_search',
]
