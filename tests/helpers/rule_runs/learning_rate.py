"""Runs whose learning rate is too high or too low, and runs that just miss it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from synthetic_runs import Change, column, hyperparameter, optimizer, statistic

from rule_runs.parts import BIASES, LAYERS, NAN, WITHOUT_FIRST, NearMiss, flat_loss
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun


def gain(value: float, from_step: float = 0) -> Change:
    """Record a gain ratio at every tenth step."""
    return lambda run: column(
        "gain_ratio", lambda t: np.where(t % 10 == 0, value, NAN), from_step=from_step
    )(run)


SLOW: list[Change] = [
    statistic("momentum_gradient_cosine", 0.5),
    statistic("update_to_weight_ratio", 3e-5),
]
RADAM: list[Change] = [
    optimizer("RAdam"),
    statistic("momentum_gradient_cosine", 0.5),
    statistic("update_to_weight_ratio", 6e-4),
]
TOO_FAST: list[Change] = [statistic("update_to_weight_ratio", 0.246, to_step=16)]
RMSPROP: list[Change] = [
    optimizer("RMSprop", WITHOUT_FIRST),
    hyperparameter("beta2", NAN),
    hyperparameter("alpha", 0.99),
]


def growing(times: float, by_step: float = 200) -> Change:
    """Let all weights grow by a factor up to a step, and then stay."""

    def change(run: RecordedRun) -> RecordedRun:
        first = run.statistics["weight_rms"][:1]
        share = np.clip(run.step / by_step, 0, 1)[:, None]
        return statistic("weight_rms", first * (1 + (times - 1) * share))(run)

    return change


GROWS: list[Change] = [growing(6.0)]
LOSS_ROSE: list[Change] = [column("loss", 4.0, from_step=2, to_step=40)]

PLANTED: dict[str, Sequence[Change]] = {
    "lr_too_high": TOO_FAST,
    "lr_too_low": SLOW,
    "gain_ratio_low": [gain(0.3)],
    "weights_grow": GROWS,
}

NEAR: list[NearMiss] = [
    ("weights_grow", "three times the learning rate", [growing(3.5)]),
    ("weights_grow", "slowly", [growing(6.0, 900)]),
    ("weights_grow", "Lion", [*GROWS, optimizer("Lion")]),
    ("weights_grow", "resumed", [*GROWS, lambda run: replace(run, step=run.step + 50)]),
    ("weights_grow", "two matrices", [*GROWS, statistic("weight_rms", 0.0, of=LAYERS, only=[0])]),
    (
        "weights_grow",
        "back within a few records",
        [statistic("weight_rms", 9.0, only=[20, 21])],
    ),
    ("gain_ratio_low", "best learning rate", [gain(0.8)]),
    ("gain_ratio_low", "a few records", [gain(0.8), gain(0.1, from_step=440)]),
    ("lr_too_high", "healthy start", [statistic("update_to_weight_ratio", 0.05, to_step=16)]),
    ("lr_too_high", "short", [statistic("update_to_weight_ratio", 0.2, to_step=2)]),
    (
        "lr_too_high",
        "the loss does not rise",
        [statistic("update_to_weight_ratio", 0.06, to_step=16), column("loss", 2.3, to_step=40)],
    ),
    (
        "lr_too_high",
        "the loss rises, and steps are short",
        [statistic("update_to_weight_ratio", 0.03, to_step=16), *LOSS_ROSE],
    ),
    (
        "lr_too_high",
        "the loss is recorded now and then",
        [
            statistic("update_to_weight_ratio", 0.06, to_step=16),
            column("loss", lambda t: np.where(t % 2 == 1, 2.3, NAN)),
        ],
    ),
    (
        "lr_too_high",
        "the loss rises and recovers",
        [
            statistic("update_to_weight_ratio", 0.06, to_step=16),
            column("loss", 4.0, from_step=2, to_step=15),
        ],
    ),
    ("lr_too_high", "RMSprop", [*RMSPROP, statistic("update_to_weight_ratio", 0.3, to_step=16)]),
    ("lr_too_high", "weight decay", [*TOO_FAST, statistic("weight_decay_ratio", 3.0, to_step=16)]),
    (
        "lr_too_high",
        "from zero",
        [
            statistic("weight_rms", 0.0, of=LAYERS, only=[0]),
            statistic("update_to_weight_ratio", 1.0, of=LAYERS, to_step=16),
        ],
    ),
    ("lr_too_high", "later", [statistic("update_to_weight_ratio", 0.2, from_step=60)]),
    ("lr_too_high", "biases alone", [statistic("update_to_weight_ratio", 0.2, of=BIASES)]),
    ("lr_too_low", "cosine is low", [statistic("update_to_weight_ratio", 3e-5)]),
    (
        "lr_too_low",
        "steps are long",
        [
            statistic("momentum_gradient_cosine", 0.5),
            statistic("update_to_weight_ratio", 4e-3),
        ],
    ),
    ("lr_too_low", "RAdam warms up", [*RADAM, hyperparameter("beta2", 0.9999)]),
    (
        "lr_too_low",
        "no first moment, loss falls",
        [optimizer("RMSprop", ("momentum_gradient_cosine",)), SLOW[1]],
    ),
    (
        "lr_too_low",
        "no first moment, steps are long",
        [optimizer("RMSprop", ("momentum_gradient_cosine",)), column("loss", flat_loss)],
    ),
    ("lr_too_low", "gradients have faded", [*SLOW, statistic("gradient_surprise", 0.2)]),
    (
        "lr_too_low",
        "at the start",
        [SLOW[1], statistic("momentum_gradient_cosine", 0.5, to_step=50)],
    ),
    (
        "lr_too_low",
        "short",
        [SLOW[1], statistic("momentum_gradient_cosine", 0.5, only=range(20, 27))],
    ),
]
