"""Does one layer move at a different speed?"""

from __future__ import annotations

import math

import numpy as np

from tb_adam_plugin.arrays import Float32s
from tb_adam_plugin.languages.sentences import say

from ..engine.over_time import median, median_of_all
from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.signals import Signals
from ..engine.wording import named, number, step

# Update-to-weight ratio of a weight relative to the median of all. Healthy: up to 7.6 with
# Adam-like optimizers, 16 with SGD, which does not adapt; a thousandth of the learning rate: from
# 500.
MOST_FACTOR = 30.0
IMBALANCE_POINTS = 3
LEAST_WEIGHTS = 3


def _imbalance(signals: Signals) -> Condition | None:
    run = signals.run
    weights = signals.started_weights
    if weights.size < LEAST_WEIGHTS:
        return None

    def compute(part: slice) -> Float32s:
        ratio = signals.statistic("update_to_weight_ratio")[part][:, weights]
        zero = signals.statistic("zero_gradient_fraction")[part][:, weights]
        moves = (zero < 1) & (ratio > 0) & np.isfinite(ratio)
        ratio = np.where(moves, ratio, np.nan).astype(np.float32)
        relative = ratio / median(ratio)[:, None]
        factor: Float32s = np.maximum(relative, 1 / relative).astype(np.float32)
        return factor

    factor = signals.by_record(("imbalance", weights.tobytes()), compute)
    return Condition(
        run.step,
        factor > MOST_FACTOR,
        factor,
        MOST_FACTOR,
        weights,
    )


def _imbalance_message(e: Evidence) -> str:
    signals = e.signals
    record = e.worst_record
    ratios = signals.statistic("update_to_weight_ratio")[record]
    typical = float(signals.median("update_to_weight_ratio", signals.started_weights)[record])
    seen: dict[str, str] = {
        "names": named(e.names, signals.run.names),
        "factor": number(e.value),
        "step": step(e.worst_step),
        "ratio": number(typical),
    }
    if median_of_all(ratios[e.parameters]) > typical:
        return say(
            "{names}: moves {factor} times faster than a typical weight, relative to its size "
            "(step {step}, where the median ratio is {ratio}).",
            **seen,
        )
    return say(
        "{names}: moves {factor} times slower than a typical weight, relative to its size (step "
        "{step}, where the median ratio is {ratio}).",
        **seen,
    )


def _imbalance_advice(e: Evidence) -> str:
    lr = e.signals.lr_of(e.parameters, e.worst_step)
    if math.isfinite(lr):
        return say(
            "Compare the learning rate of its group ({lr}) and its initial scale with those of the "
            "others; this layer may need a learning rate of its own.",
            lr=number(lr),
        )
    return say(
        "Compare the learning rate of its group and its initial scale with those of the others; "
        "this layer may need a learning rate of its own."
    )


LAYER_IMBALANCE = Rule(
    id="layer_imbalance",
    title="Does one layer move at a different speed?",
    needs=("update_to_weight_ratio", "zero_gradient_fraction"),
    condition=_imbalance,
    persistence=Persistence(IMBALANCE_POINTS),
    severity="info",
    message=_imbalance_message,
    advice=_imbalance_advice,
    reference="You et al. 2017, Large batch training of convolutional networks",
    uses=("weight_rms",),
)
