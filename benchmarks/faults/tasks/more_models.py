"""The networks of the fourth series that are not plain stacks of :mod:`.models`."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from faults.tasks.more_data import pictures_of_shapes


def signal_cnn() -> nn.Sequential:
    """Two strided convolutions over time and two fully connected layers, for ``[1, 64]``."""
    return nn.Sequential(
        nn.Conv1d(1, 12, 5, stride=2, padding=2), nn.ReLU(),
        nn.Conv1d(12, 24, 5, stride=2, padding=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(384, 48), nn.ReLU(), nn.Linear(48, 5),
    )  # fmt: skip


class UNet(nn.Module):
    """Half the size and back, beside a shortcut, with batch norm, for pictures ``[1, 16, 16]``."""

    def __init__(self, channels: int) -> None:
        """Build it."""
        super().__init__()
        self.down = self._convolution(1, channels)
        self.bottom = self._convolution(channels, 2 * channels)
        self.up = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.merge = self._convolution(2 * channels, channels)
        self.output = nn.Conv2d(channels, 1, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures ``[batch, 1, height, width]``."""
        fine = self.down(pictures)
        coarse = self.up(self.bottom(functional.max_pool2d(fine, 2)))
        cleaned: Tensor = self.output(self.merge(torch.cat([fine, coarse], dim=1)))
        return cleaned

    @staticmethod
    def _convolution(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()
        )


class GatedConvolutions(nn.Module):
    """A large embedding, and gated convolutions over the previous words."""

    def __init__(self, tokens: int, width: int, layers: int) -> None:
        """Build it."""
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        nn.init.normal_(self.embedding.weight, std=0.1)
        self.layers = nn.ModuleList(nn.Conv1d(width, 2 * width, 3) for _ in range(layers))
        self.output = nn.Linear(width, tokens)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``[batch, length, tokens]``."""
        hidden = self.embedding(tokens).transpose(1, 2)
        for layer in self.layers:
            hidden = hidden + functional.glu(layer(functional.pad(hidden, (2, 0))), dim=1)
        logits: Tensor = self.output(hidden.transpose(1, 2))
        return logits


class GatedBlock(nn.Module):
    """Attention and a SwiGLU, each with an RMS norm and a shortcut; without biases."""

    def __init__(self, width: int, heads: int) -> None:
        """Build it."""
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.attention_output = nn.Linear(width, width, bias=False)
        self.wide = nn.Linear(width, 4 * width, bias=False)
        self.narrow = nn.Linear(2 * width, width, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Features ``[batch, length, width]``."""
        hidden = hidden + self._attend(self.attention_norm(hidden))
        gate, values = self.wide(self.mlp_norm(hidden)).chunk(2, dim=-1)
        mixed: Tensor = hidden + self.narrow(functional.silu(gate) * values)
        return mixed

    def _attend(self, hidden: Tensor) -> Tensor:
        queries, keys, values = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.queries_keys_values(hidden).chunk(3, dim=-1)
        )
        mixed = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        output: Tensor = self.attention_output(mixed.transpose(1, 2).flatten(2))
        return output


class TiedTransformer(nn.Module):
    """A causal transformer whose output layer shares the weights of its embedding."""

    def __init__(self, tokens: int, length: int, width: int) -> None:
        """Build it, with two blocks of four heads."""
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.positions = nn.Embedding(length, width)
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.normal_(self.positions.weight, std=0.1)
        self.blocks = nn.Sequential(*(GatedBlock(width, 4) for _ in range(2)))
        self.norm = nn.RMSNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``[batch, length, tokens]``."""
        hidden = self.embedding(tokens) + self.positions.weight[: tokens.shape[1]]
        return functional.linear(self.norm(self.blocks(hidden)), self.embedding.weight)


class DeepSets(nn.Module):
    """The same two layers for every point of a set ``[points, 3]``, their mean, and two more."""

    def __init__(self, width: int) -> None:
        """Build it."""
        super().__init__()
        self.point = nn.Sequential(
            nn.Linear(3, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.whole = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))

    def forward(self, sets: Tensor) -> Tensor:
        """Predictions ``[batch, 3]``."""
        predictions: Tensor = self.whole(self.point(sets).mean(1))
        return predictions


class MatrixFactorization(nn.Module):
    """Two large embeddings whose product, with a bias per row, is a rating."""

    def __init__(self, users: int, items: int, width: int) -> None:
        """Build it."""
        super().__init__()
        self.users, self.items = nn.Embedding(users, width), nn.Embedding(items, width)
        self.user_bias, self.item_bias = nn.Embedding(users, 1), nn.Embedding(items, 1)
        for embedding in (self.users, self.items, self.user_bias, self.item_bias):
            nn.init.normal_(embedding.weight, std=0.3)

    def forward(self, pairs: Tensor) -> Tensor:
        """Ratings ``[batch, 1]``."""
        user, item = pairs.unbind(dim=1)
        product = (self.users(user) * self.items(item)).sum(-1, keepdim=True)
        rating: Tensor = product + self.user_bias(user) + self.item_bias(item)
        return rating


class BagOfTrigrams(nn.Module):
    """The mean of rows of a large embedding, and one fully connected layer."""

    def __init__(self, buckets: int, width: int, classes: int) -> None:
        """Build it."""
        super().__init__()
        self.bag = nn.EmbeddingBag(buckets, width, mode="mean")
        self.output = nn.Linear(width, classes)

    def forward(self, trigrams: Tensor) -> Tensor:
        """Logits ``[batch, classes]``."""
        logits: Tensor = self.output(self.bag(trigrams))
        return logits


class SqueezeExcite(nn.Module):
    """Weights each channel by the content of all of them."""

    def __init__(self, channels: int) -> None:
        """Build it."""
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // 4)
        self.excite = nn.Linear(channels // 4, channels)

    def forward(self, features: Tensor) -> Tensor:
        """Features ``[batch, channels, height, width]``."""
        hidden = torch.relu(self.squeeze(features.mean((2, 3))))
        return features * torch.sigmoid(self.excite(hidden))[..., None, None]


def _squeeze_excite_cnn() -> nn.Sequential:
    """Strided convolutions with batch norm, for pictures ``[3, 16, 16]`` of four kinds."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(), SqueezeExcite(16),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(), SqueezeExcite(32),
        nn.Flatten(), nn.Linear(512, 4),
    )  # fmt: skip


@functools.cache
def _trained_on_other_shapes() -> Mapping[str, Tensor]:
    examples = pictures_of_shapes(0)
    # Random numbers drawn here must neither depend on the run nor affect it.
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        model = _squeeze_excite_cnn()
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(300):
            indices = torch.randint(len(examples), (32,))
            outputs = model(examples.inputs[indices])
            optimizer.zero_grad()
            functional.cross_entropy(outputs, examples.targets[indices]).backward()
            optimizer.step()
    return model.state_dict()


def pretrained_cnn() -> nn.Sequential:
    """A network that has learned to name other shapes, with a new last layer."""
    model = _squeeze_excite_cnn()
    known = {k: v for k, v in _trained_on_other_shapes().items() if not k.startswith("9.")}
    model.load_state_dict(known, strict=False)
    return model


class GraphNetwork(nn.Module):
    """Three rounds of messages between the nodes of a graph ``[nodes, nodes]``, with layer norm."""

    def __init__(self, width: int) -> None:
        """Build it."""
        super().__init__()
        self.input = nn.Linear(2, width)
        self.rounds = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(3))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.output = nn.Linear(width, 4)

    def forward(self, edges: Tensor) -> Tensor:
        """Logits ``[batch, 4]``."""
        degree = edges.sum(-1, keepdim=True) / 4
        hidden = self.input(torch.cat([degree, torch.ones_like(degree)], dim=-1))
        for layer, norm in zip(self.rounds, self.norms, strict=True):
            messages = edges @ hidden / 4
            hidden = norm(hidden + torch.relu(layer(torch.cat([hidden, messages], dim=-1))))
        logits: Tensor = self.output(hidden.mean(1))
        return logits
