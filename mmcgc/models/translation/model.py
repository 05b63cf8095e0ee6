"""The translation model as MMEngine's Runner takes it."""

from __future__ import annotations

import math

import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.nn import functional as F

from ...registry import MODELS
from .decoder import Decoder
from .encoder import Encoder
from .search import beam_search
from .vocabulary import BOS, PAD, Vocabulary


@MODELS.register_module()
class TranslationModel(BaseModel):
    """An encoder and a decoder with a token mixer of choice: Transformer, LightConv, DynamicConv, CGC (paper, Table 4).

    Args:
        source_vocabulary, target_vocabulary: A vocabulary file, or the number of rows of the embedding.
        encoder: Arguments of :class:`Encoder`.
        decoder: Arguments of :class:`Decoder`.
        label_smoothing: Share of the probability that is spread over the vocabulary.
        search: ``beam`` and ``length_penalty`` of :func:`beam_search`, and ``max_length`` (a, b), which allows a
            translation of a S + b tokens for a source of S.
        data_preprocessor: Its config; by default that of a :class:`TextPreprocessor` for these vocabularies.

    Raises:
        FileNotFoundError: If a vocabulary file is missing.
        ValueError: If ``search`` has an unknown option, a beam that is not positive, or no finite length penalty.
    """

    def __init__(
        self,
        source_vocabulary: int | str,
        target_vocabulary: int | str,
        encoder: dict,
        decoder: dict,
        label_smoothing: float = 0.1,
        search: dict | None = None,
        data_preprocessor: dict | None = None,
    ) -> None:
        source, target = (
            v if isinstance(v, int) else len(Vocabulary.load(v)) for v in (source_vocabulary, target_vocabulary)
        )
        super().__init__(
            data_preprocessor or dict(type='mmcgc.TextPreprocessor', source_vocabulary=source, target_vocabulary=target)
        )
        self.encoder = Encoder(source, **encoder)
        self.decoder = Decoder(target, **decoder)
        self.label_smoothing = label_smoothing
        self.search = dict(dict(beam=6, length_penalty=1.0, max_length=(1.5, 20)), **(search or {}))
        unknown = set(self.search) - {'beam', 'length_penalty', 'max_length'}
        if unknown:
            raise ValueError(
                f'search has no option {", ".join(sorted(unknown))}; it has beam, length_penalty and max_length'
            )
        if self.search['beam'] < 1 or not math.isfinite(self.search['length_penalty']):
            raise ValueError(
                f'beam={self.search["beam"]} must be positive, and '
                f'length_penalty={self.search["length_penalty"]} finite'
            )

    def forward(
        self,
        inputs: Tensor,
        targets: Tensor | None = None,
        data_samples: list[BaseDataElement] | None = None,
        mode: str = 'tensor',
    ) -> Tensor | dict[str, Tensor] | list[BaseDataElement]:
        """Encode, decode, train or translate.

        Args:
            inputs: (B, S) source tokens, each sentence ended by ``</s>``, padded with zeros.
            targets: (B, T) target tokens likewise; mode 'predict' does not look at them.
            data_samples: In mode 'predict', the samples to which the translations are added.
            mode: 'tensor', 'loss' or 'predict'.

        Returns:
            In mode 'tensor' the scores (B, T, V) of each target token given those before it, or without ``targets`` the
            encoded source (B, S, C).  In mode 'loss' a dict with ``loss``, the label-smoothed cross entropy in nats a
            token.  In mode 'predict' data samples with ``tokens``, the translation (T,) without ``</s>``, and its
            ``score``.
        """
        memory, padding = self.encoder(inputs)  # (B, S, C), (B, S)
        if mode == 'predict':
            return self._predict(memory, padding, data_samples)
        if targets is None:
            if mode == 'loss':
                raise ValueError("mode='loss' needs targets")
            return memory
        start = targets.new_full((len(targets), 1), BOS)
        before = torch.cat([start, targets[:, :-1]], dim=1)  # (B, T)
        logits = self.decoder(before, self.decoder.read(memory, padding))  # (B, T, V)
        if mode == 'tensor':
            return logits
        if mode != 'loss':
            raise ValueError(f"mode must be 'tensor', 'loss' or 'predict', got {mode!r}")
        loss = F.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=PAD, label_smoothing=self.label_smoothing
        )
        return dict(loss=loss)

    def _predict(self, memory: Tensor, padding: Tensor, samples: list[BaseDataElement] | None) -> list[BaseDataElement]:
        samples = [BaseDataElement() for _ in memory] if samples is None else samples
        options = dict(self.search)
        factor, extra = options.pop('max_length')
        lengths = padding.logical_not().sum(dim=1)  # (B,)
        translations, scores = beam_search(self.decoder, memory, padding, (factor * lengths + extra).long(), **options)
        for sample, tokens, score in zip(samples, translations, scores.tolist(), strict=True):
            sample.set_data(dict(tokens=tokens, score=score))
        return samples
