"""Is the learning rate too low? Gradients that agree from step to step, and small updates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tb_adam_plugin.arrays import Flags, Float64s, Indices
from tb_adam_plugin.languages.sentences import joined, say

from ..engine import thresholds
from ..engine.conditions import A_SURROGATE, NONE, RESUMED
from ..engine.healthy_ranges import healthy_matrices
from ..engine.over_time import median_of_all
from ..engine.phases import has_converged, is_near_peak, rectification
from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.signals import COSINE, RATIO, Signals
from ..engine.wording import number, one_digit, percent, try_lr

# Cosine of exp_avg and the next gradient: 0 at the best learning rate, 0.22 at a tenth of it, 0.78
# at a hundredth (medians of 17 tasks).
LEAST_COSINE = 0.35
# A learning rate is not too low if updates are larger than this relative to the weights.
MOST_RATIO = 2e-3
# Without a first moment: the ratio, and the loss relative to the first one. RMSprop, healthy: from
# 4.2e-3; a hundredth of the learning rate: up to 1.1e-4.
MOST_RATIO_ALONE = 5e-4
SLOW_LOSS_SHARE = 0.8
# Number of consecutive windows, after the first part of the run, in which gradients agree for a
# while.
TOO_LOW_POINTS = 8
START_SHARE = 0.1
# Above it, ten times the learning rate is not enough.
FAR_TOO_LOW_COSINE = 0.7
# Steps longer than this are not advised: a quarter of what healthy matrices reach.
LONGEST_ADVISED_RATIO = 1e-2


def _too_low(signals: Signals) -> Condition | str:
    if signals.has_surrogate_loss:  # its batches are reused, which makes gradients agree
        return A_SURROGATE
    run = signals.run
    matrices = run.weights_or_matrices
    ratio, cosine = _ratio(signals), signals.median(COSINE, matrices)
    since = max(signals.settled, START_SHARE * run.length)
    # At a decayed learning rate gradients agree, which says nothing about its peak.
    converged, decayed = has_converged(signals), ~is_near_peak(signals)
    counts = (run.step > since) & ~decayed & ~converged
    if not signals.is_known(COSINE):
        found = _moves_little(signals, ratio, counts, since)
        return found if isinstance(found, str) else _left_out(found, ratio, converged, decayed)
    surprise = signals.median("gradient_surprise", matrices)
    # If gradients have faded relative to the past, training is done rather than slow.
    still_learning = ~(surprise < thresholds.FADED_SURPRISE)
    holds = (cosine > LEAST_COSINE) & (ratio < MOST_RATIO) & (ratio > 0) & still_learning & counts

    def blame(record: int) -> Indices:
        row = signals.statistic(COSINE)[record, matrices]
        agreeing: Indices = matrices[row > LEAST_COSINE]
        return agreeing

    found = Condition(
        run.step,
        holds,
        cosine,
        LEAST_COSINE,
        matrices,
        blame=blame,
        since=since,
        known=~np.isnan(cosine) & counts,
        compared=COSINE,
    )
    return _left_out(found, cosine, converged, decayed)


def _ratio(signals: Signals) -> Float64s:
    """Median ratio of update to weight, without RAdam's own warm-up, ``[records]``."""
    ratio = signals.median(RATIO, signals.run.weights_or_matrices)
    return ratio / rectification(signals)


def steps_look_short(signals: Signals) -> tuple[Flags, Flags]:
    """Where gradients agree and weights hardly move, and where that is known, ``[records]``."""
    ratio = _ratio(signals)
    cosine = signals.median(COSINE, signals.run.weights_or_matrices)
    short: Flags = (cosine > LEAST_COSINE) & (ratio < MOST_RATIO) & (ratio > 0)
    return short, ~np.isnan(cosine)


def _left_out(found: Condition, value: Float64s, converged: Flags, decayed: Flags) -> Condition:
    """Add to a condition why records with a known value do not count."""
    known = ~np.isnan(value)
    below = say(
        "the learning rate was below {share} of its peak", share=percent(thresholds.NEAR_PEAK)
    )
    reasons = ((say("training had converged"), converged), (below, decayed))
    return replace(found, left_out=tuple((why, at & known) for why, at in reasons))


def _moves_little(
    signals: Signals, ratio: Float64s, counts: Flags, since: float
) -> Condition | str:
    """If the optimizer has no first moment: weights hardly move, and the loss hardly falls."""
    if np.isnan(signals.starting_loss):
        return RESUMED
    threshold = MOST_RATIO_ALONE
    loss = signals.at_records(signals.smooth_loss)
    start = signals.starting_loss
    slow = (loss > SLOW_LOSS_SHARE * start) & (loss < thresholds.LOSS_GREW * start)
    holds = (ratio < threshold) & (ratio > 0) & slow & counts
    matrices = signals.run.weights_or_matrices
    return Condition(
        signals.run.step,
        holds,
        ratio,
        threshold,
        lowest_is_worst=True,
        blame=lambda _: matrices,
        since=since,
        known=~np.isnan(ratio) & counts,
        compared=RATIO,
    )


def _too_low_advice(e: Evidence) -> str:
    run = e.signals.run
    inside = (run.step >= e.first_step) & (run.step <= e.last_step)
    cosine = median_of_all(e.signals.median(COSINE, run.weights_or_matrices)[inside])
    ratio = median_of_all(e.signals.median(RATIO, run.weights_or_matrices)[inside])
    most = 30 if cosine > FAR_TOO_LOW_COSINE else 10
    longest = LONGEST_ADVISED_RATIO / ratio
    factor = next((f for f in (30, 10) if f <= min(most, longest)), 3)
    lr = e.signals.usual_lr(NONE, e.last_step)
    note = say("On small data check the validation loss first: this is about the training loss.")
    if not lr > 0:
        return joined([say("Raise the learning rate {factor}-fold.", factor=factor), note])
    return joined([try_lr(one_digit(lr * factor), lr, ratio), note])


def _too_low_message(e: Evidence) -> str:
    if not e.signals.is_known(COSINE):
        low, high = map(number, healthy_matrices(e.signals.run))
        return say(
            "A step moves a typical weight matrix by {ratio} of its size (in healthy trainings "
            "{low} to {high}), and the loss hardly falls. Is the learning rate too low? "
            "Fine-tuning may look the same, and without a first moment there is no other sign.",
            ratio=number(e.value),
            low=low,
            high=high,
        )
    return say(
        "Gradients keep pointing the same way: their cosine with exp_avg reaches {cosine}, and is "
        "about 0 at the best learning rate. Are the steps too short?",
        cosine=number(e.value),
    )


LR_TOO_LOW = Rule(
    id="lr_too_low",
    title="Is the learning rate too low?",
    needs=(RATIO,),
    needs_any=(COSINE, "loss"),
    condition=_too_low,
    persistence=Persistence(TOO_LOW_POINTS, thresholds.LASTING_STEPS),
    severity="info",
    message=_too_low_message,
    advice=_too_low_advice,
    reference="Baydin et al. 2018, Online learning rate adaptation with hypergradient descent",
    once=True,
    explains=("plateau", "bimodal_update"),
    uses=("gradient_surprise",),
    moves_lr="up",
    shows="momentum_gradient_cosine",
)
