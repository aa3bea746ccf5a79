"""Runs with unsuitable betas or eps, or a damaged state, and runs that just miss it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from synthetic_runs import Change, dtype, hyperparameter, make_run, optimizer, retyped_at, statistic

from rule_runs.parts import BIASES, LAYERS, NAN, NearMiss

_LOW_BETA2 = hyperparameter("beta2", 0.3)

RESET: list[Change] = [
    statistic("momentum_gradient_cosine", NAN, from_step=200, to_step=200),
    statistic("gradient_exp_avg_cosine", 1.0, from_step=200, to_step=200),
    statistic("gradient_surprise", NAN, from_step=200, to_step=200),
]
HALF: list[Change] = [dtype("float16", "float16")]
EPS: list[Change] = [
    statistic("epsilon_fraction", 0.9),
    statistic("epsilon_10_fraction", 0.95),
    hyperparameter("eps", 0.1),
]
LOST = [statistic("lost_update_fraction", 0.8), statistic("update_slope", 0.3)]

PLANTED: dict[str, Sequence[Change]] = {
    "state_reset": RESET,
    "state_type_changed": [retyped_at(200, "bfloat16")],
    "step_not_counted": [statistic("state_step", 1.0)],
    "eps_rounds_to_zero": HALF,
    "second_moment_underflow": [
        statistic("second_moment_underflow_fraction", 0.2, of=["layers.2.weight"])
    ],
    "lost_updates": [*LOST, dtype("bfloat16", "bfloat16")],
    "beta2_too_low": [statistic("second_moment_flicker", 0.4), _LOW_BETA2],
    "beta1_too_high": [hyperparameter("beta1", 0.999)],
    "eps_dominates": EPS,
    "eps_influences": [statistic("epsilon_10_fraction", 0.8)],
    "second_moment_frozen": [statistic("second_moment_frozen_fraction", 0.99)],
    "bimodal_update": [statistic("update_bimodality", 0.6)],
}

NEAR: list[NearMiss] = [
    ("state_reset", "moments go on", [RESET[0], RESET[2]]),
    ("state_reset", "cosine is known", RESET[1:]),
    (
        "state_reset",
        "a few parameters",
        [
            statistic(name, value, of=LAYERS[:2], from_step=200, to_step=200)
            for name, value in (
                ("momentum_gradient_cosine", NAN),
                ("gradient_surprise", NAN),
                ("gradient_exp_avg_cosine", 1.0),
            )
        ],
    ),
    (
        "state_reset",
        "the others have overflown",
        [
            *RESET,
            statistic(
                "gradient_exp_avg_cosine", NAN, of=[*LAYERS, *BIASES], from_step=200, to_step=200
            ),
        ],
    ),
    ("state_reset", "overflow", [*RESET[:2], statistic("gradient_surprise", np.inf)]),
    (
        "state_reset",
        "first record",
        [
            statistic("momentum_gradient_cosine", NAN, only=[0]),
            statistic("gradient_exp_avg_cosine", 1.0, only=[0]),
            statistic("gradient_surprise", NAN, only=[0]),
        ],
    ),
    ("state_type_changed", "same type", [retyped_at(200, "float32")]),
    (
        "step_not_counted",
        "counts",
        [statistic("state_step", np.arange(len(make_run().step))[:, None])],
    ),
    (
        "step_not_counted",
        "no gradient",
        [statistic("state_step", 1.0), statistic("zero_gradient_fraction", 1.0)],
    ),
    ("eps_rounds_to_zero", "large enough", [*HALF, hyperparameter("eps", 1e-4)]),
    ("eps_rounds_to_zero", "state in float32", [dtype("float16", "float32")]),
    ("eps_rounds_to_zero", "weights in float32", [dtype("float32", "float16")]),
    ("eps_rounds_to_zero", "fused", [*HALF, optimizer("AdamW", fused=True)]),
    ("second_moment_underflow", "little", [statistic("second_moment_underflow_fraction", 0.04)]),
    (
        "second_moment_underflow",
        "short",
        [statistic("second_moment_underflow_fraction", 0.9, only=[9, 10])],
    ),
    ("lost_updates", "less than half", [*LOST, statistic("lost_update_fraction", 0.45)]),
    ("lost_updates", "rounded stochastically", [*LOST, statistic("update_slope", 1.04)]),
    (
        "lost_updates",
        "little in half precision",
        [LOST[1], statistic("lost_update_fraction", 0.25), dtype("bfloat16", "bfloat16")],
    ),
    ("beta1_too_high", "usual", [hyperparameter("beta1", 0.95)]),
    ("beta1_too_high", "Lion", [hyperparameter("beta1", 0.99), optimizer("Lion")]),
    (
        "beta1_too_high",
        "no exp_avg",
        [
            hyperparameter("beta1", 0.99),
            lambda run: replace(run, groups=tuple(replace(g, storage={}) for g in run.groups)),
        ],
    ),
    (
        "lost_updates",
        "no gradients",
        [*LOST, statistic("zero_gradient_fraction", 0.6)],
    ),
    (
        "lost_updates",
        "short",
        [LOST[1], statistic("lost_update_fraction", 0.9, only=[9, 10, 11, 12])],
    ),
    ("beta2_too_low", "quiet", [statistic("second_moment_flicker", 0.07), _LOW_BETA2]),
    ("beta2_too_low", "beta2 is high", [statistic("second_moment_flicker", 0.4)]),
    (
        "beta2_too_low",
        "first steps",
        [statistic("second_moment_flicker", 0.4, to_step=20), _LOW_BETA2],
    ),
    ("eps_dominates", "healthy", [statistic("epsilon_fraction", 0.23)]),
    ("eps_dominates", "first steps", [statistic("epsilon_fraction", 0.9, to_step=20)]),
    ("eps_influences", "first steps", [statistic("epsilon_10_fraction", 0.9, to_step=20)]),
    (
        "eps_dominates",
        "dead units",
        [*EPS[:1], statistic("zero_second_moment_fraction", 0.85)],
    ),
    ("second_moment_frozen", "less", [statistic("second_moment_frozen_fraction", 0.3)]),
    ("bimodal_update", "healthy", [statistic("update_bimodality", 0.08)]),
    ("bimodal_update", "first steps", [statistic("update_bimodality", 1.0, to_step=20)]),
]
