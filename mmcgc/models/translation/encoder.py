"""Turn a source sentence into one vector for each of its tokens."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .embedding import Embedding
from .layers import EncoderLayer
from .vocabulary import PAD


class Encoder(nn.Module):
    """A stack of layers, each with a token mixer and a feed-forward layer.

    Args:
        vocabulary: Rows of the embedding.
        mixer: Config of the token mixer, a ``ConvMixer`` or ``SelfAttention``; channels and the like are filled in.
        kernel_sizes: One for each layer, for token mixers that have kernels.
        num_layers: The number of layers, for token mixers that have no kernels.
        channels, hidden, heads: C, the width of the feed-forward layers, and the heads of the token mixer.
        dropout: Of the embedding and of what each part adds.

    Raises:
        ValueError: If both or neither of ``kernel_sizes`` and ``num_layers`` are given.
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
    ) -> None:
        super().__init__()
        self.embedding = Embedding(vocabulary, channels, dropout)
        mixer = dict(mixer, channels=channels, heads=heads)
        self.layers = nn.ModuleList(
            EncoderLayer(config, channels, hidden, dropout) for config in mixers(mixer, kernel_sizes, num_layers)
        )

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Encode (B, S), padded with zeros, as (B, S, C), and give the mask of the padding, (B, S)."""
        padding = tokens.eq(PAD)  # (B, S)
        x = self.embedding(tokens)  # (B, S, C)
        for layer in self.layers:
            x = layer(x, padding)
        return x, padding


def mixers(mixer: dict, kernel_sizes: Sequence[int] | None, num_layers: int | None) -> list[dict]:
    """Give the configs of the token mixers, layer by layer."""
    if (kernel_sizes is None) == (num_layers is None):
        raise ValueError(
            'give kernel_sizes, one for each layer, to a token mixer with kernels, num_layers to one '
            f'without; got kernel_sizes={kernel_sizes} and num_layers={num_layers}'
        )
    return [dict(mixer, kernel_size=k) for k in kernel_sizes] if kernel_sizes else [dict(mixer)] * num_layers
