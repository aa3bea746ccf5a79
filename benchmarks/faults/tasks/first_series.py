"""The tasks of the first three series."""

from __future__ import annotations

import functools

from torch import nn

from faults.tasks import data, models
from faults.tasks.data import Examples
from faults.tasks.learning_rates import multiples
from faults.tasks.task import Task
from faults.tasks.text_sizes import LENGTH, VOCABULARY


@functools.cache
def _topics_characters() -> Examples:
    return data.characters(data.topics_text(), LENGTH)


@functools.cache
def _topics_words() -> Examples:
    return data.words(data.topics_text(), 8, VOCABULARY)


@functools.cache
def _docstrings_characters() -> Examples:
    return data.characters(data.docstrings_text(), LENGTH)


@functools.cache
def _docstrings_words() -> Examples:
    return data.words(data.docstrings_text(), 8, VOCABULARY)


@functools.cache
def _source_characters() -> Examples:
    return data.characters("\n".join(data.sources()[:12]), LENGTH)


def _modules_to_name() -> Examples:
    return data.modules_to_name(12, VOCABULARY)


def _source_transformer() -> nn.Module:
    return models.Transformer(_source_characters().classes, LENGTH, 40, causal=True, blocks=3)


def _source_gru() -> nn.Module:
    return models.RecurrentLanguageModel(_source_characters().classes, 24, nn.GRU, layers=2)


def _character_transformer() -> nn.Module:
    return models.Transformer(_topics_characters().classes, LENGTH, 48, causal=True)


_DEEP_RELU = [64, *[48] * 7, 10]
_DEEP_TANH = [64, *[40] * 5, 10]

FIRST: tuple[Task, ...] = (
    Task(
        "mlp", 1, data.digits, lambda: models.mlp([64, 96, 64, 10]), multiples(3e-3, 0.03),
        matrix="3.weight", relu_layer="3", float16=True,
    ),
    Task(
        "cnn", 1, data.digits, lambda: models.cnn(False), multiples(3e-3, 0.03),
        matrix="4.weight", relu_layer="9", float16=True,
    ),
    Task(
        "character_transformer", 1, _topics_characters, _character_transformer,
        multiples(3e-3, 0.1),
        matrix="blocks.0.mlp.2.weight", batch_size=16,
    ),
    Task(
        "word_predictor", 1, _topics_words, lambda: models.WordPredictor(VOCABULARY, 32),
        multiples(3e-3, 0.3),
        matrix="hidden.weight", relu_layer="hidden", large_embedding=True, batch_size=16,
    ),
    Task(
        "gru", 1, _topics_characters,
        lambda: models.RecurrentLanguageModel(_topics_characters().classes, 32, nn.GRU),
        multiples(3e-3, 0.3),
        matrix="recurrent.weight_hh_l0", batch_size=16,
    ),
    Task(
        "deep_relu_mlp", 1, data.digits, lambda: models.deep_mlp(_DEEP_RELU),
        multiples(1e-3, 0.01),
        matrix="9.weight", relu_layer="9",
        deep_sigmoid=lambda: models.mlp(_DEEP_RELU, nn.Sigmoid),
    ),
    Task(
        "regression", 1, data.diabetes, lambda: models.mlp([10, 64, 64, 1]), multiples(3e-3, 0.03),
        matrix="3.weight", relu_layer="3", float16=True,
    ),
    Task(
        "post_norm_transformer", 1, data.sequences_to_sort,
        lambda: models.Transformer(16, 12, 32, causal=False, norm_first=False),
        multiples(3e-3, 0.1),
        matrix="blocks.0.mlp.2.weight",
    ),
    Task(
        "batch_norm_cnn", 2, data.digits, lambda: models.cnn(True), multiples(3e-3, 0.03),
        matrix="4.weight", relu_layer="9", float16=True,
    ),
    Task(
        "group_norm_resnet", 2, data.digits, models.group_norm_resnet, multiples(3e-3, 0.03),
        matrix="2.second.weight", relu_layer="2.first_norm",
    ),
    Task(
        "vision_transformer", 2, data.digits, lambda: models.VisionTransformer(32),
        multiples(1e-3, 0.1), matrix="blocks.0.mlp.2.weight",
    ),
    Task(
        "word_transformer", 2, _docstrings_words,
        lambda: models.Transformer(VOCABULARY, 8, 32, causal=True), multiples(3e-3, 0.3),
        matrix="blocks.0.mlp.2.weight", large_embedding=True, batch_size=16,
    ),
    Task(
        "lstm", 2, _docstrings_characters,
        lambda: models.RecurrentLanguageModel(_docstrings_characters().classes, 32, nn.LSTM),
        multiples(1e-2, 0.3), matrix="recurrent.weight_hh_l0", batch_size=16,
    ),
    Task(
        "autoencoder", 2, data.images_to_restore,
        lambda: models.mlp([64, 48, 12, 48, 64]),
        multiples(3e-3, 0.3), matrix="3.weight", relu_layer="5",
        float16=True,
    ),
    Task(
        "deep_tanh_mlp", 2, data.digits, lambda: models.mlp(_DEEP_TANH, nn.Tanh),
        multiples(3e-3, 0.03),
        matrix="7.weight", deep_sigmoid=lambda: models.mlp(_DEEP_TANH, nn.Sigmoid),
    ),
    Task(
        "residual_regression", 2, data.teacher,
        lambda: models.ResidualMLP(16, 32, 4, 3),
        multiples(3e-3, 0.03), matrix="blocks.1.3.weight",
        relu_layer="blocks.1.1", float16=True,
    ),
    Task(
        "dropout_cnn", 3, data.patches_to_place, models.dropout_cnn,
        multiples(3e-3, 0.03), matrix="6.weight",
        relu_layer="6", float16=True, steps=300,
    ),
    Task(
        "depthwise_cnn", 3, data.patches_to_place, models.depthwise_cnn, multiples(3e-3, 0.01),
        matrix="2.wide.weight",
    ),
    Task(
        "source_transformer", 3, _source_characters, _source_transformer, multiples(3e-3, 0.1),
        matrix="blocks.1.mlp.2.weight", batch_size=16,
    ),
    Task(
        "source_gru", 3, _source_characters, _source_gru, multiples(1e-2, 0.3),
        matrix="recurrent.weight_hh_l1", batch_size=16,
    ),
    Task(
        "mixer", 3, data.digits, lambda: models.Mixer(24),
        multiples(3e-3, 0.03), matrix="within.0.3.weight",
    ),
    Task(
        "dropout_mlp", 3, data.tumours, models.dropout_mlp,
        multiples(3e-3, 0.03), matrix="3.weight",
        relu_layer="3", float16=True,
    ),
    Task(
        "coordinate_network", 3, data.pixels, models.CoordinateNetwork, multiples(1e-3, 0.03),
        matrix="layers.5.weight", relu_layer="layers.5", float16=True, batch_size=64, steps=400,
        deep_sigmoid=lambda: models.CoordinateNetwork(nn.Sigmoid),
    ),
    Task(
        "convolutional_autoencoder", 3, data.square_images_to_restore,
        models.convolutional_autoencoder,
        multiples(3e-3, 0.1), matrix="2.weight", relu_layer="4", steps=300,
    ),
    Task(
        "bag_of_words", 3, _modules_to_name,
        lambda: models.BagOfWords(VOCABULARY, 32, _modules_to_name().classes),
        multiples(3e-2, 0.1),
        matrix="hidden.weight", relu_layer="hidden", large_embedding=True, steps=400,
    ),
    Task(
        "modular_sum", 3, data.sums_modulo_53, lambda: models.PairOfNumbers(53, 32),
        multiples(1e-2, 0.3),
        matrix="hidden.weight", relu_layer="hidden", batch_size=64, steps=300,
    ),
)  # fmt: skip
