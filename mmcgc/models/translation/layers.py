"""The layers of encoder and decoder, with a token mixer of choice."""

from __future__ import annotations

from torch import Tensor, nn

from ...registry import MODELS
from .attention import CrossAttention


def linear(channels: int, out_channels: int) -> nn.Linear:
    """Make a linear layer with Xavier's weights and a bias of zeros."""
    layer = nn.Linear(channels, out_channels)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


@MODELS.register_module()
class ConvMixer(nn.Module):
    """A token mixer: a light convolution between two linear layers (arXiv:1901.10430, Fig. 2, without the GLU).

    Args:
        channels, heads, causal, kernel_size: Of the convolution.
        conv: Its config: LightweightConv, DynamicConv or CGLightweightConv.
    """

    def __init__(self, channels: int, heads: int, kernel_size: int, conv: dict, causal: bool = False) -> None:
        super().__init__()
        sizes = dict(channels=channels, heads=heads, kernel_size=kernel_size, causal=causal)
        self.project_in = linear(channels, channels)
        self.conv = MODELS.build(dict(conv, **sizes))
        self.project_out = linear(channels, channels)

    def forward(self, x: Tensor, padding: Tensor | None = None, state: dict[str, Tensor] | None = None) -> Tensor:
        """Mix positions, (B, T, C) -> (B, T, C); ``padding`` (B, T) and ``state`` are the convolution's."""
        return self.project_out(self.conv(self.project_in(x), padding, state))


class Residual(nn.Module):
    """Gives ``norm(x + dropout(layer(x, ...)))``, with the norm last as in the paper's baselines.

    Args:
        layer: Maps (B, T, C) to (B, T, C).
        channels: C.
        dropout: Of what the layer adds.
    """

    def __init__(self, layer: nn.Module, channels: int, dropout: float) -> None:
        super().__init__()
        self.layer, self.dropout, self.norm = layer, nn.Dropout(dropout), nn.LayerNorm(channels)

    def forward(self, x: Tensor, *args) -> Tensor:
        """Add the layer's result to its input: (B, T, C) -> (B, T, C)."""
        return self.norm(x + self.dropout(self.layer(x, *args)))


class FeedForward(nn.Sequential):
    """Two linear layers with a ReLU between them, at each position."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__(linear(channels, hidden), nn.ReLU(), linear(hidden, channels))


class EncoderLayer(nn.Module):
    """A token mixer and a feed-forward layer.

    Args:
        mixer: Config of the token mixer.
        channels, hidden: C, and the width of the feed-forward layer.
        dropout: Of what each part adds.
    """

    def __init__(self, mixer: dict, channels: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.mixer = Residual(MODELS.build(mixer), channels, dropout)
        self.feed_forward = Residual(FeedForward(channels, hidden), channels, dropout)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """Map (B, S, C) to (B, S, C); ``padding`` is (B, S), True where a position is padding."""
        return self.feed_forward(self.mixer(x, padding))


class DecoderLayer(nn.Module):
    """A causal token mixer, attention to the source and a feed-forward layer.

    Args:
        mixer, channels, hidden, dropout: As for :class:`EncoderLayer`.
        heads: Of the attention to the source.
        attention_dropout: Of its weights.
    """

    def __init__(
        self, mixer: dict, channels: int, hidden: int, dropout: float, heads: int, attention_dropout: float
    ) -> None:
        super().__init__()
        self.mixer = Residual(MODELS.build(mixer), channels, dropout)
        self.source = Residual(CrossAttention(channels, heads, attention_dropout), channels, dropout)
        self.feed_forward = Residual(FeedForward(channels, hidden), channels, dropout)

    def forward(
        self, x: Tensor, projected: tuple[Tensor, Tensor], mask: Tensor, state: dict[str, Tensor] | None
    ) -> Tensor:
        """Map (N, T, C) to (N, T, C); ``projected`` and ``mask`` are the source's, ``state`` the token mixer's."""
        x = self.mixer(x, None, state)
        return self.feed_forward(self.source(x, projected, mask))
