"""A language model of 3 million parameters: GPT blocks, trained as nanoGPT trains them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from real.families import text
from real.families.text import Corpus
from real.recipe.learner import Start
from real.recipe.settings import Half, Settings

_STD = 0.02
_JUDGED_PIECES = 20_480


@dataclass(frozen=True)
class Size:
    """The size of a language model.

    Attributes:
        layers: Number of blocks.
        width: Width of the residual stream.
        heads: Number of attention heads.
    """

    layers: int
    width: int
    heads: int


# 3.2 million parameters, and 0.8 million without embeddings.
LARGE, SMALL = Size(6, 192, 6), Size(4, 128, 4)

# By half: vocabulary size, sequence length, and whether the head is tied to the embedding.
_VARIANTS: dict[Half, tuple[int, int, bool]] = {
    "tuning": (1536, 64, False),
    "reporting": (2048, 128, True),
}


def settings_of(half: Half) -> Settings:
    """Return nanoGPT's published settings for a model of this size, 512 tokens per step."""
    _, length, _ = _VARIANTS[half]
    return Settings(
        steps=600,
        batch_size=512 // length,
        learning_rate=1e-3,
        beta2=0.99 if half == "tuning" else 0.95,
        weight_decay=0.1,
        decays="matrices",
        warm_up_steps=100,
        schedule="cosine",
        clip_norm=1.0,
    )


def corpus_of(half: Half, cache: Path) -> Corpus:
    """Return the text of a half: the standard library, or NumPy and parts of torch."""
    vocabulary, _, _ = _VARIANTS[half]
    if half == "tuning":
        return text.corpus("standard_library", text.standard_library(), vocabulary, cache)
    parts = ("numpy", "torch/nn", "torch/optim", "torch/utils", "torch/distributions")
    return text.corpus("numpy_and_torch", text.installed(*parts), vocabulary, cache)


class Block(nn.Module):
    """Attention and a feed-forward network, each with a norm and a residual connection."""

    def __init__(self, width: int, heads: int) -> None:
        """Make the layers, without biases.

        Args:
            width: Width of the residual stream.
            heads: Number of attention heads.
        """
        super().__init__()
        self._heads = heads
        self.norm_1 = nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.attended = nn.Linear(width, width, bias=False)
        self.norm_2 = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output, with the shape of ``x``: float ``[sequences, length, width]``."""
        n, length, width = x.shape
        q, k, v = (
            part.view(n, length, self._heads, width // self._heads).transpose(1, 2)
            for part in self.qkv(self.norm_1(x)).split(width, 2)
        )
        found = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attended(found.transpose(1, 2).reshape(n, length, width))
        out: Tensor = x + self.down(functional.gelu(self.up(self.norm_2(x))))
        return out


class LanguageModel(nn.Module):
    """Predicts the next token."""

    def __init__(self, size: Size, vocabulary: int, length: int, *, tied: bool) -> None:
        """Make the layers and their initial weights, as in GPT-2.

        Args:
            size: Size of the network.
            vocabulary: Number of tokens.
            length: Length of the longest sequence.
            tied: Whether the head is tied to the embedding.
        """
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, size.width)
        self.positions = nn.Embedding(length, size.width)
        self.blocks = nn.ModuleList(Block(size.width, size.heads) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.width, bias=False)
        self.head = nn.Linear(size.width, vocabulary, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                deep = name.endswith(("attended.weight", "down.weight"))
                std = _STD / math.sqrt(2 * size.layers) if deep else _STD
                nn.init.normal_(parameter, 0.0, std)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, pieces: Tensor) -> Tensor:
        """Return logits ``[sequences, length, vocabulary]`` of int64 ``[sequences, length]``."""
        x = self.tokens(pieces) + self.positions.weight[: pieces.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


class TextLearner:
    """A language model and its text.

    Attributes:
        model: The model to train.
    """

    def __init__(self, start: Start, model: nn.Module, corpus: Corpus, length: int) -> None:
        """Set what to train.

        Args:
            start: Start of the run.
            model: Returns the logits of the next tokens.
            corpus: The text.
            length: Length of a sequence.
        """
        self.model, self._corpus, self._length = model, corpus, length
        self._generator, self._sequences = start.generator, start.settings.batch_size

    def loss(self, *, bad: bool) -> Tensor:
        """Return the cross-entropy of a batch, in nats; a corrupt one is all NUL bytes."""
        pieces = self._corpus.batch(self._generator, self._sequences, self._length)
        return self._cross_entropy(torch.zeros_like(pieces) if bad else pieces)

    def judge(self) -> float:
        """Return the cross-entropy of held-out text, in nats."""
        judged = self._corpus.judged(_JUDGED_PIECES // self._length, self._length)
        with torch.no_grad():
            losses = [self._cross_entropy(part).item() for part in judged.split(16)]
        return sum(losses) / len(losses)

    def _cross_entropy(self, pieces: Tensor) -> Tensor:
        logits = self.model(pieces[:, :-1])
        return functional.cross_entropy(logits.flatten(0, 1).float(), pieces[:, 1:].flatten())


def model_of(half: Half, size: Size) -> LanguageModel:
    """Make the model of a half, untrained."""
    vocabulary, length, tied = _VARIANTS[half]
    return LanguageModel(size, vocabulary, length, tied=tied)


def make(start: Start, size: Size = LARGE) -> TextLearner:
    """Make the model and read its text."""
    _, length, _ = _VARIANTS[start.half]
    model = model_of(start.half, size)
    return TextLearner(start, model, corpus_of(start.half, start.cache), length)


def make_small(start: Start) -> TextLearner:
    """Make a smaller model for the same text."""
    return make(start, SMALL)


def sequence_length(half: Half) -> int:
    """Return the sequence length of a half."""
    return _VARIANTS[half][1]


def vocabulary_of(half: Half) -> int:
    """Return the vocabulary size of a half."""
    return _VARIANTS[half][0]
