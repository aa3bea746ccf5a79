"""Does exp_avg_sq remember too little, or too much?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Flags, Float64s
from tb_adam_plugin.languages.sentences import say

from ..engine import thresholds
from ..engine.clipped import is_clipped
from ..engine.conditions import median_beyond
from ..engine.over_time import median, moving_average
from ..engine.phases import has_converged
from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.signals import Signals
from ..engine.wording import decay, number, percent

# Change of log √v̂ from step to step. Healthy: up to 0.07; β2 = 0.5 and less: 0.33 and more.
MOST_FLICKER = 0.2
FLICKER_POINTS = 5
# A higher beta2 does not flicker by itself: something else is wrong.
TOO_LOW_AT_MOST = 0.9
# Gradient relative to √v̂ before the step: v remembers gradients that are long gone.
STALE_SURPRISE = 0.1
STALE_POINTS = 5
# A burst is a norm that is this many times the median of the first steps, or of the BEFORE_STEPS
# before it. What v mostly remembers is not a burst, but the normal descent from the start of
# training, if the last of those norms is below the second share of it. A burst at the start ends at
# once: norms fall to the third share from one median of CLIFF_STEPS to the next. First descents: to
# a third; bursts of ten steps at the start: to a tenth and less.
BURST = 3.0
BEFORE_STEPS = 10
FALLEN = 1 / 3
CLIFF = 1 / 8
CLIFF_STEPS = 5


def _beta2_advice(e: Evidence) -> str:
    beta2 = e.signals.hyperparameter_now("beta2")
    if not 0 <= beta2 < 1:
        return say("Raise the decay of the average of squared gradients to 0.95 or more.")
    return say(
        "Try beta2 0.95 (large batches, language models) to 0.999 instead of {beta2}: change of √v̂ "
        "from step to step {now} → about {then} or less. Keep beta2 ≥ beta1.",
        beta2=decay(beta2),
        now=percent(e.value),
        then=percent(0.71 * 0.05),
    )


def _beta2_message(e: Evidence) -> str:
    beta2 = e.signals.hyperparameter_now("beta2")
    if not 0 <= beta2 < 1:
        return say(
            "exp_avg_sq forgets at once: √v̂ changes by {change} from one step to the next, so the "
            "step size of every element jitters.",
            change=percent(e.value),
        )
    return say(
        "exp_avg_sq forgets in {steps} steps: √v̂ changes by {change} from one step to the next, so "
        "the step size of every element jitters.",
        steps=f"{1 / (1 - beta2):.1f}",
        change=percent(e.value),
    )


def _beta2_too_low(signals: Signals) -> Condition:
    beta2 = signals.hyperparameter_now("beta2")
    high = beta2 > TOO_LOW_AT_MOST
    # The loss may soon be infinite, and a low beta2 quickly forms an average.
    return median_beyond(
        signals,
        "second_moment_flicker",
        MOST_FLICKER,
        signals.run.weights_or_matrices,
        np.full(signals.run.step.shape, not high),
        since=2 / (1 - beta2) if beta2 < 1 and not high else signals.settled,
    )


BETA2_TOO_LOW = Rule(
    id="beta2_too_low",
    title="beta2 too low",
    needs=("second_moment_flicker",),
    condition=_beta2_too_low,
    persistence=Persistence(FLICKER_POINTS),
    once=True,
    severity="error",
    message=_beta2_message,
    advice=_beta2_advice,
    reference="Zhang et al. 2022, Adam can converge without any modification on update rules",
    explains=(
        "gradient_spike",
        "loss_blowup",
        "weights_grow",
        "layer_imbalance",
        "lr_too_high",
        "lost_updates",
        "nonfinite",
        "dead_units",
        "plateau",
        "second_moment_underflow",
        "state_reset",
        "stale_second_moment",
        "gradient_scale",
        "bimodal_update",
        # √v̂ of elements with occasional gradients soon falls below eps.
        "eps_dominates",
        "eps_influences",
    ),
    silences_compass=True,
)


def _stale(signals: Signals) -> Condition:
    weights = signals.run.weights_or_matrices
    some = signals.median("gradient_surprise", weights) > 0
    fell = signals.at_records(_fell_from_the_start(signals)) == 1
    return median_beyond(
        signals,
        "gradient_surprise",
        STALE_SURPRISE,
        weights,
        ~has_converged(signals) & some & ~fell,
        below=True,
        since=signals.settled,
    )


def _fell_from_the_start(signals: Signals) -> Float64s:
    """Steps at which the gradient norm has fallen to its current value without a burst on the way.

    Returns:
        float64 ``[steps]``: 1 there, 0 elsewhere, and if norms or the start are unknown.
    """
    found = np.zeros(signals.steps.shape)
    known = np.flatnonzero(np.isfinite(signals.norm_before_clip) & (signals.norm_before_clip > 0))
    if signals.run.first_step > thresholds.FIRST_STEP or not known.size:
        return found
    step, norm = signals.steps[known], signals.norm_before_clip[known]
    beta2 = signals.hyperparameter_now("beta2")
    fades = -0.5 * np.log(beta2) if 0 < beta2 < 1 else 0.0
    remembered = np.log(norm) + fades * step
    # For each step, the step whose norm v mostly remembers.
    peak = np.maximum.accumulate(
        np.where(remembered == np.maximum.accumulate(remembered), np.arange(norm.size), 0)
    )
    now = np.exp(moving_average(np.log(norm), BEFORE_STEPS))
    at_once = np.maximum.accumulate(np.where(_end_at_once(norm), np.arange(norm.size), -1)) >= peak
    found[known] = (now < FALLEN * norm[peak]) & ~_are_bursts(norm)[peak] & ~at_once
    return found


def _are_bursts(norm: Float64s) -> Flags:
    """Which norms are far larger than those before them, or than the first ones."""
    padded = np.concatenate([np.full(BEFORE_STEPS, np.nan), norm])
    usual = median(np.lib.stride_tricks.sliding_window_view(padded, BEFORE_STEPS)[:-1])
    usual[BEFORE_STEPS:] = np.minimum(usual[BEFORE_STEPS:], np.median(norm[:BEFORE_STEPS]))
    bursts: Flags = norm > BURST * usual
    return bursts


def _end_at_once(norm: Float64s) -> Flags:
    """Which norms are followed by far smaller ones."""
    padded = np.concatenate([np.full(CLIFF_STEPS - 1, np.nan), norm, np.full(CLIFF_STEPS, np.nan)])
    medians = median(np.lib.stride_tricks.sliding_window_view(padded, CLIFF_STEPS))
    fall: Flags = medians[CLIFF_STEPS:] < CLIFF * medians[:-CLIFF_STEPS]
    return fall


def _stale_advice(e: Evidence) -> str:
    beta2, clipped = e.signals.hyperparameter_now("beta2"), is_clipped(e.signals)
    if not thresholds.BETA2_FORGETS < beta2 < 1:
        return "" if clipped else say("Clipping the gradient norm keeps a burst out.")
    now, lower = decay(beta2), decay(thresholds.BETA2_FORGETS)
    if clipped:
        return say(
            "Gradients are clipped already; beta2 {lower} instead of {beta2} forgets a burst "
            "sooner.",
            lower=lower,
            beta2=now,
        )
    return say(
        "Clipping the gradient norm keeps a burst out, and beta2 {lower} instead of {beta2} "
        "forgets it sooner.",
        lower=lower,
        beta2=now,
    )


def _stale_message(e: Evidence) -> str:
    times = number(1 / e.value)
    if e.is_over:
        return say(
            "Gradients were {times} times smaller than what exp_avg_sq remembered, and so were the "
            "steps. Was there a burst of large gradients before?",
            times=times,
        )
    return say(
        "Gradients are {times} times smaller than what exp_avg_sq remembers, and so are the steps. "
        "Was there a burst of large gradients before?",
        times=times,
    )


STALE = Rule(
    id="stale_second_moment",
    title="exp_avg_sq remembers larger gradients",
    needs=("gradient_surprise", "loss"),
    condition=_stale,
    persistence=Persistence(STALE_POINTS),
    severity="info",
    message=_stale_message,
    advice=_stale_advice,
    uses=("gradient_norm", "gradient_norm_before_clip", "gradient_rescaling"),
    reference="Bai et al. 2025, Adaptive preconditioners trigger loss spikes in Adam",
)
