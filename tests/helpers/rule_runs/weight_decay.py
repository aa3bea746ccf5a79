"""Runs in which weight decay does harm, and runs that just miss it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from synthetic_runs import WEIGHTS, Change, column, hyperparameter, optimizer, statistic

from rule_runs.adam_state import EPS
from rule_runs.parts import BIASES, LAYERS, NearMiss
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun
from tb_adam_plugin.schema import Unoptimized


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
DECAY: list[Change] = [statistic("weight_decay_ratio", 3.0, of=WEIGHTS)]


def layer_norms(names: Sequence[str], group: int = 0, module: str = "RMSNorm") -> Change:
    """Turn vectors into the gains of normalization layers, in a group."""

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
# One group; decay that matters.
DECAYED: list[Change] = [
    layer_norms(BIASES, group=1),
    hyperparameter("weight_decay", 0.5),
    statistic("weight_decay_ratio", 0.4),
]

PLANTED: dict[str, Sequence[Change]] = {
    "weight_decay_overshoots": [hyperparameter("weight_decay", 1500.0)],
    "weight_decay_too_strong": DECAY,
    "short_memory": [hyperparameter("weight_decay", 4.0)],
    "l2_in_adam": [optimizer("Adam", decoupled_weight_decay=False)],
    "decayed_gains": [GAINS, hyperparameter("weight_decay", 0.0, group=1)],
    "idle_rows_decay": KEPT,
    "rare_rows": [
        statistic("dead_row_fraction", 0.95, of=["embedding.weight"]),
        hyperparameter("weight_decay", 0.5),
    ],
}

NEAR: list[NearMiss] = [
    ("short_memory", "a longer one", [hyperparameter("weight_decay", 2.0)]),
    ("short_memory", "not yet forgotten", [hyperparameter("weight_decay", 4.0, from_step=440)]),
    (
        "short_memory",
        "decay passes through the moments",
        [hyperparameter("weight_decay", 4.0), optimizer("Adam", decoupled_weight_decay=False)],
    ),
    ("short_memory", "overshoots", [hyperparameter("weight_decay", 1500.0)]),
    ("short_memory", "of biases alone", [hyperparameter("weight_decay", 4.0, group=1)]),
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
    ("l2_in_adam", "no decay", [*PLANTED["l2_in_adam"], hyperparameter("weight_decay", 0.0)]),
    ("l2_in_adam", "decoupled", [optimizer("Adam", decoupled_weight_decay=True)]),
    ("l2_in_adam", "SGD", [optimizer("SGD", decoupled_weight_decay=False)]),
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
]
