"""Runs with parameters left out, and gradients missing or left over, and runs that just miss it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from synthetic_runs import WEIGHTS, Change, column, statistic, unoptimized

from rule_runs.parts import BIASES, NAN, NearMiss, lr_of_group

LEFT: list[Change] = [column("stale_gradient_ratio", 0.3, from_step=200, to_step=204)]
LEFTOVER: list[Change] = [
    column("leftover_gradient_ratio", lambda t: np.where(t % 5 == 0, 0.8, 0.0), from_step=3)
]
STALE: list[Change] = [
    statistic("momentum_gradient_cosine", 0.97),
    column("gradient_norm", lambda t: 0.1 * t),
]

PLANTED: dict[str, Sequence[Change]] = {
    "not_in_optimizer": [unoptimized("head2.weight", trainable=True)],
    "frozen": [unoptimized("backbone.weight", trainable=False)],
    "no_gradient": [statistic("zero_gradient_fraction", 1.0, from_step=100)],
    "stale_gradient": STALE,
    "leftover_gradient": LEFTOVER,
    "parameter_without_gradient": [
        statistic("zero_gradient_fraction", NAN, of=["layers.1.bias"]),
        statistic("update_to_weight_ratio", 0.0, of=["layers.1.bias"]),
    ],
    "moved_without_gradient": [
        statistic("zero_gradient_fraction", 1.0, of=["layers.1.weight"], from_step=200)
    ],
}

NEAR: list[NearMiss] = [
    ("not_in_optimizer", "frozen", [unoptimized("a.weight", trainable=False)]),
    ("frozen", "trainable", [unoptimized("a.weight", trainable=True)]),
    ("frozen", "lr is 0 at first", [lambda run: lr_of_group(run, 1, [0.0, 0.0, 0.0, 1e-3])]),
    (
        "no_gradient",
        "one has",
        [statistic("zero_gradient_fraction", 1.0, of=[*WEIGHTS, *BIASES[1:]])],
    ),
    ("no_gradient", "short", [statistic("zero_gradient_fraction", 1.0, only=[20, 21])]),
    ("stale_gradient", "norm does not grow", STALE[:1]),
    ("stale_gradient", "cosine is low", STALE[1:]),
    ("stale_gradient", "short", [STALE[1], statistic("momentum_gradient_cosine", 0.97, only=[9])]),
    ("stale_gradient", "cleared", [*STALE, column("stale_gradient_ratio", 0.0)]),
    (
        "stale_gradient",
        "left twice",
        [*LEFT, column("stale_gradient_ratio", 0.0, from_step=202)],
    ),
    (
        "leftover_gradient",
        "twice",
        [*LEFTOVER, column("leftover_gradient_ratio", 0.0, from_step=11)],
    ),
    ("leftover_gradient", "next to nothing", [column("leftover_gradient_ratio", 0.009)]),
    ("leftover_gradient", "nothing", [column("leftover_gradient_ratio", 0.0)]),
    (
        "parameter_without_gradient",
        "once",
        [
            *PLANTED["parameter_without_gradient"],
            statistic("zero_gradient_fraction", 0.0, only=[3]),
        ],
    ),
    (
        "parameter_without_gradient",
        "it moves, so its gradient is unknown",
        PLANTED["parameter_without_gradient"][:1],
    ),
    (
        "no_gradient",
        "unknown ones, whose norm is known",
        [statistic("zero_gradient_fraction", NAN, from_step=100)],
    ),
    (
        "parameter_without_gradient",
        "a weight of dead units",
        [statistic("zero_gradient_fraction", 1.0, of=["layers.1.weight"])],
    ),
    ("parameter_without_gradient", "nothing has one", [statistic("zero_gradient_fraction", 1.0)]),
    (
        "moved_without_gradient",
        "hardly moves",
        [
            *PLANTED["moved_without_gradient"],
            statistic("update_to_weight_ratio", 1e-4, of=["layers.1.weight"], from_step=200),
        ],
    ),
    (
        "moved_without_gradient",
        "now and then without one",
        [statistic("zero_gradient_fraction", 1.0, of=["layers.1.weight"], only=[20, 30, 40, 45])],
    ),
    (
        "moved_without_gradient",
        "a bias",
        [statistic("zero_gradient_fraction", 1.0, of=["layers.1.bias"], from_step=200)],
    ),
]
