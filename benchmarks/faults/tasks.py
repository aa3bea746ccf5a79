"""What is learned by what: a task is a network, its data, and a learning rate that suits it.

The tasks of the tuning half are other networks than those of the reporting half, and learn from
other texts and other pictures.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from . import data, models
from .data import Examples

Half = Literal["tuning", "reporting"]
# Tasks among which faults and controls were dealt out together. The second were the reporting half
# once; what was read of them has been used since.
Series = Literal[1, 2, 3]
_HALVES: dict[Series, Half] = {1: "tuning", 2: "tuning", 3: "reporting"}


@dataclass(frozen=True)
class Task:
    """A network and what it learns.

    Attributes:
        name: Of the task, which is that of the network.
        series: The tasks that it belongs to.
        examples: What it learns from.
        model: Makes the network, with the random numbers of the moment.
        learning_rate: One that suits Adam: of 1e-4, 3e-4, 1e-3 ... 3e-2 the best of 300 steps with
            a constant schedule, or the next lower where that is almost as good.
        sgd_learning_rate: The same for SGD with momentum 0.9.
        matrix: Name of a weight matrix in the middle of the network.
        relu_layer: Name of a module with a bias whose outputs go through a ReLU, or None.
        deep_sigmoid: The same network with sigmoids all the way, or None where it is not deep.
        large_embedding: Whether most rows of its embedding are not used in a batch.
        float16: Whether it trains on a CPU with weights in half precision.
        batch_size: How many examples a step takes.
        steps: How many steps its runs usually take.
    """

    name: str
    series: Series
    examples: Callable[[], Examples]
    model: Callable[[], nn.Module]
    learning_rate: float
    sgd_learning_rate: float
    matrix: str
    relu_layer: str | None = None
    deep_sigmoid: Callable[[], nn.Module] | None = None
    large_embedding: bool = False
    float16: bool = False
    batch_size: int = 32
    steps: int = 200

    @property
    def half(self) -> Half:
        """The half of the laboratory that it belongs to."""
        return _HALVES[self.series]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss: cross entropy of logits, or the squared error of floats."""
        if targets.is_floating_point():
            return functional.mse_loss(outputs.float(), targets.float())
        return functional.cross_entropy(outputs.float().flatten(0, -2), targets.flatten())


_LENGTH = 24
_VOCABULARY = 2000


@functools.cache
def _topics_characters() -> Examples:
    return data.characters(data.topics_text(), _LENGTH)


@functools.cache
def _topics_words() -> Examples:
    return data.words(data.topics_text(), 8, _VOCABULARY)


@functools.cache
def _docstrings_characters() -> Examples:
    return data.characters(data.docstrings_text(), _LENGTH)


@functools.cache
def _docstrings_words() -> Examples:
    return data.words(data.docstrings_text(), 8, _VOCABULARY)


@functools.cache
def _source_characters() -> Examples:
    return data.characters("\n".join(data.sources()[:12]), _LENGTH)


def _modules_to_name() -> Examples:
    return data.modules_to_name(12, _VOCABULARY)


def _source_transformer() -> nn.Module:
    return models.Transformer(_source_characters().classes, _LENGTH, 40, causal=True, blocks=3)


def _source_gru() -> nn.Module:
    return models.RecurrentLanguageModel(_source_characters().classes, 24, nn.GRU, layers=2)


def _character_transformer() -> nn.Module:
    return models.Transformer(_topics_characters().classes, _LENGTH, 48, causal=True)


_DEEP_RELU = [64, *[48] * 7, 10]
_DEEP_TANH = [64, *[40] * 5, 10]

TASKS: tuple[Task, ...] = (
    Task(
        "mlp", 1, data.digits, lambda: models.mlp([64, 96, 64, 10]), 3e-3, 0.03,
        matrix="3.weight", relu_layer="3", float16=True,
    ),
    Task(
        "cnn", 1, data.digits, lambda: models.cnn(False), 3e-3, 0.03,
        matrix="4.weight", relu_layer="9", float16=True,
    ),
    Task(
        "character_transformer", 1, _topics_characters, _character_transformer, 3e-3, 0.1,
        matrix="blocks.0.mlp.2.weight", batch_size=16,
    ),
    Task(
        "word_predictor", 1, _topics_words, lambda: models.WordPredictor(_VOCABULARY, 32),
        3e-3, 0.3, matrix="hidden.weight", relu_layer="hidden", large_embedding=True, batch_size=16,
    ),
    Task(
        "gru", 1, _topics_characters,
        lambda: models.RecurrentLanguageModel(_topics_characters().classes, 32, nn.GRU), 3e-3, 0.3,
        matrix="recurrent.weight_hh_l0", batch_size=16,
    ),
    Task(
        "deep_relu_mlp", 1, data.digits, lambda: models.deep_mlp(_DEEP_RELU), 1e-3, 0.01,
        matrix="9.weight", relu_layer="9",
        deep_sigmoid=lambda: models.mlp(_DEEP_RELU, nn.Sigmoid),
    ),
    Task(
        "regression", 1, data.diabetes, lambda: models.mlp([10, 64, 64, 1]), 3e-3, 0.03,
        matrix="3.weight", relu_layer="3", float16=True,
    ),
    Task(
        "post_norm_transformer", 1, data.sequences_to_sort,
        lambda: models.Transformer(16, 12, 32, causal=False, norm_first=False), 3e-3, 0.1,
        matrix="blocks.0.mlp.2.weight",
    ),
    Task(
        "batch_norm_cnn", 2, data.digits, lambda: models.cnn(True), 3e-3, 0.03,
        matrix="4.weight", relu_layer="9", float16=True,
    ),
    Task(
        "group_norm_resnet", 2, data.digits, models.group_norm_resnet, 3e-3, 0.03,
        matrix="2.second.weight", relu_layer="2.first_norm",
    ),
    Task(
        "vision_transformer", 2, data.digits, lambda: models.VisionTransformer(32), 1e-3,
        0.1, matrix="blocks.0.mlp.2.weight",
    ),
    Task(
        "word_transformer", 2, _docstrings_words,
        lambda: models.Transformer(_VOCABULARY, 8, 32, causal=True), 3e-3, 0.3,
        matrix="blocks.0.mlp.2.weight", large_embedding=True, batch_size=16,
    ),
    Task(
        "lstm", 2, _docstrings_characters,
        lambda: models.RecurrentLanguageModel(_docstrings_characters().classes, 32, nn.LSTM), 1e-2,
        0.3, matrix="recurrent.weight_hh_l0", batch_size=16,
    ),
    Task(
        "autoencoder", 2, data.images_to_restore,
        lambda: models.mlp([64, 48, 12, 48, 64]), 3e-3, 0.3, matrix="3.weight", relu_layer="5",
        float16=True,
    ),
    Task(
        "deep_tanh_mlp", 2, data.digits, lambda: models.mlp(_DEEP_TANH, nn.Tanh), 3e-3,
        0.03, matrix="7.weight", deep_sigmoid=lambda: models.mlp(_DEEP_TANH, nn.Sigmoid),
    ),
    Task(
        "residual_regression", 2, data.teacher,
        lambda: models.ResidualMLP(16, 32, 4, 3), 3e-3, 0.03, matrix="blocks.1.3.weight",
        relu_layer="blocks.1.1", float16=True,
    ),
    Task(
        "dropout_cnn", 3, data.patches_to_place, models.dropout_cnn, 3e-3, 0.03, matrix="6.weight",
        relu_layer="6", float16=True, steps=300,
    ),
    Task(
        "depthwise_cnn", 3, data.patches_to_place, models.depthwise_cnn, 3e-3, 0.01,
        matrix="2.wide.weight",
    ),
    Task(
        "source_transformer", 3, _source_characters, _source_transformer, 3e-3, 0.1,
        matrix="blocks.1.mlp.2.weight", batch_size=16,
    ),
    Task(
        "source_gru", 3, _source_characters, _source_gru, 1e-2, 0.3,
        matrix="recurrent.weight_hh_l1", batch_size=16,
    ),
    Task(
        "mixer", 3, data.digits, lambda: models.Mixer(24), 3e-3, 0.03, matrix="within.0.3.weight",
    ),
    Task(
        "dropout_mlp", 3, data.tumours, models.dropout_mlp, 3e-3, 0.03, matrix="3.weight",
        relu_layer="3", float16=True,
    ),
    Task(
        "coordinate_network", 3, data.pixels, models.CoordinateNetwork, 1e-3, 0.03,
        matrix="layers.5.weight", relu_layer="layers.5", float16=True, batch_size=64, steps=400,
        deep_sigmoid=lambda: models.CoordinateNetwork(nn.Sigmoid),
    ),
    Task(
        "convolutional_autoencoder", 3, data.square_images_to_restore,
        models.convolutional_autoencoder, 3e-3, 0.1, matrix="2.weight", relu_layer="4", steps=300,
    ),
    Task(
        "bag_of_words", 3, _modules_to_name,
        lambda: models.BagOfWords(_VOCABULARY, 32, _modules_to_name().classes), 3e-2, 0.1,
        matrix="hidden.weight", relu_layer="hidden", large_embedding=True, steps=400,
    ),
    Task(
        "modular_sum", 3, data.sums_modulo_53, lambda: models.PairOfNumbers(53, 32), 1e-2, 0.3,
        matrix="hidden.weight", relu_layer="hidden", batch_size=64, steps=300,
    ),
)  # fmt: skip


def series_of(half: Half) -> list[Series]:
    """Return the series of a half."""
    return [series for series, belongs_to in _HALVES.items() if belongs_to == half]


def tasks_of(series: Series) -> list[Task]:
    """Return the tasks of a series."""
    return [task for task in TASKS if task.series == series]
