"""Runs whose schedule goes wrong or whose settings were replaced, and runs that just miss it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from synthetic_runs import Change, column, hyperparameter, loaded_at, optimizer, statistic

from rule_runs.parts import NearMiss

ZERO: list[Change] = [
    column("lr", 0.0),
    hyperparameter("lr", 0.0),
    statistic("update_to_weight_ratio", 0.0),
]


def cosine(period: float, low: float = 0.0) -> Change:
    """A learning rate that falls to a share of its peak over a period, and continues."""
    share = (1 - low) / 2
    return column("lr", lambda t: 1e-3 * (low + share * (1 + np.cos(np.pi * (t - 1) / period))))


def triangles(period: float) -> Change:
    """A learning rate that goes down and up in straight lines, like CyclicLR's."""
    return column("lr", lambda t: 1e-3 * np.abs((t - 1) / period % 2 - 1))


def stairs(length: int, *lrs: float) -> Change:
    """A learning rate that changes once per ``length`` steps; the last one stays."""
    return column(
        "lr", lambda t: np.array(lrs)[np.minimum((t - 1) // length, len(lrs) - 1).astype(int)]
    )


EPOCH_WARMUP = (1e-5, 2e-4, 4e-4, 6e-4, 8e-4, 1e-3)

PLANTED: dict[str, Sequence[Change]] = {
    "lr_zero": ZERO,
    "lr_jump": [column("lr", 0.1, from_step=200)],
    "lr_decayed_early": [column("lr", 1e-6, from_step=200)],
    "lr_far_below_schedule": [
        column("lr", lambda t: 1e-6 * t),
        optimizer("AdamW", initial_lr=5e-3),
    ],
    "lr_rises_again": [cosine(125)],
    "replaced_settings": [loaded_at(200, lr=(1e-4, 3e-3), beta2=(0.95, 0.999))],
    "warmup_not_over": [column("lr", lambda t: 1e-6 * t)],
}

NEAR: list[NearMiss] = [
    ("lr_zero", "at first", [*ZERO, column("lr", 1e-3, from_step=5)]),
    ("lr_zero", "in one group", [column("lr", 0.0), hyperparameter("lr", 0.0, group=0)]),
    ("lr_jump", "rises too little", [column("lr", 4e-3, from_step=200)]),
    (
        "lr_jump",
        "returns to its peak",
        [column("lr", 1e-4, from_step=100), column("lr", 1e-3, from_step=200)],
    ),
    ("lr_jump", "warm-up", [column("lr", lambda t: 1e-12 * 10.0 ** np.minimum(t, 9))]),
    ("lr_jump", "warm-up of a group", [hyperparameter("lr", lambda t: 1e-12 * 10.0 ** (t / 50))]),
    (
        "warmup_not_over",
        "at the start of a long run",
        [column("lr", lambda t: 1e-6 * t), lambda run: replace(run, total_steps=5000)],
    ),
    ("warmup_not_over", "over", [column("lr", lambda t: 1e-6 * np.minimum(t, 400))]),
    (
        "warmup_not_over",
        "far below what it leads to",
        [column("lr", lambda t: 1e-6 * t), optimizer("AdamW", initial_lr=5e-3)],
    ),
    (
        "lr_far_below_schedule",
        "more than half",
        [column("lr", lambda t: 1e-6 * t), optimizer("AdamW", initial_lr=9e-4)],
    ),
    (
        "lr_far_below_schedule",
        "at the start of a long run",
        [
            column("lr", lambda t: 1e-6 * t),
            optimizer("AdamW", max_lr=5e-3),
            lambda run: replace(run, total_steps=5000),
        ],
    ),
    (
        "lr_far_below_schedule",
        "a factor that decays",
        [
            optimizer("AdamW", initial_lr=1.0),
            column("lr", lambda t: 1e-3 / t**0.5),
            lambda run: replace(run, total_steps=500),
        ],
    ),
    (
        "lr_far_below_schedule",
        "the warm-up of a schedule that multiplies a learning rate of 1",
        [
            optimizer("Adam", initial_lr=1.0),
            column("lr", lambda t: 4e-6 * t),
            lambda run: replace(run, total_steps=900),
        ],
    ),
    ("lr_far_below_schedule", "a factor so far", [optimizer("AdamW", initial_lr=1.0)]),
    (
        "lr_far_below_schedule",
        "it came near before",
        [
            column("lr", lambda t: 5e-3 * np.exp(-t / 50)),
            optimizer("AdamW", initial_lr=2e-4, max_lr=5e-3),
        ],
    ),
    ("replaced_settings", "nothing", [loaded_at(200)]),
    (
        "replaced_settings",
        "set again",
        [loaded_at(200, weight_decay=(0.1, 0.01)), hyperparameter("weight_decay", 0.1)],
    ),
    (
        "replaced_settings",
        "set at every step",
        [loaded_at(200, lr=(1e-4, 3e-3)), hyperparameter("lr", lambda t: 3e-3 - 1e-6 * t)],
    ),
    ("replaced_settings", "a decayed learning rate", [loaded_at(200, lr=(1e-3, 1e-4))]),
    (
        "replaced_settings",
        "put back by the schedule",
        [
            optimizer("AdamW", initial_lr=1e-3),
            loaded_at(200, lr=(1e-4, 1e-3)),
            hyperparameter("lr", 1e-4, from_step=201),
        ],
    ),
    ("lr_rises_again", "a restart", [column("lr", lambda t: 1e-3 * (1.001 - (t % 100) / 100))]),
    ("lr_rises_again", "straight lines", [triangles(125)]),
    ("lr_rises_again", "not so low", [cosine(125, low=0.3)]),
    ("lr_rises_again", "the end of a period", [cosine(440)]),
    (
        "lr_rises_again",
        "a second warm-up",
        [
            column("lr", lambda t: 5e-4 * (1 + np.cos(np.pi * t / 250))),
            column("lr", lambda t: 1e-3 * np.minimum(1, ((t - 250) / 30) ** 2), from_step=251),
        ],
    ),
    ("lr_jump", "an epoch of a warm-up", [stairs(60, *EPOCH_WARMUP)]),
    ("lr_jump", "the only epoch of a warm-up", [stairs(60, 1e-5, 1e-3, 9e-4, 7e-4, 5e-4)]),
    (
        "lr_jump",
        "what the schedule was made with",
        [column("lr", 1e-2, from_step=200), optimizer("AdamW", initial_lr=1e-2)],
    ),
    ("lr_decayed_early", "at the end", [column("lr", 1e-6, from_step=400)]),
    ("lr_decayed_early", "not so low", [column("lr", 2e-5, from_step=200)]),
]


def warmed_up(steps: Any) -> Any:
    return 1e-3 * np.where(steps <= 50, steps / 50, 0.5 * (1 + np.cos(np.pi * (steps - 50) / 450)))
