"""Score the next target token, given an encoded source and the target so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .embedding import Embedding
from .encoder import mixers
from .layers import DecoderLayer


@dataclass
class Source:
    """An encoded source as the decoder's layers read it.

    Attributes:
        projected: Keys and values, (B, H, S, R) each, one pair for each layer.
        mask: (B, 1, 1, S), True where the source is not padding.
    """

    projected: list[tuple[Tensor, Tensor]]
    mask: Tensor

    def select(self, sentences: Tensor) -> Source:
        """Return a source that holds only those of the B sentences that have these indices."""
        return Source([(k[sentences], v[sentences]) for k, v in self.projected], self.mask[sentences])


class Decoder(nn.Module):
    """A stack of layers, each with a causal token mixer, attention to the source and a feed-forward layer.

    Args:
        vocabulary: V, rows of the embedding.
        mixer, kernel_sizes, num_layers, channels, hidden, heads, dropout: As for the encoder.
        attention_dropout: Of the weights of the attention to the source.
        tied: Use the embedding's weights for the output too.
    """

    def __init__(
        self,
        vocabulary: int,
        mixer: dict,
        kernel_sizes: Sequence[int] | None = None,
        num_layers: int | None = None,
        channels: int = 512,
        hidden: int = 1024,
        heads: int = 4,
        dropout: float = 0.3,
        attention_dropout: float = 0.1,
        tied: bool = False,
    ) -> None:
        super().__init__()
        self.embedding = Embedding(vocabulary, channels, dropout)
        mixer = dict(mixer, channels=channels, heads=heads, causal=True)
        self.layers = nn.ModuleList(
            DecoderLayer(config, channels, hidden, dropout, heads, attention_dropout)
            for config in mixers(mixer, kernel_sizes, num_layers)
        )
        self.output = nn.Linear(channels, vocabulary, bias=False)
        if tied:
            self.output.weight = self.embedding.weight
        else:
            nn.init.normal_(self.output.weight, std=channels**-0.5)

    def read(self, memory: Tensor, padding: Tensor) -> Source:
        """Prepare the encoder's output, (B, S, C) and (B, S), for :meth:`forward`."""
        projected = [layer.source.layer.project(memory) for layer in self.layers]
        return Source(projected, padding.logical_not()[:, None, None])

    def start(self) -> DecoderState:
        """Return the state before the first token."""
        return DecoderState(0, [{} for _ in self.layers])

    def forward(self, tokens: Tensor, source: Source, state: DecoderState | None = None) -> Tensor:
        """Give the scores (logits) of the token that follows each of ``tokens``.

        Args:
            tokens: (N, T), beginning with ``<s>``; with ``state``, only those since the last call.
            source: From :meth:`read`.  N is B, or B times the width of a beam, with a sentence's hypotheses in a row.
            state: It is brought up to date in place.

        Returns:
            (N, T, V).
        """
        x = self.embedding(tokens, state.position if state else 0)  # (N, T, C)
        states = state.layers if state else [None] * len(self.layers)
        for layer, projected, kept in zip(self.layers, source.projected, states, strict=True):
            x = layer(x, projected, source.mask, kept)
        if state:
            state.position += tokens.shape[1]
        return self.output(x)


@dataclass
class DecoderState:
    """What the decoder keeps between steps.

    Attributes:
        position: Number of tokens seen.
        layers: For each token mixer, tensors whose first axis is that of the hypotheses.
    """

    position: int
    layers: list[dict[str, Tensor]]

    def select(self, hypotheses: Tensor) -> None:
        """Keep the hypotheses with these indices, (N,), in that order."""
        for layer in self.layers:
            for name, tensor in layer.items():
                layer[name] = torch.index_select(tensor, 0, hypotheses)
