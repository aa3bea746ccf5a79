"""Are updates lost to rounding?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tb_adam_plugin.arrays import Flags, Float64s
from tb_adam_plugin.languages.sentences import say

from ..engine import thresholds
from ..engine.conditions import NONE, median_beyond
from ..engine.phases import assumed_start, has_converged
from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.signals import Signals
from ..engine.wording import number, percent

# Share of the requested changes that rounding removes. Healthy, in float32: up to 0.28, at the end
# of a schedule; harmed, in half precision: from 0.33.
LOST_FRACTION = 0.5
LOST_FRACTION_HALF = 0.3
LOST_POINTS = 5
# This share of elements without a gradient, as with dead units, accounts for as many lost updates.
ZERO_GRADIENTS = 0.5
# Stochastic rounding also leaves most weights unchanged, but the full request takes effect on
# average, in every matrix. Over this many records: 0.98 to 1.01, or this many standard errors below
# 1 if updates are small enough for chance to decide. Harmful rounding to nearest leaves some matrix
# short, at 0.03 to 0.97, even if large updates, which take effect, hide it elsewhere.
ARRIVES = 0.98
ARRIVES_RECORDS = 30
ARRIVES_ERRORS = 3.0
# Without a loss: if gradients have faded to this share of the largest in the first records,
# training is done. A learning rate that is too small loses updates before that.
FADED_GRADIENTS = 0.01
FIRST_RECORDS = 10

_HALF = ("float16", "bfloat16")


def _lost_updates(signals: Signals) -> Condition:
    matrices = signals.run.weights_or_matrices
    # Without gradients exp_avg fades away, and losing its remainder does not matter.
    faded = signals.median("zero_gradient_fraction", matrices) > ZERO_GRADIENTS
    types = [signals.run.parameters[i].dtype in _HALF for i in matrices]
    half = 2 * sum(types) > len(types)
    threshold = LOST_FRACTION_HALF if half else LOST_FRACTION
    # At the end of a schedule, updates are as small as it made them.
    lr = signals.at_records(signals.lr)
    ended = (lr < thresholds.DECAYED_TO * signals.peak_lr) | (lr == 0)
    counts = ~faded & ~ended & ~_is_done(signals, half=half)
    lost = median_beyond(signals, "lost_update_fraction", threshold, matrices, counts)
    return replace(lost, holds=lost.holds & ~_arrives(signals)) if lost.holds.any() else lost


def _is_done(signals: Signals, *, half: bool) -> Flags:
    """At which records there is nothing left to learn, as far as known, ``[records]``."""
    if half or signals.has_loss:
        return has_converged(signals, assumed_start(signals))
    size = signals.median("gradient_rms", signals.run.weights_or_matrices)
    first = size[:FIRST_RECORDS]
    first = first[np.isfinite(first)]
    done: Flags = size < FADED_GRADIENTS * (first.max() if first.size else np.nan)
    return done


def _arrives(signals: Signals) -> Flags:
    """Records at which every matrix gets, on average, the requested update, ``[records]``."""
    matrices = signals.run.weights_or_matrices
    slope = signals.values("update_slope", matrices).astype(np.float64)
    known = np.isfinite(slope)
    records = _sum_of_last(known.astype(np.float64))
    average = _sum_of_last(np.where(known, slope, 0)) / records
    # The error of a slope: rounding errors are independent between elements.
    error = signals.values("update_rounding_error", matrices).astype(np.float64)
    read = np.array([signals.run.parameters[i].elements_read for i in matrices])
    squares = np.where(known & np.isfinite(error), error**2 / np.maximum(read, 1), 0)
    chance = ARRIVES_ERRORS * np.sqrt(_sum_of_last(squares)) / records
    arrives = (average > np.minimum(ARRIVES, 1 - chance)) | (records == 0)
    everywhere: Flags = arrives.all(axis=1) & (records > 0).any(axis=1)
    return everywhere


def _sum_of_last(values: Float64s) -> Float64s:
    """Sum of the last :data:`ARRIVES_RECORDS` records up to each, same shape as ``values``."""
    sums: Float64s = np.cumsum(values, axis=0)
    found: Float64s = sums.copy()
    found[ARRIVES_RECORDS:] -= sums[:-ARRIVES_RECORDS]
    return found


def _types(e: Evidence) -> str:
    types = {e.signals.run.parameters[i].dtype for i in e.parameters}
    return ", ".join(sorted(types))


def _lost_updates_advice(e: Evidence) -> str:
    if "float16" in _types(e):
        return say(
            "Keep the weights in float32 and compute in half precision (torch.autocast), or round "
            "stochastically. A higher learning rate is not the fix."
        )
    lr, peak = e.signals.lr_of(e.parameters, e.worst_step), e.signals.usual_lr(NONE, e.worst_step)
    if lr < thresholds.NEAR_PEAK * peak:
        return say(
            "The steps are below the precision of the weights: end the schedule at a learning rate "
            "above {lr}.",
            lr=number(lr),
        )
    if lr > 0:
        return say(
            "The steps are below the precision of the weights: raise lr from {lr}.", lr=number(lr)
        )
    return say("The steps are below the precision of the weights.")


def _lost_updates_message(e: Evidence) -> str:
    types = _types(e)
    if not types:
        return say(
            "{share} of the changes that the optimizer asks for are smaller than half the distance "
            "between neighbouring stored numbers: the weight stays as it was.",
            share=percent(e.value),
        )
    return say(
        "{share} of the changes that the optimizer asks for are smaller than half the distance "
        "between neighbouring {types} numbers: the weight stays as it was.",
        share=percent(e.value),
        types=types,
    )


LOST_UPDATES = Rule(
    id="lost_updates",
    title="Updates are lost to rounding",
    needs=("lost_update_fraction",),
    condition=_lost_updates,
    persistence=Persistence(LOST_POINTS),
    severity=lambda e: "error" if e.value > LOST_FRACTION else "warning",
    message=_lost_updates_message,
    advice=_lost_updates_advice,
    reference="Zamirai et al. 2020, Revisiting BFloat16 training",
    explains=("lr_too_low", "plateau", "second_moment_frozen", "layer_imbalance",
              "noise_dominated", "bimodal_update"),
    uses=("zero_gradient_fraction", "update_slope", "update_rounding_error", "gradient_rms",
          "loss"),
    once=True,
    moves_lr="up",
    silences_compass=True,
)  # fmt: skip
