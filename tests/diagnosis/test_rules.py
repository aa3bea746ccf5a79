"""Every rule on a run that has what it is for, on healthy runs, and on runs that just miss it."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_runs import (
    WEIGHTS,
    Change,
    changed,
    column,
    dtype,
    hyperparameter,
    loaded_at,
    make_run,
    norms_around,
    optimizer,
    replaced_at,
    retyped_at,
    statistic,
    unoptimized,
    without,
    without_column,
)

from tb_adam_plugin.diagnosis import rules
from tb_adam_plugin.diagnosis.diagnose import Diagnosis, diagnose
from tb_adam_plugin.diagnosis.engine.over_time import sum_over_steps
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun
from tb_adam_plugin.diagnosis.engine.rule import Rule
from tb_adam_plugin.diagnosis.engine.signals import Signals
from tb_adam_plugin.diagnosis.rule import Finding
from tb_adam_plugin.diagnosis.rules.decayed_gains import is_gain
from tb_adam_plugin.diagnosis.rules.registry import RULES
from tb_adam_plugin.schema import Parameter, Unoptimized

LAYERS = [f"layers.{i}.weight" for i in range(5)]
MATRICES = [*LAYERS, "head.weight"]
SQUARE = [*LAYERS[:3]]
BIASES = [f"layers.{i}.bias" for i in range(5)]
NAN = float("nan")


def flat_loss(steps: Any) -> Any:
    return np.full(np.shape(steps), 2.3)


def profile(decades: float, last: float = 0.0) -> list[float]:
    """Gradient RMS of six weights of one RMS each, so that sensitivity grows with depth.

    Args:
        decades: From the first to the last.
        last: By how many more the last one alone stands apart.
    """
    elements = [4096] * 5 + [640]
    return [10 ** (decades * i / 5 + last * (i == 5)) / n for i, n in enumerate(elements)]


def recurrent(module: str, name: str = "rnn.weight_hh_l0") -> Change:
    """Make the fourth weight one of a recurrent layer."""

    def change(run: RecordedRun) -> RecordedRun:
        parameters = (
            replace(p, name=name, shape=(256, 64), module=module)
            if p.name == "layers.3.weight"
            else p
            for p in run.parameters
        )
        return replace(run, parameters=tuple(parameters))

    return change


DEAD_GATES: list[Change] = [statistic("dead_row_fraction", 0.95, of=["layers.3.weight"])]


_LOW_BETA2 = hyperparameter("beta2", 0.3)
LEFT: list[Change] = [column("stale_gradient_ratio", 0.3, from_step=200, to_step=204)]
LEFTOVER: list[Change] = [
    column("leftover_gradient_ratio", lambda t: np.where(t % 5 == 0, 0.8, 0.0), from_step=3)
]


def shrinking(total: float, of: str = "embedding.weight") -> Change:
    """Let the RMS of a tensor fall by a factor of exp(-total) up to step 500."""

    def change(run: RecordedRun) -> RecordedRun:
        rms = 0.07 * np.exp(-total * run.step / 500)[:, None]
        return statistic("weight_rms", rms, of=[of])(run)

    return change


def mostly_frozen(run: RecordedRun) -> RecordedRun:
    return replace(run, unoptimized=(Unoptimized("backbone.weight", (1000, 1000), False),))


KEPT: list[Change] = [
    mostly_frozen,
    statistic("dead_row_fraction", 0.99, of=["embedding.weight"]),
    statistic("zero_second_moment_fraction", 0.99, of=["embedding.weight"]),
    hyperparameter("weight_decay", 0.5),
    shrinking(0.25),
]
STALE: list[Change] = [
    statistic("momentum_gradient_cosine", 0.97),
    column("gradient_norm", lambda t: 0.1 * t),
]


def gain(value: float, from_step: float = 0) -> Change:
    """Record a gain ratio at every tenth step."""
    return lambda run: column(
        "gain_ratio", lambda t: np.where(t % 10 == 0, value, NAN), from_step=from_step
    )(run)


RESET: list[Change] = [
    statistic("momentum_gradient_cosine", NAN, from_step=200, to_step=200),
    statistic("gradient_exp_avg_cosine", 1.0, from_step=200, to_step=200),
    statistic("gradient_surprise", NAN, from_step=200, to_step=200),
]
SLOW: list[Change] = [
    statistic("momentum_gradient_cosine", 0.5),
    statistic("update_to_weight_ratio", 3e-5),
]
RADAM: list[Change] = [
    optimizer("RAdam"),
    statistic("momentum_gradient_cosine", 0.5),
    statistic("update_to_weight_ratio", 6e-4),
]
CLIPPED: list[Change] = [
    column("gradient_norm", 1.0),
    column("gradient_norm_before_clip", lambda t: 40 + np.sin(t)),
]
UNSCALED_LATE: list[Change] = [
    column("gradient_norm", 0.5 / 65_536),
    column("gradient_rescaling", lambda t: np.where(t % 10 == 0, 1e-10, NAN)),
]
DECAY: list[Change] = [statistic("weight_decay_ratio", 3.0, of=WEIGHTS)]
HALF: list[Change] = [dtype("float16", "float16")]
TOO_FAST: list[Change] = [statistic("update_to_weight_ratio", 0.246, to_step=16)]
WITHOUT_FIRST = ("momentum_gradient_cosine", "gradient_exp_avg_cosine")
RMSPROP: list[Change] = [
    optimizer("RMSprop", WITHOUT_FIRST),
    hyperparameter("beta2", NAN),
    hyperparameter("alpha", 0.99),
]
LOSS_ROSE: list[Change] = [column("loss", 4.0, from_step=2, to_step=40)]
# From step 200 on every second call is none.
SKIPPING: list[Change] = [column("skipped_steps", lambda t: np.maximum(t - 200, 0))]
NOISY: list[Change] = [column("loss", flat_loss), statistic("momentum_gradient_cosine", 0.05)]
EPS: list[Change] = [
    statistic("epsilon_fraction", 0.9),
    statistic("epsilon_10_fraction", 0.95),
    hyperparameter("eps", 0.1),
]
ZERO: list[Change] = [
    column("lr", 0.0),
    hyperparameter("lr", 0.0),
    statistic("update_to_weight_ratio", 0.0),
]
VANISHING: list[Change] = [
    statistic("gradient_rms", profile(3.0), of=MATRICES),
    statistic("weight_rms", 1.0, of=MATRICES, from_step=2),
    column("loss", flat_loss),
]


# What a rule is for. One entry for every rule.
def lr_of_group(run: RecordedRun, group: int, values: Sequence[float]) -> RecordedRun:
    """Set a group's learning rate at the first records; the last value holds for the others."""
    lr = run.hyperparameters["lr"].copy()
    lr[: len(values), group], lr[len(values) :, group] = values, values[-1]
    return replace(run, hyperparameters={**run.hyperparameters, "lr": lr})


def cosine(period: float, low: float = 0.0) -> Change:
    """A learning rate that comes down to a share of its peak in so many steps, and goes on."""
    share = (1 - low) / 2
    return column("lr", lambda t: 1e-3 * (low + share * (1 + np.cos(np.pi * (t - 1) / period))))


def triangles(period: float) -> Change:
    """A learning rate that goes down and up in straight lines, as that of CyclicLR."""
    return column("lr", lambda t: 1e-3 * np.abs((t - 1) / period % 2 - 1))


def stairs(length: int, *lrs: float) -> Change:
    """A learning rate that is changed once in so many steps; the last one stays."""
    return column(
        "lr", lambda t: np.array(lrs)[np.minimum((t - 1) // length, len(lrs) - 1).astype(int)]
    )


EPOCH_WARMUP = (1e-5, 2e-4, 4e-4, 6e-4, 8e-4, 1e-3)


def layer_norms(names: Sequence[str], group: int = 0, module: str = "RMSNorm") -> Change:
    """Make vectors the gains of normalization layers, in a group."""

    def change(run: RecordedRun) -> RecordedRun:
        parameters = (
            replace(p, name=p.name.replace("bias", "weight_"), module=module, group=group)
            if p.name in names
            else p
            for p in run.parameters
        )
        return replace(run, parameters=tuple(parameters))

    return change


GAINS = layer_norms(BIASES[:2])
# Not split; decay that matters.
DECAYED: list[Change] = [
    layer_norms(BIASES, group=1),
    hyperparameter("weight_decay", 0.5),
    statistic("weight_decay_ratio", 0.4),
]
LOST = [statistic("lost_update_fraction", 0.8), statistic("update_slope", 0.3)]
PLANTED: Mapping[str, Sequence[Change]] = {
    "lr_zero": ZERO,
    "not_in_optimizer": [unoptimized("head2.weight", trainable=True)],
    "frozen": [unoptimized("backbone.weight", trainable=False)],
    "no_gradient": [statistic("zero_gradient_fraction", 1.0, from_step=100)],
    "stale_gradient": STALE,
    "leftover_gradient": LEFTOVER,
    "lr_jump": [column("lr", 0.1, from_step=200)],
    "state_reset": RESET,
    "state_type_changed": [retyped_at(200, "bfloat16")],
    "step_not_counted": [statistic("state_step", 1.0)],
    "eps_rounds_to_zero": HALF,
    "second_moment_underflow": [
        statistic("second_moment_underflow_fraction", 0.2, of=["layers.2.weight"])
    ],
    "clipped_before_unscaling": UNSCALED_LATE,
    "gradient_scale": [statistic("elasticity", 5e5)],
    "steps_skipped": SKIPPING,
    "init_too_small": [
        statistic("weight_rms", 0.001, only=[0]),
        statistic("elasticity", 1e-5, only=[0]),
    ],
    "init_too_large": [
        statistic("weight_rms", 0.5, only=[0]),
        statistic("weight_absmax", 1.0, only=[0]),
    ],
    "lost_updates": [*LOST, dtype("bfloat16", "bfloat16")],
    "beta2_too_low": [statistic("second_moment_flicker", 0.4), _LOW_BETA2],
    "lr_too_high": TOO_FAST,
    "beta1_too_high": [hyperparameter("beta1", 0.999)],
    "weight_decay_overshoots": [hyperparameter("weight_decay", 1500.0)],
    "weight_decay_too_strong": DECAY,
    "lr_decayed_early": [column("lr", 1e-6, from_step=200)],
    "lr_far_below_schedule": [
        column("lr", lambda t: 1e-6 * t),
        optimizer("AdamW", initial_lr=5e-3),
    ],
    "lr_rises_again": [cosine(125)],
    "replaced_settings": [loaded_at(200, lr=(1e-4, 3e-3), beta2=(0.95, 0.999))],
    "clip_always": CLIPPED,
    "dead_units": [statistic("dead_row_fraction", 0.7, of=["layers.3.weight"])],
    "vanishing_gradient": VANISHING,
    "eps_dominates": EPS,
    "eps_influences": [statistic("epsilon_10_fraction", 0.8)],
    "second_moment_frozen": [statistic("second_moment_frozen_fraction", 0.99)],
    "gradient_spike": [column("gradient_norm", 100.0, from_step=300, to_step=300)],
    "loss_blowup": [column("loss", 50.0, from_step=300)],
    "nonfinite": [statistic("nonfinite_count", 3.0, of=["head.weight"], from_step=400)],
    "layer_imbalance": [statistic("update_to_weight_ratio", 0.08, of=["layers.4.weight"])],
    "lr_too_low": SLOW,
    "gain_ratio_low": [gain(0.3)],
    "noise_dominated": NOISY,
    "converged": [
        column("loss", lambda t: 2.3 * np.exp(-t / 20)),
        statistic("gradient_surprise", 0.01, from_step=100),
    ],
    "stale_second_moment": [statistic("gradient_surprise", 0.01, from_step=100)],
    "clip_constant": [column("gradient_norm", 1.0)],
    "warmup_not_over": [column("lr", lambda t: 1e-6 * t)],
    "l2_in_adam": [optimizer("Adam", decoupled_weight_decay=False)],
    "decayed_gains": [GAINS, hyperparameter("weight_decay", 0.0, group=1)],
    "parameter_without_gradient": [
        statistic("zero_gradient_fraction", NAN, of=["layers.1.bias"]),
    ],
    "moved_without_gradient": [
        statistic("zero_gradient_fraction", 1.0, of=["layers.1.weight"], from_step=200)
    ],
    "idle_rows_decay": KEPT,
    "rare_rows": [
        statistic("dead_row_fraction", 0.95, of=["embedding.weight"]),
        hyperparameter("weight_decay", 0.5),
    ],
    "bimodal_update": [statistic("update_bimodality", 0.6)],
    "plateau": [column("loss", flat_loss)],
}

# Runs that lack one thing that a rule needs. Each clause of a condition is left out once.
NEAR: Sequence[tuple[str, str, Sequence[Change]]] = [
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
    ("idle_rows_decay", "little is frozen", [*KEPT, lambda run: replace(run, unoptimized=())]),
    (
        "idle_rows_decay",
        "what is frozen is small",
        [*KEPT, lambda run: replace(run, unoptimized=(Unoptimized("a", (32_000,), False),))],
    ),
    (
        "idle_rows_decay",
        "what is left out is trained elsewhere",
        [*KEPT, lambda run: replace(run, unoptimized=(Unoptimized("a", (10**6,), True),))],
    ),
    (
        "idle_rows_decay",
        "rows have gradients at times",
        [*KEPT, statistic("dead_row_fraction", 0.89, of=["embedding.weight"], only=[30])],
    ),
    ("idle_rows_decay", "hardly smaller", [*KEPT, shrinking(0.009)]),
    ("idle_rows_decay", "smaller by other means", [*KEPT, hyperparameter("weight_decay", 0.2)]),
    (
        "idle_rows_decay",
        "a weight",
        [
            mostly_frozen,
            statistic("dead_row_fraction", 0.99, of=["layers.1.weight"]),
            hyperparameter("weight_decay", 0.5),
            shrinking(0.25, "layers.1.weight"),
        ],
    ),
    ("gain_ratio_low", "best learning rate", [gain(0.8)]),
    ("gain_ratio_low", "a few records", [gain(0.8), gain(0.1, from_step=440)]),
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
    ("clipped_before_unscaling", "another norm", [column("gradient_norm", 1.7e-5)]),
    ("clipped_before_unscaling", "a small max_norm", [column("gradient_norm", 1e-3)]),
    ("clipped_before_unscaling", "a max_norm that is used", [column("gradient_norm", 2.0**-8)]),
    (
        "clipped_before_unscaling",
        "a norm that changes",
        [*UNSCALED_LATE, column("gradient_norm", lambda t: (1 + t % 2 / 2) / 65_536)],
    ),
    (
        "clipped_before_unscaling",
        "short",
        [column("gradient_norm", 1 / 65_536, from_step=100, to_step=118), UNSCALED_LATE[1]],
    ),
    (
        "clipped_before_unscaling",
        "nothing is scaled",
        [UNSCALED_LATE[0], column("gradient_rescaling", 0.01)],
    ),
    ("gradient_scale", "largest of healthy runs", [statistic("elasticity", 226.0)]),
    (
        "gradient_scale",
        "blown up",
        [statistic("elasticity", 5e5, from_step=320), column("loss", 50.0, from_step=300)],
    ),
    ("gradient_scale", "short", [statistic("elasticity", 5e5, only=[9, 10])]),
    ("steps_skipped", "now and then", [column("skipped_steps", lambda t: t // 20)]),
    ("steps_skipped", "at first", [column("skipped_steps", lambda t: np.minimum(t, 20))]),
    ("steps_skipped", "scale grows", [column("loss_scale", lambda t: 2.0 ** (t // 10))]),
    (
        "init_too_small",
        "one weight alone",
        [statistic("weight_rms", 0.0, of=["head.weight"], only=[0])],
    ),
    (
        "init_too_large",
        "trained before",
        [
            statistic("weight_rms", 0.5, only=[0]),
            statistic("weight_absmax", 5.0, only=[0]),
        ],
    ),
    (
        "init_too_large",
        "usual deviation",
        [statistic("weight_rms", 0.025, only=[0]), statistic("weight_absmax", 0.1, only=[0])],
    ),
    ("init_too_large", "later", [statistic("weight_rms", 0.5, from_step=2)]),
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
    ("weight_decay_overshoots", "shrinks", [hyperparameter("weight_decay", 990.0)]),
    (
        "weight_decay_overshoots",
        "passes through the moments",
        [
            hyperparameter("weight_decay", 1500.0),
            optimizer("Adam", decoupled_weight_decay=False),
        ],
    ),
    ("weight_decay_too_strong", "overshoots", [*DECAY, hyperparameter("weight_decay", 1500.0)]),
    ("weight_decay_too_strong", "weaker", [statistic("weight_decay_ratio", 0.4)]),
    ("weight_decay_too_strong", "first steps", [statistic("weight_decay_ratio", 3.0, to_step=20)]),
    (
        "weight_decay_too_strong",
        "no gradient",
        [*DECAY, statistic("zero_gradient_fraction", 1.0, of=WEIGHTS)],
    ),
    ("weight_decay_too_strong", "eps dominates", [*DECAY, *EPS]),
    ("weight_decay_too_strong", "no decay", [*DECAY, hyperparameter("weight_decay", 0.0)]),
    (
        "weight_decay_too_strong",
        "converged",
        [*DECAY, column("loss", lambda t: 2.3 * np.exp(-t / 2))],
    ),
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
    (
        "decayed_gains",
        "in the group that is spared",
        [layer_norms(BIASES[:2], group=1), hyperparameter("weight_decay", 0.0, group=1)],
    ),
    ("decayed_gains", "no gain", [hyperparameter("weight_decay", 0.0, group=1)]),
    (
        "decayed_gains",
        "no norm",
        [layer_norms(BIASES[:2], module="Scale"), hyperparameter("weight_decay", 0.0, group=1)],
    ),
    ("decayed_gains", "not split", [GAINS]),
    ("decayed_gains", "too little in all", [*DECAYED, hyperparameter("weight_decay", 0.1)]),
    ("decayed_gains", "little of the update", [*DECAYED, statistic("weight_decay_ratio", 0.1)]),
    ("decayed_gains", "coupled", [*DECAYED, optimizer("SGD", decoupled_weight_decay=False)]),
    (
        "decayed_gains",
        "matrices are spared, too",
        [
            GAINS,
            lambda run: replace(
                run,
                parameters=tuple(
                    replace(p, group=1) if p.name == "head.weight" else p for p in run.parameters
                ),
            ),
            hyperparameter("weight_decay", 0.0, group=1),
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
    (
        "clip_always",
        "a little",
        [CLIPPED[0], column("gradient_norm_before_clip", lambda t: 5 + np.sin(t))],
    ),
    (
        "clip_always",
        "now and then",
        [CLIPPED[0], column("gradient_norm_before_clip", lambda t: np.where(t % 10 == 0, 1, 40))],
    ),
    ("dead_units", "as in healthy networks", [statistic("dead_row_fraction", 0.5)]),
    ("dead_units", "few units", [statistic("dead_row_fraction", 0.75, of=["head.weight"])]),
    ("dead_units", "embedding", [statistic("dead_row_fraction", 0.9, of=["embedding.weight"])]),
    ("dead_units", "gates of an LSTM", [*DEAD_GATES, recurrent("LSTM")]),
    ("dead_units", "gates of what is not known", [*DEAD_GATES, recurrent("")]),
    ("dead_units", "short", [statistic("dead_row_fraction", 0.9, only=range(9, 16))]),
    ("dead_units", "first steps", [statistic("dead_row_fraction", 0.9, to_step=20)]),
    (
        "vanishing_gradient",
        "a decade and a half",
        [statistic("gradient_rms", profile(1.5), of=MATRICES), VANISHING[1]],
    ),
    (
        "vanishing_gradient",
        "not layer by layer",
        [*VANISHING, statistic("gradient_rms", 1.0, of=["layers.1.weight", "layers.2.weight"])],
    ),
    (
        "vanishing_gradient",
        "the last one stands apart",
        [*VANISHING, statistic("gradient_rms", profile(0.6, last=2.0), of=MATRICES)],
    ),
    (
        "vanishing_gradient",
        "one has no gradient",
        [*VANISHING, statistic("gradient_rms", 0.0, of=["layers.2.weight"])],
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
    ("gradient_spike", "noise", [column("gradient_norm", 4.0, from_step=300, to_step=300)]),
    ("gradient_spike", "healthy surprise", [statistic("gradient_surprise", 4.7, only=[30])]),
    (
        "gradient_spike",
        "gradients after none at all",
        [statistic("gradient_surprise", np.inf, of=LAYERS[:1], only=[30])],
    ),
    ("gradient_spike", "first steps", [statistic("gradient_surprise", 50.0, to_step=20)]),
    ("gradient_spike", "start", [column("gradient_norm", 100.0, to_step=20)]),
    ("loss_blowup", "a bad batch", [column("loss", 8.0, from_step=300, to_step=301)]),
    ("loss_blowup", "one outlier", [column("loss", 1e6, from_step=300, to_step=300)]),
    ("loss_blowup", "higher, not by half", [column("loss", 3.2, from_step=300)]),
    ("layer_imbalance", "healthy", [statistic("update_to_weight_ratio", 0.02, of=LAYERS[:1])]),
    (
        "layer_imbalance",
        "does not move",
        [statistic("update_to_weight_ratio", 0.0, of=["layers.4.weight"])],
    ),
    ("layer_imbalance", "short", [statistic("update_to_weight_ratio", 1.0, only=[9, 10])]),
    (
        "layer_imbalance",
        "starts at zero",
        [
            *PLANTED["layer_imbalance"],
            statistic("weight_rms", 0.0, of=["layers.4.weight"], only=[0]),
        ],
    ),
    (
        "layer_imbalance",
        "no gradient",
        [
            statistic("update_to_weight_ratio", 1e-9, of=["layers.4.weight"]),
            statistic("zero_gradient_fraction", 1.0, of=["layers.4.weight"]),
        ],
    ),
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
    ("noise_dominated", "loss falls", NOISY[1:]),
    ("noise_dominated", "slowly", [NOISY[1], column("loss", lambda t: 2.3 - 3e-4 * t)]),
    ("noise_dominated", "nothing is left", [NOISY[1], column("loss", 0.1, from_step=20)]),
    ("noise_dominated", "cosine", [NOISY[0], statistic("momentum_gradient_cosine", 0.4)]),
    ("noise_dominated", "still", [*NOISY, statistic("update_to_weight_ratio", 1e-5)]),
    (
        "noise_dominated",
        "at the start",
        [NOISY[1], column("loss", 2.3, to_step=190), column("loss", 1.0, from_step=191)],
    ),
    ("converged", "loss is high", PLANTED["stale_second_moment"]),
    ("converged", "gradients are fresh", [PLANTED["converged"][0]]),
    ("stale_second_moment", "converged", PLANTED["converged"]),
    ("stale_second_moment", "healthy", [statistic("gradient_surprise", 0.3)]),
    ("stale_second_moment", "none at all", [statistic("gradient_surprise", 0.0)]),
    ("clip_constant", "noise", [column("gradient_norm", lambda t: 1 + 0.01 * (t % 2))]),
    ("clip_constant", "zero", [column("gradient_norm", 0.0)]),
    (
        "clip_constant",
        "norm before is known",
        [column("gradient_norm", 1.0), column("gradient_norm_before_clip", 1.4)],
    ),
    ("l2_in_adam", "no decay", [*PLANTED["l2_in_adam"], hyperparameter("weight_decay", 0.0)]),
    ("l2_in_adam", "decoupled", [optimizer("Adam", decoupled_weight_decay=True)]),
    ("l2_in_adam", "SGD", [optimizer("SGD", decoupled_weight_decay=False)]),
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
    (
        "rare_rows",
        "other weights",
        [statistic("dead_row_fraction", 0.95, of=LAYERS), hyperparameter("weight_decay", 0.5)],
    ),
    (
        "rare_rows",
        "most are used",
        [
            statistic("dead_row_fraction", 0.7, of=["embedding.weight"]),
            hyperparameter("weight_decay", 0.5),
        ],
    ),
    ("rare_rows", "decay takes next to nothing", PLANTED["rare_rows"][:1]),
    (
        "rare_rows",
        "no decay",
        [*PLANTED["rare_rows"], hyperparameter("weight_decay", 0.0)],
    ),
    ("bimodal_update", "healthy", [statistic("update_bimodality", 0.08)]),
    ("bimodal_update", "first steps", [statistic("update_bimodality", 1.0, to_step=20)]),
    (
        "plateau",
        "an outlier where every step is recorded",
        [lambda _: make_run(every=1), column("loss", 60.0, from_step=400, to_step=400)],
    ),
    ("plateau", "falls late", [column("loss", 2.3, to_step=250), column("loss", 1, from_step=251)]),
    ("plateau", "negative loss", [column("loss", -2.3)]),
]


def found(run: RecordedRun) -> dict[str, Finding]:
    """The findings of a run, the first of each rule."""
    result: dict[str, Finding] = {}
    for finding in diagnose(run).findings:
        result.setdefault(finding.rule, finding)
    return result


def not_evaluated(diagnosis: Diagnosis) -> dict[str, str]:
    return {rule.rule: rule.reason for rule in diagnosis.not_evaluated}


def test_every_rule_is_described_in_order() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to-read.md").read_text(encoding="utf-8")
    section = page.split("## The rules")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| .+ \| ([\w, ]+) \| (.*) ?\|$", section, re.MULTILINE)
    assert [rule for rule, _, _ in rows] == [rule.id for rule in RULES]
    for rule, (_, severity, reference) in zip(RULES, rows, strict=True):
        assert reference.strip() == rule.reference
        if isinstance(rule.severity, str):
            assert severity == rule.severity


def test_every_source_is_in_the_references() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to-read.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- (.+? \d{4}), (.+)$", page.split("## References")[1], re.MULTILINE)
    sources = {source for rule in RULES for source in rule.reference.split("; ") if source}
    for source in sources:
        named = re.fullmatch(r"(.+? \d{4}), (.{0,12}).*", source)
        assert named is not None
        assert [t for a, t in listed if a == named[1] and named[2].lower() in t.lower()], source


# --- each rule ----------------------------------------------------------------------------------


def test_every_rule_has_a_run_that_it_is_for_and_one_that_just_misses_it() -> None:
    ids = [rule.id for rule in RULES]
    assert len(set(ids)) == len(ids)
    assert set(PLANTED) == set(ids)
    assert {rule for rule, _, _ in NEAR} | {"nonfinite"} == set(ids)


def test_every_rule_of_every_file_is_in_the_registry() -> None:
    of_files = []
    for file in pkgutil.iter_modules(rules.__path__):
        if file.name != "registry":
            module = importlib.import_module(f"{rules.__name__}.{file.name}")
            own = [value for value in vars(module).values() if isinstance(value, Rule)]
            assert own, f"{file.name} has no rule"
            of_files += own
    assert sorted(r.id for r in of_files) == sorted(r.id for r in RULES)


@pytest.mark.parametrize("rule", PLANTED)
def test_what_is_planted_is_found(rule: str) -> None:
    finding = found(changed(*PLANTED[rule]))[rule]
    assert finding.text
    assert finding.text.endswith((".", "?"))
    assert finding.first_step <= (finding.worst_step or 0) <= finding.last_step
    assert "nan" not in finding.text.lower().replace("nan or infin", "")
    assert "nan" not in finding.advice.lower()


@pytest.mark.parametrize("rule", PLANTED)
def test_a_rule_without_its_condition_finds_nothing(rule: str) -> None:
    """What the others say is no substitute: each planted fault needs its own rule."""
    without_condition = [replace(r, condition=lambda _: None) if r.id == rule else r for r in RULES]
    diagnosis = diagnose(changed(*PLANTED[rule]), rules=without_condition)
    assert rule not in {finding.rule for finding in diagnosis.findings}


@pytest.mark.parametrize(
    ("rule", "changes"),
    [pytest.param(rule, changes, id=f"{rule}: {what}") for rule, what, changes in NEAR],
)
def test_what_just_misses_a_rule_is_not_found(rule: str, changes: Sequence[Change]) -> None:
    run = changed(*changes)
    assert rule not in not_evaluated(diagnose(run))
    assert rule not in found(run)


WITHOUT_SECOND = (
    "gradient_surprise", "epsilon_fraction", "epsilon_10_fraction", "zero_second_moment_fraction",
    "exp_avg_sq_root", "second_moment_underflow_fraction", "second_moment_flicker",
    "update_bimodality", "second_moment_frozen_fraction",
)  # fmt: skip


def warmed_up(steps: Any) -> Any:
    return 1e-3 * np.where(steps <= 50, steps / 50, 0.5 * (1 + np.cos(np.pi * (steps - 50) / 450)))


HEALTHY: Mapping[str, RecordedRun] = {
    "AdamW": make_run(),
    "every step": make_run(every=1),
    "long": make_run(last=20_000, every=100),
    "just begun": make_run(last=3),
    "resumed": make_run(first=10_001, last=10_400),
    "warm-up and cosine": changed(column("lr", warmed_up)),
    "restarts": changed(column("lr", lambda t: 1e-3 * (1.001 - (t % 100) / 100))),
    "SGD": changed(optimizer("SGD", WITHOUT_SECOND), hyperparameter("beta1", NAN)),
    "plain SGD": changed(optimizer("SGD", (*WITHOUT_SECOND, *WITHOUT_FIRST))),
    "RMSprop": changed(
        *RMSPROP,
        statistic("epsilon_10_fraction", 0.8, to_step=50),
    ),
    "Adagrad": changed(
        optimizer("Adagrad", ("rms_t", "gradient_surprise", *WITHOUT_FIRST)),
        statistic("update_to_weight_ratio", 0.15, to_step=16),
    ),
    "Lion": changed(
        optimizer("Lion", WITHOUT_SECOND),
        statistic("momentum_gradient_cosine", 0.3),
    ),
    "fine-tuning": changed(
        column("loss", lambda t: 1.5 - 0.4 * t / 500),
        statistic("weight_rms", 0.5),
        statistic("weight_absmax", 8.0),
    ),
    "without a loss": changed(without_column("loss")),
    "first layer from zero": changed(
        statistic("weight_rms", 0.0, of=["layers.2.weight"], only=[0]),
        statistic("update_to_weight_ratio", np.inf, of=["layers.2.weight"], only=[0]),
        statistic("update_to_weight_ratio", 0.4, of=["layers.2.weight"], only=[1, 2, 3]),
    ),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_is_found_in_healthy_runs(name: str) -> None:
    assert found(HEALTHY[name]) == {}


# --- what a rule lacks --------------------------------------------------------------------------


def test_the_first_steps_of_a_resumed_run_are_not_known() -> None:
    resumed = replace(
        changed(
            lambda _: make_run(first=10_001, last=10_400),
            statistic("update_to_weight_ratio", 0.06),
            column("loss", 4.0, from_step=10_002, to_step=10_040),
        )
    )
    assert found(resumed) == {}
    reason = "the run was resumed, and its first steps were not recorded"
    unknown = {rule for rule, why in not_evaluated(diagnose(resumed)).items() if why == reason}
    assert unknown == {
        "init_too_large",
        "init_too_small",
        "lr_too_high",
        "converged",
        "noise_dominated",
        "plateau",
        "stale_gradient",
    }


def test_a_rule_says_what_it_lacks() -> None:
    everything = make_run()
    assert set(not_evaluated(diagnose(everything))) == {"clip_always", "gain_ratio_low"}
    empty = RecordedRun("empty", (), (), np.empty(0), np.empty(0), {})
    assert set(not_evaluated(diagnose(empty))) == {rule.id for rule in RULES}
    old = changed(without("second_moment_flicker"), without_column("loss", "gradient_norm"))
    reasons = not_evaluated(diagnose(old))
    assert reasons["beta2_too_low"] == "second_moment_flicker was not recorded"
    assert reasons["loss_blowup"] == "no loss was recorded: debug.record(loss=loss)"
    assert reasons["clip_constant"].startswith("the gradient norm was not recorded")
    assert "gradient_spike" not in reasons  # the surprise is enough
    sgd = not_evaluated(diagnose(HEALTHY["plain SGD"]))
    assert sgd["beta2_too_low"] == "SGD does not have second_moment_flicker"
    assert "lr_too_low" not in sgd  # the loss is enough to ask
    silent = changed(without_column("loss"), optimizer("SGD", WITHOUT_FIRST))
    assert (
        not_evaluated(diagnose(silent))["lr_too_low"]
        == "SGD does not have momentum_gradient_cosine"
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_without_what_it_needs_is_not_evaluated(rule: Rule) -> None:
    known = changed(*PLANTED[rule.id])
    for name in rule.needs:
        if name == "step":
            continue
        run = without_column(name)(without(name)(known))
        settings = {n: v for n, v in run.hyperparameters.items() if n != name}
        assert rule.id in not_evaluated(diagnose(replace(run, hyperparameters=settings))), name


def test_a_state_that_counts_fewer_steps_was_lost() -> None:
    run = changed(without("momentum_gradient_cosine"), statistic("state_step", 3, only=[30]))
    assert found(run)["state_reset"].first_step == make_run().step[30]


def test_gradients_that_were_left_are_told_by_what_was_recorded_of_them() -> None:
    finding = found(changed(*LEFT))["stale_gradient"]
    assert (finding.first_step, finding.last_step) == (200, 204)
    assert ".grad held up to 0.3 times its norm" in finding.text
    assert "cosine" in found(changed(*STALE))["stale_gradient"].text
    unknown = changed(without("momentum_gradient_cosine"))
    reason = not_evaluated(diagnose(unknown))["stale_gradient"]
    assert reason == "nothing is known of what was left in .grad"
    norm = changed(without_column("gradient_norm"), *LEFT)
    assert "stale_gradient" in found(norm)


def test_rows_that_are_meant_to_stay_are_an_alarm_where_it_is_always_the_same_ones() -> None:
    finding = found(changed(*KEPT))["idle_rows_decay"]
    assert (finding.severity, finding.parameters) == ("warning", ("embedding.weight",))
    assert "At least 99 % of the rows of embedding.weight" in finding.text
    assert "99 % of it has never had one" in finding.text
    assert "RMS of the whole 22 % smaller" in finding.text
    assert finding.advice.startswith("Set weight_decay to 0 for embedding.weight")
    assert found(changed(*KEPT))["rare_rows"].consequence_of == "idle_rows_decay"
    in_turn = statistic("zero_second_moment_fraction", 0.85, of=["embedding.weight"])
    for change in (in_turn, shrinking(0.04), without("zero_second_moment_fraction")):
        question = found(changed(*KEPT, change))["idle_rows_decay"]
        assert (question.severity, question.title[-1]) == ("info", "?")
    assert "never" not in found(changed(*KEPT, in_turn))["idle_rows_decay"].text
    pretrained = (Unoptimized("backbone.weight", (1000, 1000), False, "AdamW"),)
    by_another = changed(*KEPT, lambda run: replace(run, unoptimized=pretrained))
    assert found(by_another)["idle_rows_decay"].severity == "warning"
    plain_sgd = [optimizer("SGD", ("exp_avg_sq_root", "zero_second_moment_fraction"))]
    assert found(changed(*KEPT, *plain_sgd))["idle_rows_decay"].severity == "info"


def test_gradients_of_another_loss_need_not_be_left_at_steps_in_a_row() -> None:
    finding = found(changed(*LEFTOVER))["leftover_gradient"]
    assert (finding.severity, finding.first_step, finding.last_step) == ("warning", 5, 500)
    assert "Seen at 100 steps" in finding.text
    assert "zero_grad() right before the backward() of its own loss" in finding.advice
    three = changed(*LEFTOVER, column("leftover_gradient_ratio", 0.0, from_step=16))
    assert "Seen at 3 steps" in found(three)["leftover_gradient"].text


@pytest.mark.parametrize("at", [1, 200])
def test_a_tensor_that_the_model_has_exchanged_is_said_to_be(at: int) -> None:
    finding = found(changed(replaced_at(at, "embedding.weight")))["not_in_optimizer"]
    assert (finding.first_step, finding.last_step) == (at, 500)
    when = "before step 1" if at == 1 else "at about step 200"
    assert f"embedding.weight of the model was replaced {when}" in finding.text
    assert "add_param_group()" in finding.advice
    both = changed(replaced_at(at, "embedding.weight"), unoptimized("new.weight", trainable=True))
    finding = found(both)["not_in_optimizer"]
    assert (finding.first_step, set(finding.parameters)) == (1, {"embedding.weight", "new.weight"})
    assert "new.weight: requires_grad is True" in finding.text


def test_nothing_is_asked_of_the_old_one() -> None:
    without_gradient = statistic("zero_gradient_fraction", NAN, of=["embedding.weight (replaced)"])
    run = changed(replaced_at(1, "embedding.weight"), without_gradient)
    assert "parameter_without_gradient" not in found(run)
    assert "not_in_optimizer" not in found(replace(run, unoptimized=()))


def test_old_runs_fall_back_on_what_they_have() -> None:
    dead = changed(
        without("dead_row_fraction"),
        statistic("zero_gradient_fraction", 0.9, of=["layers.3.bias"]),
    )
    assert found(dead)["dead_units"].parameters == ("layers.3.bias",)
    scaled = changed(
        without("elasticity"),
        statistic("gradient_rms", 300.0),
        statistic("weight_rms", 0.07, from_step=2),
    )
    assert found(scaled)["gradient_scale"].severity == "error"


# --- severity, advice, what it is about ---------------------------------------------------------


def test_advice_about_the_learning_rate_names_values() -> None:
    high = found(changed(*TOO_FAST))["lr_too_high"]
    assert high.severity == "warning"
    assert "Try lr 1e-4 instead of 1e-3: update-to-weight ratio 0.25 → about" in high.advice
    far = found(changed(statistic("update_to_weight_ratio", 0.68, to_step=16)))["lr_too_high"]
    assert far.severity == "error"
    assert "Try lr 3e-5 instead of 1e-3: update-to-weight ratio 0.68 → about 0.02" in far.advice
    low = found(changed(*SLOW))["lr_too_low"]
    assert "Try lr 0.01 instead of 1e-3: update-to-weight ratio 3e-5 → about 3e-4" in low.advice
    far_low = found(changed(*SLOW, statistic("momentum_gradient_cosine", 0.8)))["lr_too_low"]
    assert "Try lr 0.03 instead of 1e-3" in far_low.advice


def in_second_group(run: RecordedRun) -> RecordedRun:
    """Biases are in the first group, and everything else in the second one."""
    parameters = tuple(replace(p, group=int(len(p.shape) > 1)) for p in run.parameters)
    return replace(run, parameters=parameters)


def test_a_low_beta2_is_named_before_the_loss_is_infinite() -> None:
    flickers = statistic("second_moment_flicker", 1.2, to_step=30)
    run = make_run(last=100, every=2)
    for change in (statistic("second_moment_flicker", np.nan), flickers):
        run = change(run)
    assert "beta2_too_low" in found(hyperparameter("beta2", 0.1)(run))
    # The average of a higher one takes longer to be one.
    assert "beta2_too_low" not in found(hyperparameter("beta2", 0.85)(run))


def test_settings_are_those_of_the_group_that_holds_the_weights() -> None:
    high = found(lr_of_group(in_second_group(changed(*TOO_FAST)), 1, [0.5]))["lr_too_high"]
    assert "Try lr 0.05 instead of 0.5" in high.advice
    eps = [*PLANTED["eps_dominates"], in_second_group, hyperparameter("eps", 0.1, group=1)]
    assert "instead of 0.1" in found(changed(*eps))["eps_dominates"].advice
    decay = changed(*PLANTED["weight_decay_too_strong"], statistic("weight_decay_ratio", np.inf))
    assert "a tenth of the weight_decay" in found(decay)["weight_decay_too_strong"].advice
    beta2 = [statistic("second_moment_flicker", 0.5), in_second_group]
    low = found(changed(*beta2, hyperparameter("beta2", 0.3, group=1)))["beta2_too_low"]
    assert "instead of 0.3" in low.advice
    assert "beta2_too_low" not in found(changed(*beta2, hyperparameter("beta2", 0.3, group=0)))


def test_a_learning_rate_that_jumps_in_another_group_than_the_first_one_is_found() -> None:
    values = [1e-3] * 20 + [0.3]
    run = lr_of_group(in_second_group(make_run()), 1, values)
    jump = found(run)["lr_jump"]
    assert "300-fold between steps 140 and 150, from 1e-3 to 0.3" in jump.text
    of_biases = found(lr_of_group(make_run(), 1, values))["lr_jump"]
    assert of_biases.parameters == tuple(BIASES)
    assert "of all 5 layers.*.bias rose 300-fold between steps" in of_biases.text
    assert "Go back to lr 1e-3" in of_biases.advice
    scheduled = in_second_group(changed(column("lr", warmed_up)))
    assert found(lr_of_group(scheduled, 1, [2e-3])) == {}


def test_the_learning_rate_of_another_group_follows_that_of_the_first_one() -> None:
    run = in_second_group(changed(column("lr", warmed_up)))
    at_records = warmed_up(run.step)
    lr = np.stack([at_records, 2 * at_records], axis=1)
    run = replace(run, hyperparameters={**run.hyperparameters, "lr": lr})
    assert Signals(run).lr == pytest.approx(2 * run.every_step["lr"])
    resting = changed(in_second_group, column("lr", 0.0, to_step=200))
    lr = np.where(resting.step[:, None] <= 200, [0.0, 1e-3], 1e-3)
    resting = replace(resting, hyperparameters={**resting.hyperparameters, "lr": lr})
    assert Signals(resting).lr == pytest.approx(1e-3)


def test_weights_of_a_group_without_learning_rate_do_not_count() -> None:
    resting = [*LAYERS, "embedding.weight"]
    run = changed(
        statistic("update_to_weight_ratio", 0.0, of=resting),
        statistic("momentum_gradient_cosine", 0.9, of=resting),
        statistic("epsilon_fraction", 0.9, of=resting),
    )
    groups = tuple(replace(p, group=int(p.name not in resting)) for p in run.parameters)
    run = lr_of_group(replace(run, parameters=groups), 0, [0.0])
    (frozen,) = diagnose(run).findings
    assert frozen.text == (
        "embedding.weight and all 5 layers.*.weight: the learning rate of the group is 0 at every "
        "record. Is that meant?"
    )
    assert frozen.severity == "info"
    (all_rest, *_) = diagnose(changed(hyperparameter("lr", 0.0))).findings
    assert (all_rest.rule, all_rest.severity) == ("frozen", "warning")
    # From when on they move they count.
    moving = lr_of_group(run, 0, [0.0] * 20 + [1e-3])
    early = replace(
        run,
        step=run.step[:20],
        wall_time=run.wall_time[:20],
        statistics={n: v[:20] for n, v in run.statistics.items()},
        hyperparameters={n: v[:20] for n, v in run.hyperparameters.items()},
    )
    assert found(moving)["eps_dominates"].first_step < early.step[-1]
    assert diagnose(moving, diagnose(early)).findings == diagnose(moving).findings
    # Two records may be those of a warm-up.
    lr = {"lr": np.zeros((2, 2))}
    begun = replace(early, step=early.step[:2], wall_time=early.wall_time[:2], hyperparameters=lr)
    assert not begun.resting.size


def test_weights_that_are_overwritten_once_are_enough() -> None:
    finding = found(changed(statistic("update_to_weight_ratio", 3.0, to_step=1)))["lr_too_high"]
    assert finding.severity == "error"


def test_a_learning_rate_that_some_networks_bear_is_a_question_without_consequences() -> None:
    bearable = statistic("update_to_weight_ratio", 0.09, to_step=16)
    run = changed(bearable, statistic("dead_row_fraction", 1.0, of=LAYERS))
    dead, asked = diagnose(run).findings
    assert (dead.rule, dead.severity, dead.consequence_of) == ("dead_units", "error", None)
    assert (asked.rule, asked.severity) == ("lr_too_high", "info")
    assert asked.title == "Is the learning rate too high?"
    assert "?" in asked.text
    assert "Try lr" not in asked.advice


def test_few_records_show_the_same_first_steps_as_many() -> None:
    steps = np.arange(1.0, 41.0)
    ratio = 0.9 / steps
    every = sum_over_steps(steps, ratio, 10)
    few = np.isin(steps, (1, 2, 4, 8, 16, 32))
    some = sum_over_steps(steps[few], ratio[few], 10)
    assert every == pytest.approx([ratio[max(0, i - 9) : i + 1].sum() for i in range(40)])
    assert some[3] == pytest.approx(every[7], rel=0.1)
    assert sum_over_steps(steps, np.full(40, NAN), 10) == pytest.approx(0)
    columns = sum_over_steps(steps, np.stack([ratio, 2 * ratio], axis=1), 10)
    assert columns == pytest.approx(np.stack([every, 2 * every], axis=1))


def test_a_loss_that_rises_at_first_makes_a_high_learning_rate_an_alarm() -> None:
    bearable = statistic("update_to_weight_ratio", 0.06, to_step=16)
    finding = found(changed(bearable, *LOSS_ROSE))["lr_too_high"]
    assert finding.severity == "warning"
    assert "and the loss rose from 2.3 to 4 and stayed above." in finding.text
    assert "Try lr" in finding.advice
    burst = changed(bearable, *LOSS_ROSE, column("loss", np.inf, from_step=9, to_step=9))
    assert "rose from 2.3 to ∞" in found(burst)["lr_too_high"].text


def test_the_first_steps_of_rmsprop_are_long_whatever_its_learning_rate() -> None:
    alarming = statistic("update_to_weight_ratio", 0.3, to_step=16)
    assert found(changed(alarming))["lr_too_high"].severity == "error"
    assert "lr_too_high" not in found(changed(*RMSPROP, alarming))
    far = statistic("update_to_weight_ratio", 1.5, to_step=16)
    finding = found(changed(*RMSPROP, far))["lr_too_high"]
    assert finding.severity == "error"
    # With a corrected bias the ratio would be 0.58 at step 16: a tenth, not a thirtieth.
    assert "Try lr 1e-4 instead of 1e-3" in finding.advice
    assert "Try lr 3e-5 instead of 1e-3" in found(changed(far))["lr_too_high"].advice


def test_a_group_that_decays_differently_is_judged_by_itself() -> None:
    stronger = [hyperparameter("weight_decay", 30.0, group=1)]
    decayed = statistic("weight_decay_ratio", 3.0, of=BIASES)
    finding = found(changed(*stronger, decayed))["weight_decay_too_strong"]
    assert finding.parameters == tuple(BIASES)
    assert "instead of 30" in finding.advice
    assert "weight_decay_too_strong" not in found(changed(decayed))


def test_a_high_beta1_is_a_question_and_a_very_high_one_an_alarm() -> None:
    asked = found(changed(hyperparameter("beta1", 0.99)))["beta1_too_high"]
    assert (asked.severity, asked.title) == ("info", "Is beta1 too high?")
    alarm = found(changed(hyperparameter("beta1", 0.999)))["beta1_too_high"]
    assert alarm.severity == "warning"
    assert "is halved only after 693 steps" in alarm.text
    assert alarm.advice == "Try beta1 0.9 instead of 0.999."


def test_skipped_steps_are_told_by_the_loss_scale_where_nothing_counts_them() -> None:
    counted = found(changed(*SKIPPING))["steps_skipped"]
    assert (counted.severity, counted.first_step) == ("warning", 206)
    assert "left out 50 % of the steps before step" in counted.text
    halved = column("loss_scale", lambda t: 2.0 ** (16 - np.maximum(t - 200, 0) // 4))
    (finding,) = diagnose(changed(halved)).findings
    assert finding.rule == "steps_skipped"
    assert "21 % of the steps" in finding.text
    assert "The loss scale is down to" in finding.text
    collapsing = column("skipped_steps", lambda t: np.maximum(t - 200, 0) * 9)
    assert found(changed(collapsing))["steps_skipped"].severity == "error"
    rarely = column("loss_scale", NAN, from_step=0)
    some = column("loss_scale", lambda t: np.where(t % 10 == 0, 2.0 ** (40 - t / 5), NAN))
    assert "steps_skipped" in found(changed(rarely, some))


def test_a_third_of_the_updates_lost_is_a_warning_in_half_precision() -> None:
    half = dtype("bfloat16", "bfloat16")
    run = changed(LOST[1], statistic("lost_update_fraction", 0.4), half)
    assert found(run)["lost_updates"].severity == "warning"
    assert found(changed(*PLANTED["lost_updates"]))["lost_updates"].severity == "error"


def test_a_warm_up_is_no_longer_than_the_run_bears() -> None:
    assert (
        "warm the learning rate up over 50 steps" in found(changed(*TOO_FAST))["lr_too_high"].advice
    )
    long = changed(*TOO_FAST, lambda run: replace(run, total_steps=100_000))
    assert "over 2000 steps" in found(long)["lr_too_high"].advice
    lost = found(changed(*RESET))["state_reset"]
    assert "over 50 steps" in lost.advice


def test_a_low_learning_rate_is_found_for_every_optimizer() -> None:
    lion = found(changed(optimizer("Lion", WITHOUT_SECOND), *SLOW))
    assert "cosine" in lion["lr_too_low"].text
    # RAdam's steps are a fifth of what the learning rate asks for, which is its own warm-up.
    assert "lr_too_low" in found(changed(*RADAM, statistic("update_to_weight_ratio", 3e-4)))
    without_first = optimizer("RMSprop", WITHOUT_FIRST)
    asked = found(changed(without_first, SLOW[1], column("loss", flat_loss)))["lr_too_low"]
    assert "without a first moment" in asked.text
    assert "Try lr 0.01 instead of 1e-3" in asked.advice


def test_a_gain_ratio_that_is_low_makes_a_high_learning_rate_an_error() -> None:
    findings = found(changed(*TOO_FAST, gain(0.3)))
    assert findings["lr_too_high"].severity == "error"
    assert findings["gain_ratio_low"].consequence_of == "lr_too_high"
    assert found(changed(*TOO_FAST, gain(0.8)))["lr_too_high"].severity == "warning"


def test_a_loss_that_blows_up_makes_a_high_learning_rate_an_error() -> None:
    run = changed(*TOO_FAST, column("loss", 50.0, from_step=30))
    findings = found(run)
    assert findings["lr_too_high"].severity == "error"
    assert findings["loss_blowup"].consequence_of == "lr_too_high"


def test_a_loss_that_rises_from_the_start_may_have_the_wrong_sign() -> None:
    rises = found(changed(column("loss", lambda t: 2.3 * np.exp(t / 50))))["loss_blowup"]
    assert rises.advice.endswith("It never fell: is the sign of the loss right?")
    assert "sign" not in found(changed(*PLANTED["loss_blowup"]))["loss_blowup"].advice


def test_advice_about_eps_weight_decay_and_beta2_names_values() -> None:
    assert "Try eps 1e-5 instead of 0.1" in found(changed(*EPS))["eps_dominates"].advice
    decay = found(changed(*DECAY))["weight_decay_too_strong"]
    assert decay.severity == "warning"
    assert "Try weight_decay 3e-4 instead of 0.01" in decay.advice
    aligned = changed(*DECAY, statistic("update_weight_cosine", -0.96))
    assert found(aligned)["weight_decay_too_strong"].severity == "error"
    beta2 = found(changed(*PLANTED["beta2_too_low"]))["beta2_too_low"]
    assert "instead of 0.3" in beta2.advice


def test_findings_name_their_parameters() -> None:
    assert found(changed(*PLANTED["dead_units"]))["dead_units"].parameters == ("layers.3.weight",)
    assert found(changed(*PLANTED["nonfinite"]))["nonfinite"].parameters == ("head.weight",)
    every_layer = changed(statistic("dead_row_fraction", 1.0, of=LAYERS))
    (finding,) = [f for f in diagnose(every_layer).findings if f.rule == "dead_units"]
    assert finding.severity == "error"
    assert "all 5 layers.*.weight" in finding.text
    some = found(changed(statistic("dead_row_fraction", 0.7, of=SQUARE)))["dead_units"]
    assert (some.severity, some.title) == ("info", "Are these units dead?")
    most = found(changed(statistic("dead_row_fraction", 0.95, of=SQUARE)))["dead_units"]
    assert (most.severity, most.title) == ("warning", "Dead units")
    assert "3 layers.*.weight" in some.text
    spike = [*PLANTED["gradient_spike"], norms_around(300, "layers.1.weight")]
    assert found(changed(*spike))["gradient_spike"].parameters == ("layers.1.weight",)
    surprised = changed(statistic("gradient_surprise", 80.0, of=["head.weight"], only=[30]))
    assert found(surprised)["gradient_spike"].parameters == ("head.weight",)


def test_a_spike_is_told_by_what_it_exceeds() -> None:
    by_norm = found(changed(column("gradient_norm", 40.0, from_step=300, to_step=300)))
    assert re.search(r"gradient \d\d times the usual", by_norm["gradient_spike"].text)
    assert "beta2 0.95 instead of 0.999" in by_norm["gradient_spike"].advice
    by_surprise = found(changed(statistic("gradient_surprise", 25.0, of=LAYERS[:1], only=[30])))
    assert "a gradient 25 times √v̂ in layers.0.weight" in by_surprise["gradient_spike"].text


def test_a_spike_that_raises_the_loss_is_an_error() -> None:
    spike = PLANTED["gradient_spike"]
    assert found(changed(*spike))["gradient_spike"].severity == "warning"
    harmful = changed(*spike, column("loss", 2.0, from_step=301))
    assert found(harmful)["gradient_spike"].severity == "error"
    outlier = changed(*spike, column("loss", 200.0, from_step=300, to_step=303))
    assert found(outlier)["gradient_spike"].severity == "warning"
    lost = changed(*spike, column("loss", np.inf, from_step=301))
    assert found(lost)["gradient_spike"].severity == "error"


def test_a_spike_that_was_clipped_is_a_question() -> None:
    clipped = [
        column("gradient_norm_before_clip", lambda t: np.where(t == 300, 100.0, 2.0)),
        column("gradient_norm", 1.0),
    ]
    finding = found(changed(*clipped))["gradient_spike"]
    assert (finding.severity, finding.title) == ("info", "Does this gradient spike matter?")
    assert "50 times the usual. Clipping left the optimizer no more than usual." in finding.text
    assert finding.advice == "Look at the batch of step 300."
    weakly = column("gradient_norm", 50.0, from_step=300, to_step=300)
    assert found(changed(*clipped, weakly))["gradient_spike"].severity == "warning"


def test_a_spike_where_no_loss_is_left_is_a_question() -> None:
    exhausted = column("loss", lambda t: 2.3 * np.exp(-t / 20))
    finding = found(changed(*PLANTED["gradient_spike"], exhausted))["gradient_spike"]
    assert (finding.severity, finding.title) == ("info", "Does this gradient spike matter?")


def test_nonfinite_loss_or_norm_between_records_is_found() -> None:
    loss = changed(column("loss", np.inf, from_step=303, to_step=303))
    assert found(loss)["nonfinite"].first_step == 303
    norm = changed(column("gradient_norm", NAN, from_step=305, to_step=305))
    assert found(norm)["nonfinite"].first_step == 305
    absent = changed(column("loss", NAN, from_step=100))
    assert "nonfinite" not in found(absent)  # not recorded is not NaN


# --- what is no alarm ---------------------------------------------------------------------------


def test_a_loss_that_grows_is_an_alarm_only_where_something_else_went_wrong() -> None:
    grows: list[Change] = [column("loss", lambda t: 18.0 + t / 20)]
    asked = found(changed(*grows))["loss_blowup"]
    assert (asked.severity, asked.title) == ("info", "Did the loss blow up?")
    assert "In reinforcement learning and adversarial training" in asked.text
    assert "Try lr" not in asked.advice
    assert "plateau" not in found(changed(*grows))
    grown = [*grows, statistic("weight_rms", 10.0, from_step=300)]
    assert found(changed(*grown))["loss_blowup"].severity == "error"
    jumped = [*grows, column("lr", 0.1, from_step=200)]
    assert found(changed(*jumped))["loss_blowup"].severity == "error"
    bad = [*grows, statistic("nonfinite_count", 3.0, of=["head.weight"], from_step=400)]
    assert found(changed(*bad))["loss_blowup"].severity == "error"
    too_fast = [*TOO_FAST, *grows]
    assert found(changed(*too_fast))["loss_blowup"].severity == "error"
    far = [column("loss", lambda t: 18.0 + t)]
    assert found(changed(*far))["loss_blowup"].severity == "error"
    came_down = [*far, column("loss", 40.0, from_step=400)]
    assert found(changed(*came_down))["loss_blowup"].severity == "info"


def test_a_loss_is_said_never_to_have_fallen_only_where_that_is_so() -> None:
    grows = [column("loss", lambda t: 18.0 + t / 20)]
    fell = [*grows, column("loss", 17.0, from_step=2, to_step=20)]
    assert "never fell" in found(changed(*grows))["loss_blowup"].advice
    assert "never fell" not in found(changed(*fell))["loss_blowup"].advice


def test_a_loss_is_said_to_have_begun_with_the_first_one() -> None:
    steps = [column("loss", 7.24, to_step=1), column("loss", 585.0, from_step=2, to_step=9)]
    rose = found(changed(*steps, column("loss", 7000.0, from_step=10)))["loss_blowup"]
    assert "it began at 7.2." in rose.text


def test_no_two_findings_advise_opposite_learning_rates() -> None:
    assert "Try lr 0.01" in found(changed(*SLOW))["lr_too_low"].advice
    for other in ([column("loss", lambda t: 18.0 + t / 20)], PLANTED["dead_units"]):
        findings = found(changed(*SLOW, *other))
        assert "speaks against a higher" in findings["lr_too_low"].advice
        assert "Try lr" not in findings["lr_too_low"].advice


def test_a_spike_is_not_judged_by_a_loss_that_is_no_measure() -> None:
    spike = [column("gradient_norm", 100.0, from_step=300, to_step=300)]
    later = column("loss", 4.0, from_step=300)
    assert found(changed(*spike, later))["gradient_spike"].severity == "error"
    signed = [column("loss", lambda t: 0.3 * np.sin(t)), later]
    assert found(changed(*spike, *signed))["gradient_spike"].severity == "info"
    assert found(changed(*spike, column("loss", NAN)))["gradient_spike"].severity == "warning"


def test_a_schedule_that_is_stepped_too_often_is_told_by_its_shape() -> None:
    def advice(lr: Any) -> str:
        return found(changed(column("lr", lr)))["lr_decayed_early"].advice

    stairs = advice(lambda t: 1e-3 * 0.1 ** (t // 20))
    assert "as with StepLR" in stairs
    assert "once an epoch" in stairs
    assert "T_max" not in stairs
    exponential = advice(lambda t: 1e-3 * 0.95**t)
    assert "as with ExponentialLR" in exponential
    assert "once an epoch" in exponential
    cosine = advice(lambda t: 5e-4 * (1 + np.cos(np.pi * np.minimum(t, 100) / 100)) + 1e-9)
    assert "counted in epochs (StepLR, ExponentialLR) once an epoch" in cosine
    assert "T_max or total_steps = 500 or more" in cosine
    assert "as with" not in cosine


def test_what_is_left_of_a_clipped_gradient_is_left_over() -> None:
    assert "stale_gradient" in found(changed(column("stale_gradient_ratio", 0.02, from_step=2)))
    assert "stale_gradient" not in found(changed(column("stale_gradient_ratio", 0.005)))


def test_recurrent_layers_are_not_told_to_use_another_activation() -> None:
    assert "ReLU" in found(changed(*VANISHING))["vanishing_gradient"].advice

    def recurrent(run: RecordedRun) -> RecordedRun:
        parameters = tuple(
            replace(p, name=p.name.replace("layers", "lstm")) for p in run.parameters
        )
        return replace(run, parameters=parameters)

    advice = found(changed(*VANISHING, recurrent))["vanishing_gradient"].advice
    assert "ReLU" not in advice
    assert "normalization, or a Xavier gain" in advice


def test_a_warm_up_that_is_not_over_is_the_reason_why_nothing_is_judged() -> None:
    diagnosis = diagnose(changed(column("lr", lambda t: 1e-6 * t)))
    reasons = not_evaluated(diagnosis)
    for rule in ("lr_too_low", "dead_units", "plateau", "eps_dominates"):
        assert reasons[rule] == (
            "the learning rate still rises at the last step (500), needs a settled one"
        )
    short = replace(changed(column("lr", lambda t: 1e-6 * t)), total_steps=500)
    assert "warmup_not_over" in found(short)


def test_a_schedule_far_below_its_peak_is_told_by_how_it_rises() -> None:
    def finding(*changes: Change, total_steps: int = 500) -> Finding:
        run = replace(changed(*changes), total_steps=total_steps)
        return found(run)["lr_far_below_schedule"]

    one_cycle = optimizer("AdamW", initial_lr=2e-4, max_lr=5e-3)
    by_epoch = finding(stairs(125, 2e-4, 2.1e-4, 2.3e-4, 2.6e-4), one_cycle)
    assert by_epoch.severity == "warning"
    assert "never above 2.6e-4, which is 5 % of the 5e-3" in by_epoch.text
    assert "stands still for 125 steps" in by_epoch.advice
    assert "once for each optimizer step" in by_epoch.advice
    long = finding(column("lr", lambda t: 1e-6 * t), optimizer("AdamW", initial_lr=5e-3))
    assert "warm-up is longer than the run" in long.advice
    never = finding(column("lr", 2e-4), one_cycle)
    assert never.advice == "Call scheduler.step() once after each optimizer.step()."
    made_with = finding(column("lr", 2e-4), optimizer("AdamW", initial_lr=2e-3))
    assert made_with.severity == "info"
    assert made_with.advice == never.advice
    unknown = finding(column("lr", 2e-4), one_cycle, total_steps=0)
    assert unknown.severity == "info"
    assert unknown.title.endswith("?")


def test_a_learning_rate_that_rises_again_is_counted() -> None:
    finding = found(changed(cosine(60)))["lr_rises_again"]
    assert finding.severity == "info"
    assert "fell from 1e-3 to 0 at step 61 and rose again to 1e-3" in finding.text
    assert "4 times" in finding.text
    assert "500 with one a step" in finding.advice
    assert "time" not in found(changed(cosine(250)))["lr_rises_again"].text
    share = (1 + np.cos(np.pi * np.arange(25) / 6)) / 2
    by_epoch = found(changed(stairs(20, *(1e-3 * share))))["lr_rises_again"]
    assert "one in 20 steps" in by_epoch.advice
    often = column("lr", lambda t: 1e-3 * ((1 + np.cos(np.pi * (t - 1) / 3)) / 2))
    assert "83 times." in found(changed(often))["lr_rises_again"].text
    longer = often(make_run(last=2000))
    assert "100 times or more." in found(longer)["lr_rises_again"].text
    # Several calls a step, so that no step meets the lowest point.
    assert "lr_rises_again" in found(changed(cosine(17.3, low=0.1)))


def test_settings_that_a_checkpoint_replaced_are_named() -> None:
    finding = found(changed(*PLANTED["replaced_settings"]))["replaced_settings"]
    assert "lr 1e-4 → 3e-3, beta2 0.95 → 0.999." in finding.text
    assert finding.first_step == 200
    # A lower learning rate may be that of a schedule; not with other settings, or of a scheduler.
    lower = loaded_at(200, lr=(1e-3, 1e-4), eps=(1e-8, 1e-6))
    assert "eps 1e-8 → 1e-6" in found(changed(lower))["replaced_settings"].text
    scheduled = [optimizer("AdamW", initial_lr=1e-4), loaded_at(200, lr=(1e-3, 1e-4))]
    decayed = hyperparameter("lr", lambda t: 1e-4 * np.exp(-t / 200), from_step=200)
    assert "lr 1e-3 → 1e-4" in found(changed(*scheduled, decayed))["replaced_settings"].text


def test_decayed_gains_are_named() -> None:
    split = found(changed(*PLANTED["decayed_gains"]))["decayed_gains"]
    assert split.parameters == ("layers.0.weight_", "layers.1.weight_")
    assert "Has a filter missed them?" in split.text
    alone = found(changed(*DECAYED))["decayed_gains"]
    assert "a weight_decay of 0.5" in alone.text
    assert "by up to 40 % of the rest of the update" in alone.text
    assert alone.severity == split.severity == "info"
    assert "p.ndim" in alone.advice
    strong = found(changed(*DECAYED, *DECAY))["decayed_gains"]
    assert strong.consequence_of == "weight_decay_too_strong"
    for name, module, expected in (
        ("h.0.ln_1.weight", "", True),
        ("layer1.0.bn2.weight", "", True),
        ("encoder.norm.scale", "", True),
        ("encoder.norm.bias", "", False),
        ("blin.weight", "", False),
        ("ln.weight", "Linear", False),
        ("x.weight", "LlamaRMSNorm", True),
    ):
        assert is_gain(Parameter(name, (8,), "float32", 8, 0, module)) is expected, name
    assert not is_gain(Parameter("norm.weight", (8, 8), "float32", 64, 0, "LayerNorm"))


def test_a_jump_in_a_warm_up_by_epochs_is_the_schedules() -> None:
    def warmup(change: Change) -> float:
        return Signals(changed(change)).warmup_end

    assert warmup(stairs(60, *EPOCH_WARMUP)) == 301
    assert warmup(stairs(60, *EPOCH_WARMUP, 9e-4)) == 301
    assert warmup(stairs(60, 1e-5, 1e-3, 9e-4, 7e-4)) == 61
    assert warmup(stairs(90, *EPOCH_WARMUP)) == 500  # the last stair is as long as the others
    # By hand, and not in the rhythm of epochs.
    for by_hand in ((60, 1e-5, 1e-3), (60, 1e-4, 1e-4, 1e-3, 2e-3, 1e-3)):
        assert warmup(stairs(*by_hand)) == 0
        assert "lr_jump" in found(changed(stairs(*by_hand)))
    assert "lr_jump" in found(changed(stairs(60, *EPOCH_WARMUP, 1e-2)))
    above = [column("lr", 0.1, from_step=200), optimizer("AdamW", initial_lr=1e-2)]
    assert "lr_jump" in found(changed(*above))
    # A schedule that is made anew in a resumed run goes back to what it was made with.
    resumed = optimizer("AdamW", initial_lr=1e-2)(make_run(first=1001, last=1400))
    resumed = column("lr", 1e-2, from_step=1200)(resumed)
    assert "lr_jump" in found(resumed)


def test_recording_more_often_is_advised_by_an_option_that_was_not_given() -> None:
    few = make_run(last=60)
    assert "total_steps= or every_n_steps= records" in not_evaluated(diagnose(few))["lr_too_low"]
    given = not_evaluated(diagnose(replace(few, total_steps=60)))["lr_too_low"]
    assert given.endswith(": every_n_steps= records more often")
    thinner = [column("every_n_steps", 10.0), column("wanted_every_n_steps", 1.0)]
    for change in thinner:
        few = change(few)
    limited = not_evaluated(diagnose(few))["lr_too_low"]
    assert limited.endswith(": a larger max_overhead= records more often")


def test_nothing_is_said_of_a_loss_that_is_no_number_any_more() -> None:
    flat = column("loss", flat_loss)
    assert "plateau" in found(changed(flat))
    lost = column("loss", NAN, from_step=100)
    assert "plateau" not in found(changed(flat, lost))
    assert "noise_dominated" not in found(changed(*NOISY, lost))
    seldom = column("loss", lambda t: np.where(t % 50 == 1, 2.3, NAN))
    assert "plateau" in found(changed(seldom))


def test_a_loss_that_is_no_measure_is_asked_about() -> None:
    for loss in (
        [column("loss", lambda t: 0.3 * np.sin(t)), column("loss", 4.0, from_step=300)],
        [column("loss", lambda t: 0.01 + 0 * t), column("loss", 4.0, from_step=300)],
    ):
        asked = found(changed(*loss))["loss_blowup"]
        assert (asked.severity, asked.title) == ("info", "Did the loss blow up?")
        assert "Is this one?" in asked.text
        assert asked.advice == ""
        # It makes no other finding worse.
        high = found(changed(*TOO_FAST, *loss))["lr_too_high"]
        assert high.severity == "warning"
        assert "rose" not in high.text
    # A loss far below 0 is not exhausted.
    negative = changed(column("loss", lambda t: 1 - t / 10), statistic("gradient_surprise", 0.01))
    assert "converged" not in found(negative)


def test_clipping_that_the_optimizer_does_not_feel_is_a_question() -> None:
    adam = found(changed(*CLIPPED))["clip_always"]
    assert (adam.severity, adam.title) == ("info", "Is every step to be clipped?")
    assert "max_norm" not in adam.advice
    felt = found(changed(*CLIPPED, statistic("epsilon_10_fraction", 0.4)))["clip_always"]
    assert felt.severity == "warning"
    assert "Try max_norm 80, twice the median norm." in felt.advice
    sgd = found(changed(*CLIPPED, optimizer("SGD", WITHOUT_SECOND)))["clip_always"]
    assert sgd.severity == "warning"
    lion = found(changed(*CLIPPED, optimizer("Lion", WITHOUT_SECOND)))["clip_always"]
    assert lion.severity == "info"


def test_clipping_before_unscaling_names_max_norm_and_loss_scale() -> None:
    def finding(norm: Any, *changes: Change) -> Finding:
        run = changed(*UNSCALED_LATE, column("gradient_norm", norm), *changes)
        return found(run)["clipped_before_unscaling"]

    adam = finding(1 / 65_536)
    assert adam.severity == "warning"
    assert "1.5e-5 step after step: 1 over the loss scale 65,536" in adam.text
    assert "scaler.unscale_(optimizer) before clip_grad_norm_()" in adam.advice
    sgd = finding(1 / 65_536, optimizer("SGD", WITHOUT_SECOND))
    assert sgd.severity == "error"
    assert "max_norm 5 " in finding(5 / 65_536).text
    assert "scale 1,024." in finding(1 / 1024).text
    assert (
        "2 over the loss scale 131,072." in finding(1 / 65_536, column("loss_scale", 2.0**17)).text
    )
    # The scale is doubled, and norms are known at some steps only.
    assert finding(lambda t: 2.0 ** -(16 + t // 150)).first_step == 1
    assert "max_norm 0.1 " in finding(lambda t: np.where(t % 8 == 0, 0.1 / 65_536, NAN)).text
    unknown = finding(1 / 65_536, without_column("gradient_rescaling"))
    assert unknown.severity == "info"
    assert unknown.title.endswith("?")


def test_small_weights_that_the_loss_feels_are_a_question() -> None:
    small = statistic("weight_rms", 0.001, only=[0])
    asked = found(changed(small))["init_too_small"]
    assert (asked.severity, asked.advice) == ("info", "")
    assert "networks of sines?" in asked.text
    unknown = changed(small, without("elasticity"))
    assert found(unknown)["init_too_small"].severity == "error"


def test_small_weights_that_train_are_a_question() -> None:
    def small(scale: float, loss: float) -> Finding:
        weights = statistic("weight_rms", scale / 8, of=MATRICES, only=[0])
        silent = statistic("elasticity", 1e-5, only=[0])
        return found(changed(weights, silent, column("loss", loss, from_step=100)))[
            "init_too_small"
        ]

    asked = small(0.08, 1.0)
    assert (asked.severity, asked.advice) == ("info", "")
    assert "GPT-2" in asked.text
    assert small(0.08, 2.3).severity == "error"
    assert small(0.01, 1.0).severity == "error"


def test_the_usual_deviation_is_not_too_large_at_a_large_fan_in() -> None:
    def wide(run: RecordedRun) -> RecordedRun:
        parameters = tuple(
            replace(p, shape=(64, 16_384)) if len(p.shape) > 1 else p for p in run.parameters
        )
        return replace(run, parameters=parameters)

    first = statistic("weight_rms", 0.02, only=[0]), statistic("weight_absmax", 0.08, only=[0])
    assert "init_too_large" not in found(changed(wide, *first))
    larger = statistic("weight_rms", 0.05, only=[0]), statistic("weight_absmax", 0.2, only=[0])
    assert "init_too_large" in found(changed(wide, *larger))


def test_rows_of_what_may_be_a_table_are_asked_about() -> None:
    def renamed(name: str) -> Change:
        return lambda run: replace(
            run,
            parameters=tuple(
                replace(p, name=name, module="Quantizer") if p.name == "layers.3.weight" else p
                for p in run.parameters
            ),
        )

    rare = [statistic("dead_row_fraction", 1.0, of=["layers.3.weight"])]
    assert found(changed(*rare))["dead_units"].severity == "error"
    assert found(changed(*rare, renamed("prototypes")))["dead_units"].severity == "info"
    decaying = hyperparameter("weight_decay", 0.5)
    assert set(found(changed(*rare, decaying, renamed("vq.codebook")))) == {"rare_rows"}


def test_eps_of_adadelta_is_not_judged() -> None:
    run = changed(*EPS, optimizer("Adadelta"))
    assert "under the root" in not_evaluated(diagnose(run))["eps_dominates"]
    assert not {"eps_dominates", "eps_influences"} & set(found(run))


def test_what_a_decayed_schedule_loses_is_explained_by_it() -> None:
    stopped = [
        column("lr", 1e-10, from_step=100),
        hyperparameter("lr", 1e-10, from_step=100),
        statistic("lost_update_fraction", 0.99, from_step=100),
        statistic("update_slope", 0.01, from_step=100),
    ]
    (finding,) = diagnose(changed(*stopped)).findings
    assert finding.rule == "lr_decayed_early"
    # In half precision they are lost before, and that is another matter.
    half = found(changed(*stopped, *PLANTED["lost_updates"]))["lost_updates"]
    assert half.last_step < 100
    assert "float32" in half.advice


def test_a_parameter_that_another_optimizer_holds_is_no_alarm() -> None:
    def held(run: RecordedRun) -> RecordedRun:
        (missing,) = run.unoptimized
        return replace(run, unoptimized=(replace(missing, other_optimizer="SGD"),))

    assert "not_in_optimizer" in found(changed(*PLANTED["not_in_optimizer"]))
    assert found(changed(*PLANTED["not_in_optimizer"], held)) == {}


def test_steps_that_nobody_counts_are_no_alarm() -> None:
    assert found(changed(statistic("state_step", NAN))) == {}


# --- what has ended, and what is no fault -------------------------------------------------------


def test_gradients_that_vanish_while_the_loss_falls_are_a_question() -> None:
    still = found(changed(*VANISHING))["vanishing_gradient"]
    assert (still.severity, still.title) == ("warning", "Gradients vanish towards the first layers")
    assert "becomes 1000 times less sensitive" in still.text
    falls = found(changed(*VANISHING[:2]))["vanishing_gradient"]
    assert (falls.severity, falls.title[-1]) == ("info", "?")
    assert "It falls all the same, from 2.3 to 0.29." in falls.text
    healed = statistic("gradient_rms", 1e-3, of=MATRICES, from_step=200)
    ended = found(changed(*VANISHING[:2], healed))["vanishing_gradient"]
    assert (ended.severity, ended.last_step, ended.advice) == ("info", 190, "")
    assert "Up to step 190 the loss was less sensitive" in ended.text
    assert "That has ended, and the loss fell from 2.3 to 0.83 meanwhile." in ended.text
    late = found(changed(*VANISHING, healed))["vanishing_gradient"]
    assert late.severity == "warning"
    assert "layer by layer up to step 190, where that ended." in late.text


def test_gradients_that_vanish_twice_are_one_finding() -> None:
    healed = statistic("gradient_rms", 1e-3, of=MATRICES, from_step=200, to_step=300)
    findings = diagnose(changed(*VANISHING, healed)).findings
    (vanishing,) = (f for f in findings if f.rule == "vanishing_gradient")
    assert (vanishing.first_step, vanishing.last_step) == (1, 500)


def test_gradients_vanish_as_a_consequence_of_a_high_learning_rate() -> None:
    findings = found(changed(*TOO_FAST, *VANISHING))
    assert findings["lr_too_high"].consequence_of is None
    assert findings["vanishing_gradient"].consequence_of == "lr_too_high"


def test_rows_of_a_recurrent_layer_without_gates_are_units() -> None:
    for module, name in (("RNN", "rnn.weight_hh_l0"), ("RNNCell", "cell.weight_ih")):
        assert "dead_units" in found(changed(*DEAD_GATES, recurrent(module, name)))
    for module, name in (("GRUCell", "cell.weight_ih"), ("MyLSTM", "lstm.hidden.weight")):
        assert "dead_units" not in found(changed(*DEAD_GATES, recurrent(module, name)))


def test_units_that_learn_again_are_spoken_of_in_the_past() -> None:
    def dead(to_step: float) -> Finding:
        gone = statistic("dead_row_fraction", 0.75, of=["layers.3.weight"], to_step=to_step)
        return found(changed(gone))["dead_units"]

    assert "from step 30 to 200: they learned nothing meanwhile." in dead(200).text
    assert "they learn nothing any more." in dead(460).text  # as near to the end as one stretch is


def test_a_question_that_has_ended_does_not_silence_the_compass() -> None:
    slow = statistic("momentum_gradient_cosine", 0.1), statistic("update_to_weight_ratio", 1.5e-3)

    def reading(to_step: float) -> str:
        gone = statistic("dead_row_fraction", 0.75, of=["layers.3.weight"], to_step=to_step)
        diagnosis = diagnose(changed(*slow, gone))
        assert diagnosis.findings[0].title == "Are these units dead?"
        assert diagnosis.compass is not None
        return diagnosis.compass.run.text

    assert reading(200) == "about 3× too low"
    assert reading(500) == "no reading: see “Are these units dead?” first"


def test_what_may_be_no_fault_is_no_cause() -> None:
    stale = statistic("gradient_surprise", 0.01, from_step=100)

    def cause(fraction: float) -> str | None:
        dead = statistic("dead_row_fraction", fraction, of=["layers.3.weight"])
        return found(changed(stale, dead))["stale_second_moment"].consequence_of

    assert cause(0.75) is None
    assert cause(0.95) == "dead_units"


def test_decay_that_overshoots_is_said_as_what_it_does() -> None:
    grows = diagnose(
        changed(
            hyperparameter("weight_decay", 2500.0),
            *DECAY,
            *PLANTED["gradient_spike"],
            column("loss", 50.0, from_step=100),
            statistic("nonfinite_count", 3.0, of=["head.weight"], from_step=400),
        )
    )
    first, *others = grows.findings
    assert (first.rule, first.severity) == ("weight_decay_overshoots", "error")
    assert "by 1 - lr · weight_decay = 1 - 1e-3 · 2500 = -1.5" in first.text
    assert first.text.endswith("change sign at every step, and grow.")
    assert first.advice.startswith("Try a weight_decay of 0.01 to 0.1")
    assert {f.rule for f in others} == {"gradient_spike", "loss_blowup", "nonfinite"}
    assert {f.consequence_of for f in others} == {"weight_decay_overshoots"}
    flips = found(changed(hyperparameter("weight_decay", 1500.0)))["weight_decay_overshoots"]
    assert "= -0.5: weights change sign at every step, and forget what they hold." in flips.text
    assert grows.compass is not None
    assert grows.compass.run.text == "no reading: see “Weight decay overshoots” first"


def test_decay_of_one_group_overshoots_by_itself() -> None:
    finding = found(changed(hyperparameter("weight_decay", 1500.0, group=1)))
    assert finding["weight_decay_overshoots"].parameters == tuple(BIASES)
    jumped = [hyperparameter("lr", 200.0, from_step=200), column("lr", 200.0, from_step=200)]
    findings = found(changed(*jumped))
    assert findings["weight_decay_overshoots"].consequence_of == "lr_jump"
    assert "Lower the learning rate (200)" in findings["weight_decay_overshoots"].advice


def test_decay_mainly_shrinks_weights_only_where_the_update_is_along_them() -> None:
    along = statistic("update_weight_cosine", -0.95)
    assert "mainly shrinks" in found(changed(*DECAY, along))["weight_decay_too_strong"].text
    balanced = found(changed(*DECAY, hyperparameter("weight_decay", 200.0)))
    said = "what a step adds is gone again after about 5 steps."
    assert said in balanced["weight_decay_too_strong"].text
    coupled = optimizer("Adam", decoupled_weight_decay=False)
    assert "takes away again" in found(changed(*DECAY, coupled))["weight_decay_too_strong"].text


def test_no_clip_limit_is_taken_from_what_has_diverged() -> None:
    diverged = [
        column("gradient_norm", lambda t: 1e13 * np.exp(0.2 * (t % 3)), from_step=100),
        column("loss", 1e9, from_step=100),
    ]
    spike = found(changed(*diverged))["gradient_spike"]
    assert "Clip the gradient norm to 2 (twice the median)" in spike.advice
    # What lasts from the start is still limited by the steps before the loss blew up.
    clipped = [
        column("gradient_norm", 1e-3),
        column("gradient_norm_before_clip", 40.0),
        column("gradient_norm_before_clip", 1e13, from_step=200),
        column("loss", 1e9, from_step=200),
        statistic("epsilon_10_fraction", 0.9),
    ]
    assert "Try max_norm 80, twice" in found(changed(*clipped))["clip_always"].advice


def test_updates_of_one_size_say_nothing_where_beta2_makes_them() -> None:
    signs = [*PLANTED["bimodal_update"], hyperparameter("beta2", 0.0)]
    assert "bimodal_update" not in found(changed(*signs))
    assert "beta2 is 0" in not_evaluated(diagnose(changed(*signs)))["bimodal_update"]
    low = [*PLANTED["bimodal_update"], *PLANTED["beta2_too_low"], hyperparameter("beta2", 0.6)]
    assert found(changed(*low))["bimodal_update"].consequence_of == "beta2_too_low"


def test_the_first_steps_that_are_named_are_those_of_the_finding() -> None:
    first = statistic("update_to_weight_ratio", 0.01, to_step=8)
    later = statistic("update_to_weight_ratio", 0.246, from_step=10, to_step=20)
    finding = found(changed(first, later))["lr_too_high"]
    assert (finding.first_step, finding.last_step) == (11, 20)
    assert finding.text.startswith("Over the 10 steps up to step 20 the updates")
    at_once = statistic("update_to_weight_ratio", 0.5, to_step=8)
    fast = found(changed(lambda _: make_run(every=1), at_once))["lr_too_high"]
    assert (fast.first_step, fast.last_step) == (1, 10)
    assert fast.text.startswith("Over the first 10 steps the updates")


def test_a_loss_that_rose_a_little_gets_the_value_of_the_compass() -> None:
    bearable = statistic("update_to_weight_ratio", 0.2, to_step=16)
    rose = column("loss", 2.3 * 1.2, from_step=2, to_step=12)
    diagnosis = diagnose(changed(bearable, rose))
    (asked,) = diagnosis.findings
    assert asked.title == "Is the learning rate too high?"
    assert "and the loss rose at first, to 2.8." in asked.text
    assert asked.advice.startswith("Try lr 1e-4 instead of 1e-3, or a warm-up")
    assert diagnosis.compass is not None
    assert diagnosis.compass.run.text == "about 10× too high"
    # And where it did not, neither has a value.
    other = diagnose(changed(bearable))
    assert other.findings[0].advice.startswith("If the loss rises at first, try a third of it")
    assert other.compass is not None
    assert other.compass.run.text == "cannot be told"


def test_nothing_is_about_right_beside_the_question_whether_it_is_too_high() -> None:
    bearable = statistic("update_to_weight_ratio", 0.09, to_step=16)
    agree = statistic("momentum_gradient_cosine", 0.06)
    diagnosis = diagnose(changed(bearable, agree))
    assert [f.rule for f in diagnosis.findings] == ["lr_too_high"]
    assert diagnosis.compass is not None
    assert diagnosis.compass.run.text == "no reading: see “Is the learning rate too high?” first"


def test_clipping_begins_with_the_first_step_of_its_window() -> None:
    for rule in ("clip_always", "clip_constant"):
        whole = found(changed(*PLANTED[rule]))[rule]
        assert (whole.first_step, whole.last_step) == (1, 500), rule
    since = [column("gradient_norm_before_clip", 1.0, to_step=200)]
    later = found(changed(*CLIPPED, *since))["clip_always"]
    assert 199 <= later.first_step <= 202  # of a window 95 % have to be clipped
    # A window and nineteen more steps are as many as it needs, two of a window not clipped.
    for last, known in ((67, True), (66, False)):
        short = [column("gradient_norm_before_clip", 1.0, from_step=last + 1)]
        assert ("clip_always" in found(changed(*CLIPPED, *short))) == known


def test_rare_rows_are_asked_about_where_decay_moves_them() -> None:
    rare = PLANTED["rare_rows"][:1]
    taken = found(changed(*PLANTED["rare_rows"]))["rare_rows"]
    assert "weight decay has taken 22 % of a row that was never used" in taken.text
    coupled = found(changed(*rare, optimizer("Adam", decoupled_weight_decay=False)))["rare_rows"]
    assert "weight decay moves them by full steps" in coupled.text


# --- what is advised ----------------------------------------------------------------------------


def test_a_learning_rate_of_zero_explains_what_follows() -> None:
    flat = [*ZERO, column("loss", flat_loss), statistic("momentum_gradient_cosine", 0.8)]
    diagnosis = diagnose(changed(*flat))
    first, *others = diagnosis.findings
    assert (first.rule, first.severity) == ("lr_zero", "error")
    assert {f.rule for f in others} == {"frozen", "plateau"}
    assert {f.consequence_of for f in others} == {"lr_zero"}
    assert not any("Raise" in f.advice for f in diagnosis.findings)
    assert diagnosis.compass is not None
    assert diagnosis.compass.run.text.startswith("no reading: see “The learning rate is 0")
    # As a warm-up begins, and as a linear schedule ends.
    assert "lr_zero" not in found(changed(column("lr", 0.0, to_step=1)))
    assert found(changed(column("lr", lambda t: 1e-3 * (1 - t / 500)))) == {}


def test_a_learning_rate_far_too_high_gets_a_value_that_is_low_enough() -> None:
    def advice(ratio: float, lr: float) -> str:
        fast = statistic("update_to_weight_ratio", ratio, to_step=16)
        return found(changed(fast, column("lr", lr)))["lr_too_high"].advice

    assert advice(465.0, 20.0).startswith("Try lr 2e-3 instead of 20: update-to-weight ratio 465 →")
    assert advice(1e6, 20.0).startswith("Lower the learning rate (20) until no update-to-weight")


def test_advice_speaks_of_the_peak_and_not_of_a_step_of_the_schedule() -> None:
    warm = column("lr", lambda t: 1e-3 * np.minimum(t, 40) / 40)
    bad = found(changed(warm, statistic("nonfinite_count", 3.0, from_step=2, to_step=2)))
    assert "lr 3e-4 instead of 1e-3" in bad["nonfinite"].advice
    at_first = found(changed(warm, statistic("nonfinite_count", 3.0)))["nonfinite"]
    assert " lr " not in at_first.advice
    rising = column("lr", lambda t: 1e-6 * t)
    unknown = found(changed(rising, statistic("nonfinite_count", 3.0, from_step=200)))["nonfinite"]
    assert " lr " not in unknown.advice
    decayed = column("lr", lambda t: 1e-3 * (1 - t / 501))
    late = found(changed(decayed, column("loss", 50.0, from_step=450)))["loss_blowup"]
    assert "Try lr 1e-4 instead of 1e-3" in late.advice


def test_a_value_in_the_wrong_direction_is_not_advised() -> None:
    small = [statistic("epsilon_10_fraction", 0.8), statistic("exp_avg_sq_root", 1.0)]
    assert "Try eps" not in found(changed(*small))["eps_influences"].advice
    frozen = [*PLANTED["second_moment_frozen"], hyperparameter("beta2", 0.95)]
    assert "0.9" not in found(changed(*frozen))["second_moment_frozen"].advice
    stale = [*PLANTED["stale_second_moment"], hyperparameter("beta2", 0.9)]
    assert "beta2" not in found(changed(*stale))["stale_second_moment"].advice
    one = statistic("gradient_surprise", 80.0, of=["head.weight"], only=[30])
    spike = found(changed(one))["gradient_spike"]
    assert spike.advice.startswith("Try beta2 0.95 instead of 0.999. Look at the batch")
    assert "for up to 1,000 steps" in spike.text
    warmed = [
        statistic("update_to_weight_ratio", 0.246, to_step=80),
        column("lr", lambda t: 1e-3 * np.minimum(t, 80) / 80),
    ]
    assert "warm" not in found(changed(*warmed))["lr_too_high"].advice


def test_steps_are_not_advised_to_be_longer_than_is_usual() -> None:
    coherent = statistic("momentum_gradient_cosine", 0.9)
    long = found(changed(coherent, statistic("update_to_weight_ratio", 1.5e-3)))["lr_too_low"]
    assert "Try lr 3e-3 instead of 1e-3" in long.advice


def test_a_setting_gets_one_value_however_often_it_shows() -> None:
    twice = [
        statistic("weight_decay_ratio", 3.0, of=WEIGHTS, from_step=60, to_step=140),
        statistic("weight_decay_ratio", 9.0, of=WEIGHTS, from_step=400),
    ]
    (finding,) = diagnose(changed(*twice)).findings
    assert (finding.first_step, finding.last_step, finding.value) == (60, 500, 9)


# --- order, merging -----------------------------------------------------------------------------


def test_root_causes_come_first_and_explain_the_others() -> None:
    run = changed(
        column("lr", 0.1, from_step=200),
        column("loss", 50.0, from_step=210),
        statistic("dead_row_fraction", 1.0, of=LAYERS, from_step=220),
        column("gradient_norm", 500.0, from_step=205, to_step=205),
    )
    diagnosis = diagnose(run)
    assert diagnosis.findings[0].rule == "lr_jump"
    assert {f.consequence_of for f in diagnosis.findings[1:]} == {"lr_jump"}


def test_an_embedding_is_known_by_its_module_or_else_by_its_name() -> None:
    rare = statistic("dead_row_fraction", 0.95, of=["users.weight"])

    def of_module(module: str) -> Change:
        def change(run: RecordedRun) -> RecordedRun:
            table = replace(run.parameters[0], name="users.weight", module=module)
            return replace(run, parameters=(table, *run.parameters[1:]))

        return change

    decaying = hyperparameter("weight_decay", 0.5)
    assert set(found(changed(of_module("EmbeddingBag"), rare, decaying))) == {"rare_rows"}
    assert set(found(changed(of_module(""), rare))) == {"dead_units"}
    patches = [*PLANTED["rare_rows"], lambda run: replace(run, parameters=tuple(
        replace(p, module="Conv2d") for p in run.parameters))]  # fmt: skip
    assert set(found(changed(*patches))) == {"dead_units"}


def test_what_came_before_a_cause_is_no_consequence_of_it() -> None:
    run = changed(
        column("lr", 0.1, from_step=400),
        statistic("dead_row_fraction", 1.0, of=LAYERS, from_step=100, to_step=300),
    )
    assert found(run)["dead_units"].consequence_of is None


def test_a_cause_is_as_severe_as_its_consequences() -> None:
    run = changed(*DECAY, statistic("dead_row_fraction", 1.0, of=LAYERS, from_step=100))
    findings = found(run)
    assert findings["dead_units"].consequence_of == "weight_decay_too_strong"
    assert findings["weight_decay_too_strong"].severity == "error"
    assert found(changed(*DECAY))["weight_decay_too_strong"].severity == "warning"


def test_of_two_that_may_explain_each_other_the_earlier_is_the_cause() -> None:
    late_decay = statistic("weight_decay_ratio", 3.0, of=WEIGHTS, from_step=310)
    first, second = diagnose(changed(*PLANTED["gradient_spike"], late_decay)).findings
    assert (first.rule, second.rule) == ("gradient_spike", "weight_decay_too_strong")
    assert second.consequence_of == "gradient_spike"
    first, second = diagnose(changed(*PLANTED["gradient_spike"], *DECAY)).findings
    assert (first.rule, second.rule) == ("weight_decay_too_strong", "gradient_spike")


def test_a_consequence_says_to_see_to_its_cause_first() -> None:
    findings = found(changed(*SLOW, *STALE))
    assert findings["lr_too_low"].advice.startswith(
        "See to “Gradients add up from step to step” first. If this remains: Try lr "
    )
    assert found(changed(*SLOW))["lr_too_low"].advice.startswith("Try lr ")


def test_nothing_is_before_the_first_step() -> None:
    first = found(changed(statistic("nonfinite_count", 3.0)))["nonfinite"]
    assert first.advice.startswith("Look at the inputs")
    later = found(changed(statistic("nonfinite_count", 3.0, from_step=200)))["nonfinite"]
    assert later.advice.startswith("Look at the 20 steps before step 200 first")


def test_neighbouring_steps_are_one_finding_and_distant_ones_are_not() -> None:
    spikes = [column("gradient_norm", 100.0, from_step=t, to_step=t) for t in (200, 204, 450)]
    first, second = (f for f in diagnose(changed(*spikes)).findings if f.rule == "gradient_spike")
    assert (first.first_step, first.last_step) == (200, 204)
    assert (second.first_step, second.last_step) == (450, 450)
    many = [
        column("gradient_norm", 100.0, from_step=t, to_step=t) for t in (100, 200, 300, 400, 500)
    ]
    (all_of_them,) = (f for f in diagnose(changed(*many)).findings if f.rule == "gradient_spike")
    assert "5 steps" in all_of_them.text
