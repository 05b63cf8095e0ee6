"""Turn lists of token numbers into padded tensors on the model's device."""

from __future__ import annotations

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ...registry import MODELS
from ...signatures import shows_arguments
from .vocabulary import PAD


@MODELS.register_module()
@shows_arguments()
class TextPreprocessor(BaseDataPreprocessor):
    """Pads sentences at their end.

    Args:
        source_vocabulary, target_vocabulary: Rows of the model's embeddings.
        **kwargs: Of BaseDataPreprocessor.
    """

    def __init__(self, source_vocabulary: int, target_vocabulary: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.source_vocabulary, self.target_vocabulary = source_vocabulary, target_vocabulary

    def forward(self, data: dict, training: bool = False) -> dict:
        """Pad a collated batch.

        Args:
            data: ``inputs``, and ``targets`` if there are any, each a list of (T,) integer tensors that end with
                ``</s>``; ``data_samples`` are passed on.
            training: Not used.

        Returns:
            ``inputs`` (B, S), ``targets`` (B, T), ``data_samples``.

        Raises:
            ValueError: If a number is outside the vocabulary.
        """
        padded = dict(data, inputs=self._pad(data['inputs'], self.source_vocabulary, 'source'))
        if data.get('targets') is not None:
            padded['targets'] = self._pad(data['targets'], self.target_vocabulary, 'target')
        return padded

    def _pad(self, sentences: list[Tensor], size: int, side: str) -> Tensor:
        batch = pad_sequence([sentence.long() for sentence in sentences], batch_first=True, padding_value=PAD)
        if batch.numel() and (batch.min() < 0 or batch.max() >= size):
            largest = int(torch.stack([batch.max(), -batch.min()]).max())
            raise ValueError(
                f'{side} token {largest} is outside the vocabulary of {size} that the model was built '
                'with; give the model and the data set the same vocabulary files'
            )
        return self.cast_data(batch)
