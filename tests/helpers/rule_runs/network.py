"""Runs with faulty units, layers or initial weights, and runs that just miss it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from synthetic_runs import Change, column, statistic

from rule_runs.parts import LAYERS, MATRICES, NearMiss, flat_loss
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun


def profile(decades: float, last: float = 0.0) -> list[float]:
    """Gradient RMS of six weights with equal RMS, so sensitivity grows with depth.

    Args:
        decades: From the first to the last.
        last: Additional decades of the last one alone.
    """
    elements = [4096] * 5 + [640]
    return [10 ** (decades * i / 5 + last * (i == 5)) / n for i, n in enumerate(elements)]


def recurrent(module: str, name: str = "rnn.weight_hh_l0") -> Change:
    """Turn the fourth weight into one of a recurrent layer."""

    def change(run: RecordedRun) -> RecordedRun:
        parameters = (
            replace(p, name=name, shape=(256, 64), module=module)
            if p.name == "layers.3.weight"
            else p
            for p in run.parameters
        )
        return replace(run, parameters=tuple(parameters))

    return change


def unused(dead: float, idle: float, name: str = "embedding.weight") -> list[Change]:
    """Rows without a gradient at one record, and at all of the last ones."""
    return [
        statistic("dead_row_fraction", dead, of=[name]),
        statistic("idle_row_fraction", idle, of=[name], from_step=70),
    ]


def stack(
    module: str = "", shape: tuple[int, ...] = (8, 64, 64), name: str = "experts.w1"
) -> Change:
    """Turn the fourth weight into a stack of matrices."""

    def change(run: RecordedRun) -> RecordedRun:
        parameters = (
            replace(p, name=name, shape=shape, module=module) if p.name == "layers.3.weight" else p
            for p in run.parameters
        )
        return replace(run, parameters=tuple(parameters))

    return change


DEAD_GATES: list[Change] = [statistic("dead_row_fraction", 0.95, of=["layers.3.weight"])]
# The first two layers have no gradient from some step on; the bias of the second has one.
CUT_OFF: list[Change] = [
    statistic(name, 1.0, of=["layers.0.weight", "layers.0.bias", "layers.1.weight"], from_step=200)
    for name in ("dead_row_fraction", "zero_gradient_fraction")
]
AT_LAST: list[Change] = [statistic("idle_row_fraction", 0.5, of=["embedding.weight"], to_step=470)]
VANISHING: list[Change] = [
    statistic("gradient_rms", profile(3.0), of=MATRICES),
    statistic("weight_rms", 1.0, of=MATRICES, from_step=2),
    column("loss", flat_loss),
]

PLANTED: dict[str, Sequence[Change]] = {
    "init_too_small": [
        statistic("weight_rms", 0.001, only=[0]),
        statistic("elasticity", 1e-5, only=[0]),
    ],
    "init_too_large": [
        statistic("weight_rms", 0.5, only=[0]),
        statistic("weight_absmax", 1.0, only=[0]),
    ],
    "dead_units": [statistic("dead_row_fraction", 0.7, of=["layers.3.weight"])],
    "unused_rows": unused(0.95, 0.93),
    "vanishing_gradient": VANISHING,
    "layer_imbalance": [statistic("update_to_weight_ratio", 0.08, of=["layers.4.weight"])],
}

NEAR: list[NearMiss] = [
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
    ("dead_units", "as in healthy networks", [statistic("dead_row_fraction", 0.5)]),
    ("dead_units", "other units at each step", unused(0.95, 0.5, "layers.3.weight")),
    ("unused_rows", "half of a vocabulary", unused(0.6, 0.55)),
    ("unused_rows", "rows take turns", unused(0.97, 0.93)),
    ("unused_rows", "short", [*unused(0.95, 0.93), *AT_LAST]),
    ("unused_rows", "channels", [*unused(0.3, 0.3, "layers.3.weight"), stack("Conv1d")]),
    (
        "unused_rows",
        "positions of a short text",
        [*unused(0.5, 0.5, "layers.3.weight"), stack(shape=(64, 1, 64))],
    ),
    ("unused_rows", "experts take turns", [*unused(0.5, 0.0, "layers.3.weight"), stack()]),
    ("dead_units", "few units", [statistic("dead_row_fraction", 0.75, of=["head.weight"])]),
    ("dead_units", "embedding", [statistic("dead_row_fraction", 0.9, of=["embedding.weight"])]),
    ("dead_units", "gates of an LSTM", [*DEAD_GATES, recurrent("LSTM")]),
    ("dead_units", "gates of what is not known", [*DEAD_GATES, recurrent("")]),
    (
        "dead_units",
        "frozen in mid-run",
        [*CUT_OFF, statistic("zero_gradient_fraction", 1.0, of=["layers.1.bias"], from_step=200)],
    ),
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
]
