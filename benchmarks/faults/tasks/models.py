"""Small networks of common kinds."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


def mlp(sizes: list[int], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Fully connected layers of these sizes, with an activation between them."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


def deep_mlp(sizes: list[int]) -> nn.Sequential:
    """Fully connected layers with ReLUs, with He initialization, which many layers need."""
    model = mlp(sizes)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    return model


def cnn(normalized: bool) -> nn.Sequential:
    """Two convolutions and two fully connected layers, for images ``[1, 8, 8]``."""

    def norm(channels: int) -> nn.Module:
        return nn.BatchNorm2d(channels) if normalized else nn.Identity()

    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), norm(12), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1), norm(24), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(96, 48), nn.ReLU(), nn.Linear(48, 10),
    )  # fmt: skip


def dropout_cnn() -> nn.Sequential:
    """Two strided convolutions and two fully connected layers, for images ``[3, 12, 12]``."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Dropout(0.2), nn.Linear(288, 64), nn.ReLU(), nn.Linear(64, 6),
    )  # fmt: skip


def dropout_mlp() -> nn.Sequential:
    """Three fully connected layers, for 30 measurements and two classes."""
    return nn.Sequential(
        nn.Linear(30, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 32), nn.ReLU(),
        nn.Linear(32, 2),
    )  # fmt: skip


def convolutional_autoencoder() -> nn.Sequential:
    """Two convolutions to a quarter of the size and two back, for images ``[1, 8, 8]``."""
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(12, 8, 3, stride=2, padding=1), nn.ReLU(),
        nn.ConvTranspose2d(8, 16, 2, stride=2), nn.ReLU(), nn.ConvTranspose2d(16, 1, 2, stride=2),
    )  # fmt: skip


class DepthwiseConvolution(nn.Module):
    """A depthwise convolution and two that mix channels, beside a shortcut."""

    def __init__(self, channels: int) -> None:
        """Build it."""
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm = nn.GroupNorm(1, channels)
        self.wide = nn.Conv2d(channels, 4 * channels, 1)
        self.narrow = nn.Conv2d(4 * channels, channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Features ``[batch, channels, height, width]``."""
        hidden = self.wide(self.norm(self.depthwise(images)))
        mixed: Tensor = images + self.narrow(functional.gelu(hidden))
        return mixed


def depthwise_cnn() -> nn.Sequential:
    """Depthwise convolutions, for images ``[3, 12, 12]``."""
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, stride=3), DepthwiseConvolution(24), DepthwiseConvolution(24),
        nn.Flatten(), nn.Linear(384, 6),
    )  # fmt: skip


class Mixer(nn.Module):
    """Mixes 16 patches of 2 × 2 pixels of an image ``[1, 8, 8]``, then their features, twice."""

    def __init__(self, width: int) -> None:
        """Build it, with two blocks."""
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.across = nn.ModuleList(self._mixing(16, 32) for _ in range(2))
        self.within = nn.ModuleList(self._mixing(width, 2 * width) for _ in range(2))
        self.output = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[batch, 10]``."""
        hidden = self.patches(images).flatten(2).transpose(1, 2)
        for across, within in zip(self.across, self.within, strict=True):
            hidden = hidden + across(hidden.transpose(1, 2)).transpose(1, 2)
            hidden = hidden + within(hidden)
        logits: Tensor = self.output(hidden.mean(1))
        return logits

    @staticmethod
    def _mixing(size: int, hidden: int) -> nn.Sequential:
        return nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, hidden), nn.GELU(), nn.Linear(hidden, size)
        )


class CoordinateNetwork(nn.Module):
    """Sines and cosines of a point, and five fully connected layers."""

    frequencies: Tensor

    def __init__(self, activation: Callable[[], nn.Module] = nn.ReLU) -> None:
        """Build it."""
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("frequencies", 5 * torch.randn(2, 32, generator=generator))
        self.layers = mlp([64, 64, 48, 48, 48, 1], activation)

    def forward(self, points: Tensor) -> Tensor:
        """Values ``[batch, 1]``."""
        angles = points @ self.frequencies
        values: Tensor = self.layers(torch.cat([angles.sin(), angles.cos()], dim=1))
        return values


class BagOfWords(nn.Module):
    """A large embedding, its mean over the words, and two fully connected layers."""

    def __init__(self, tokens: int, width: int, classes: int) -> None:
        """Build it."""
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.hidden = nn.Linear(width, 2 * width)
        self.output = nn.Linear(2 * width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``[batch, classes]``."""
        logits: Tensor = self.output(torch.relu(self.hidden(self.embedding(tokens).mean(1))))
        return logits


class PairOfNumbers(nn.Module):
    """An embedding of two numbers, and two fully connected layers."""

    def __init__(self, numbers: int, width: int) -> None:
        """Build it."""
        super().__init__()
        self.embedding = nn.Embedding(numbers, width)
        self.hidden = nn.Linear(2 * width, 4 * width)
        self.output = nn.Linear(4 * width, numbers)

    def forward(self, pairs: Tensor) -> Tensor:
        """Logits ``[batch, numbers]``."""
        hidden = torch.relu(self.hidden(self.embedding(pairs).flatten(1)))
        logits: Tensor = self.output(hidden)
        return logits


class ResidualConvolutions(nn.Module):
    """Two convolutions with group norm, beside a shortcut."""

    def __init__(self, channels: int) -> None:
        """Build it."""
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.first_norm = nn.GroupNorm(4, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.GroupNorm(4, channels)

    def forward(self, images: Tensor) -> Tensor:
        """Features ``[batch, channels, height, width]``."""
        hidden = torch.relu(self.first_norm(self.first(images)))
        return torch.relu(images + self.second_norm(self.second(hidden)))


def group_norm_resnet() -> nn.Sequential:
    """A residual network for images ``[1, 8, 8]``."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.MaxPool2d(2), ResidualConvolutions(16),
        ResidualConvolutions(16), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


class ResidualMLP(nn.Module):
    """Layer norm, two fully connected layers, and a shortcut, several times."""

    def __init__(self, inputs: int, width: int, outputs: int, blocks: int) -> None:
        """Build it."""
        super().__init__()
        self.input = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(),
                nn.Linear(2 * width, width),
            )
            for _ in range(blocks)
        )  # fmt: skip
        self.output = nn.Linear(width, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Predictions ``[batch, outputs]``."""
        hidden = self.input(inputs)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        predictions: Tensor = self.output(hidden)
        return predictions


class TransformerBlock(nn.Module):
    """Attention and two fully connected layers, each beside a shortcut."""

    def __init__(self, width: int, heads: int, causal: bool, norm_first: bool) -> None:
        """Build it."""
        super().__init__()
        self.heads, self.causal, self.norm_first = heads, causal, norm_first
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Features ``[batch, length, width]``."""
        if self.norm_first:
            hidden = hidden + self._attend(self.attention_norm(hidden))
            mixed: Tensor = hidden + self.mlp(self.mlp_norm(hidden))
            return mixed
        hidden = self.attention_norm(hidden + self._attend(hidden))
        normalized: Tensor = self.mlp_norm(hidden + self.mlp(hidden))
        return normalized

    def _attend(self, hidden: Tensor) -> Tensor:
        batch, length, width = hidden.shape
        shape = (batch, length, self.heads, width // self.heads)
        queries, keys, values = (
            part.view(shape).transpose(1, 2)
            for part in self.queries_keys_values(hidden).chunk(3, dim=-1)
        )
        mixed = functional.scaled_dot_product_attention(
            queries, keys, values, is_causal=self.causal
        )
        output: Tensor = self.attention_output(mixed.transpose(1, 2).reshape(hidden.shape))
        return output


class Transformer(nn.Module):
    """Embedding of tokens and positions, blocks, and a prediction for every position."""

    def __init__(
        self,
        tokens: int,
        length: int,
        width: int,
        *,
        causal: bool,
        norm_first: bool = True,
        blocks: int = 2,
    ) -> None:
        """Build it, with four heads in each block."""
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.positions = nn.Embedding(length, width)
        # PyTorch's default N(0, 1) is too wide for the usual learning rates.
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.normal_(self.positions.weight, std=0.1)
        self.blocks = nn.Sequential(
            *(TransformerBlock(width, 4, causal, norm_first) for _ in range(blocks))
        )
        self.norm = nn.LayerNorm(width) if norm_first else nn.Identity()
        self.output = nn.Linear(width, tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``[batch, length, tokens]``."""
        positions = torch.arange(tokens.shape[1])
        hidden = self.blocks(self.embedding(tokens) + self.positions(positions))
        logits: Tensor = self.output(self.norm(hidden))
        return logits


class VisionTransformer(nn.Module):
    """A transformer over the 16 patches of 2 × 2 pixels of an image ``[1, 8, 8]``."""

    def __init__(self, width: int) -> None:
        """Build it, with two blocks of four heads."""
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.positions = nn.Parameter(torch.randn(16, width) / 10)
        self.blocks = nn.Sequential(*(TransformerBlock(width, 4, False, True) for _ in range(2)))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[batch, 10]``."""
        patches = self.patches(images).flatten(2).transpose(1, 2)
        hidden = self.norm(self.blocks(patches + self.positions))
        logits: Tensor = self.output(hidden.mean(1))
        return logits


class RecurrentLanguageModel(nn.Module):
    """Embedding, recurrent layers, and a prediction for every position."""

    def __init__(
        self,
        tokens: int,
        width: int,
        kind: type[nn.RNN] | type[nn.GRU] | type[nn.LSTM],
        layers: int = 1,
    ) -> None:
        """Build it."""
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.recurrent = kind(width, 2 * width, layers, batch_first=True)
        self.output = nn.Linear(2 * width, tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``[batch, length, tokens]``."""
        logits: Tensor = self.output(self.recurrent(self.embedding(tokens))[0])
        return logits


class WordPredictor(nn.Module):
    """A large embedding; each word is predicted from it and the two before it."""

    def __init__(self, tokens: int, width: int) -> None:
        """Build it."""
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.hidden = nn.Linear(3 * width, 2 * width)
        self.output = nn.Linear(2 * width, tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``[batch, length, tokens]``."""
        embedded = self.embedding(tokens)
        before = [functional.pad(embedded, (0, 0, lag, 0))[:, : tokens.shape[1]] for lag in (1, 2)]
        hidden = torch.relu(self.hidden(torch.cat([embedded, *before], dim=-1)))
        logits: Tensor = self.output(hidden)
        return logits
