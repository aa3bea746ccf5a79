"""Small networks of the kinds that people train."""

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
    """Fully connected layers with ReLUs, and the initial weights of He that many layers need."""
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
        self, tokens: int, length: int, width: int, *, causal: bool, norm_first: bool = True
    ) -> None:
        """Build it, with two blocks of four heads."""
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.positions = nn.Embedding(length, width)
        # PyTorch's own N(0, 1) is too wide for the usual learning rates.
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.normal_(self.positions.weight, std=0.1)
        self.blocks = nn.Sequential(
            *(TransformerBlock(width, 4, causal, norm_first) for _ in range(2))
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
    """Embedding, a recurrent layer, and a prediction for every position."""

    def __init__(self, tokens: int, width: int, kind: type[nn.GRU] | type[nn.LSTM]) -> None:
        """Build it."""
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.recurrent = kind(width, 2 * width, batch_first=True)
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
