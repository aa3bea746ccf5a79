"""The families: what is trained, with which published settings, and what can go wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from real.families import (
    classifier,
    fine_tuning,
    gan,
    language_model,
    reinforcement,
    third_party,
    vae,
)
from real.recipe import kinds, loop
from real.recipe.kinds import Kind
from real.recipe.learner import Learner, MakeLearner, Measure
from real.recipe.settings import HALVES, Half, Settings

# Trains, with the recording in a folder, and returns the loss of the last step.
Train = Callable[[Learner, Settings, Path], float]


@dataclass(frozen=True)
class Family:
    """A common kind of training.

    Attributes:
        name: Name of its folder.
        make: Makes the model and its data.
        settings_of: The published settings, by half.
        measure: What is measured on held-out data.
        kinds: Healthy ones and faults.
        train: The loop.
        halves: The halves that include it.
    """

    name: str
    make: MakeLearner
    settings_of: Callable[[Half], Settings]
    measure: Measure
    kinds: tuple[Kind, ...]
    train: Train = loop.train
    halves: tuple[Half, ...] = HALVES


def _with(settings_of: Callable[[Half], Settings], **values: object) -> Callable[[Half], Settings]:
    return lambda half: dataclasses.replace(settings_of(half), **values)  # type: ignore[arg-type]


_LANGUAGE_MODEL = (
    kinds.HEALTHY, kinds.LR_10, kinds.LR_30, kinds.LR_3, kinds.LR_TENTH, kinds.NO_WARM_UP,
    kinds.DECAY_30, kinds.EPS, kinds.BF16, kinds.BAD_BATCH, kinds.WARM_UP_TOO_LONG,
    kinds.BF16_AT_A_TENTH, kinds.BAD_BATCH_NO_CLIP,
)  # fmt: skip
_LONG = (
    kinds.HEALTHY, kinds.LR_10, kinds.LR_30, kinds.LR_TENTH, kinds.NO_WARM_UP, kinds.DECAY_30,
    kinds.LR_3, kinds.EPS, kinds.BF16, kinds.BF16_AT_A_TENTH, kinds.BAD_BATCH,
    kinds.BAD_BATCH_NO_CLIP,
)  # fmt: skip
_SMALL_LANGUAGE_MODEL = (
    *_LANGUAGE_MODEL, kinds.BETA2_LOW, kinds.BETA2_HIGH, kinds.PER_EPOCH,
    kinds.SEVERAL_TIMES, kinds.LR_0, kinds.replaced("tokens"), kinds.left_out("blocks.1"),
    kinds.KEEPS_GRADIENTS, kinds.UNSCALES_BEFORE_CLIPPING, kinds.CLIPS_BEFORE_UNSCALING,
    kinds.DECAY_ON_GAINS, kinds.LARGE_EMBEDDING, kinds.frozen("blocks.1"),
    kinds.NO_CLIPPING, kinds.LONGER_WARM_UP,
)  # fmt: skip
_LEARNING_RATES = (kinds.HEALTHY, kinds.LR_10, kinds.LR_30, kinds.LR_3, kinds.LR_TENTH)
_FINE_TUNING = (
    *_LEARNING_RATES, kinds.LR_HUNDREDTH, kinds.WARM_UP_TOO_LONG, kinds.DECAY_30, kinds.EPS,
    kinds.BF16, kinds.BAD_BATCH, kinds.LR_0, kinds.PER_EPOCH, kinds.SEVERAL_TIMES,
    kinds.replaced("tokens"), kinds.replaced("head"), kinds.left_out("blocks.1"),
    kinds.KEEPS_GRADIENTS, kinds.frozen("blocks.1"), kinds.DECAY_ON_GAINS,
)  # fmt: skip
_ADAPTERS = (
    *_LEARNING_RATES, kinds.LR_HUNDREDTH, kinds.WARM_UP_TOO_LONG, kinds.LR_0, kinds.EPS, kinds.BF16,
    kinds.left_out("blocks.1"), kinds.KEEPS_GRADIENTS, kinds.PER_EPOCH,
)  # fmt: skip
_MUON = (
    *_LEARNING_RATES, kinds.NO_WARM_UP, kinds.WARM_UP_TOO_LONG, kinds.DECAY_30, kinds.BF16,
    kinds.LR_0, kinds.BAD_BATCH, kinds.frozen("blocks.1"), kinds.KEEPS_GRADIENTS,
)  # fmt: skip
_CLASSIFIER_SGD = (
    *_LEARNING_RATES, kinds.LR_HUNDREDTH, kinds.DECAY_30, kinds.BF16, kinds.BAD_BATCH, kinds.LR_0,
    kinds.PER_EPOCH, kinds.SEVERAL_TIMES, kinds.KEEPS_GRADIENTS, kinds.frozen("3"),
    kinds.left_out("3"), kinds.replaced("8"), kinds.LARGE_WEIGHTS,
)  # fmt: skip
_CLASSIFIER_ADAMW = (
    *_LEARNING_RATES, kinds.LR_HUNDREDTH, kinds.DECAY_30, kinds.EPS, kinds.BETA2_LOW,
    kinds.BETA2_HIGH, kinds.BF16, kinds.BAD_BATCH, kinds.LR_0, kinds.PER_EPOCH,
    kinds.SEVERAL_TIMES, kinds.KEEPS_GRADIENTS, kinds.frozen("3"), kinds.left_out("3"),
    kinds.LARGE_WEIGHTS, kinds.UNSCALES, kinds.CLIPS_BEFORE_UNSCALING_AT_1,
)  # fmt: skip
_VAE = (
    *_LEARNING_RATES, kinds.LR_HUNDREDTH, kinds.EPS, kinds.BETA2_LOW, kinds.BETA2_HIGH, kinds.BF16,
    kinds.BAD_BATCH, kinds.LR_0, kinds.KEEPS_GRADIENTS, kinds.left_out("decoder"),
    kinds.frozen("encoder"), kinds.WARM_UP_TOO_LONG, kinds.LARGE_WEIGHTS,
)  # fmt: skip
_GAN = (
    kinds.HEALTHY, kinds.LR_10, kinds.LR_30, kinds.LR_TENTH, kinds.LR_0, kinds.EPS,
    kinds.LEFTOVER_GRADIENTS, kinds.FAST_DISCRIMINATOR,
)  # fmt: skip
_PPO = (
    *_LEARNING_RATES, kinds.LR_0, kinds.EPS, kinds.BF16, kinds.BAD_BATCH,
    kinds.KEEPS_GRADIENTS, kinds.left_out("actor"), kinds.WARM_UP_TOO_LONG,
)  # fmt: skip
_REINFORCE = (
    *_LEARNING_RATES, kinds.LR_0, kinds.EPS, kinds.BF16, kinds.BAD_BATCH, kinds.KEEPS_GRADIENTS,
    kinds.WARM_UP_TOO_LONG,
)  # fmt: skip

_SMALL_SETTINGS = _with(language_model.settings_of, steps=400, warm_up_steps=60)

FAMILIES: tuple[Family, ...] = (
    Family(
        "language_model", language_model.make, language_model.settings_of, "nats", _LANGUAGE_MODEL
    ),
    Family(
        "language_model_2000",
        language_model.make,
        _with(language_model.settings_of, steps=2000),
        "nats",
        _LONG,
    ),
    Family(
        "small_language_model",
        language_model.make_small,
        _SMALL_SETTINGS,
        "nats",
        _SMALL_LANGUAGE_MODEL,
    ),
    Family("fine_tuning", fine_tuning.make, fine_tuning.settings_of, "nats", _FINE_TUNING),
    Family(
        "lora", fine_tuning.make_with_adapters, fine_tuning.settings_of_adapters, "nats", _ADAPTERS
    ),
    Family(
        "muon", language_model.make_small, _with(_SMALL_SETTINGS, optimizer="muon and adamw"),
        "nats", _MUON,
    ),
    Family(
        "classifier_sgd", classifier.make, classifier.sgd_settings, "accuracy", _CLASSIFIER_SGD
    ),
    Family(
        "classifier_adamw",
        classifier.make,
        classifier.adamw_settings,
        "accuracy",
        _CLASSIFIER_ADAMW,
    ),
    Family("vae", vae.VaeLearner, vae.settings_of, "nats", _VAE),
    Family("gan", gan.GanLearner, gan.settings_of, "distance", _GAN, gan.train),
    Family("ppo", reinforcement.PpoLearner, reinforcement.ppo_settings, "return", _PPO),
    Family(
        "reinforce",
        reinforcement.ReinforceLearner,
        reinforcement.reinforce_settings,
        "return",
        _REINFORCE,
    ),
    *(
        Family(
            f"third_party_{'mlp' if half == 'tuning' else 'cnn'}",
            classifier.make_plain,
            classifier.plain_settings,
            "accuracy",
            third_party.kinds_of(half),
            halves=(half,),
        )
        for half in HALVES
    ),
)  # fmt: skip
