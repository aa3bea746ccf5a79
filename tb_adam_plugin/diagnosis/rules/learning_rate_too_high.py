"""Is the learning rate too high? First updates that leave little of the initial weights."""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Float64s, Indices
from tb_adam_plugin.languages.sentences import joined, say

from ..engine import thresholds
from ..engine.blowup import blew_up
from ..engine.conditions import NONE, RESUMED
from ..engine.first_steps import factor_of_first_steps, highest_early_loss
from ..engine.healthy_ranges import healthy_matrices
from ..engine.over_time import sum_over_steps
from ..engine.rule import Condition, Evidence, Persistence, Rule, Severity
from ..engine.signals import RATIO, Signals
from ..engine.warmup import warmup_steps
from ..engine.wording import counted, number, one_digit, step, try_lr
from ..engine.worst import worst_point
from .gain_ratio import overshoots

# Sum of the matrices' median update-to-weight ratio over PATH_STEPS of the first steps. Healthy: up
# to 2 (a bag of words, at the highest learning rate of its scan), with Adamax up to 3.4. A learning
# rate 30 to 100 times too high: from 0.4, in two of three runs from 2.2.
MOST_PATH = 2.2
# For an optimizer whose denominator only grows.
MOST_PATH_SHRINKING = 8.0
# Share of it from which on the rule asks. Healthy: up to it in about nine runs of ten.
SHARE_ASKS = 0.36
# If the loss rose to this multiple of the first one (mean of EARLY_LOSS_STEPS) and stayed above it,
# this share is enough, which no healthy run had when its loss did so.
SHARE_WHERE_LOSS_ROSE = 0.2
LOSS_ROSE = 1.5
# Some networks tolerate it: their loss falls to this share of the first one within these steps, and
# is never above the second share. Two layers on a graph at ten and thirty times the published
# learning rate, which learned more for it: to a quarter.
BORNE_SHARE, BORNE_RISE = 0.4, 1.05
# In trials, 0.09 was seen at 3 times the best learning rate, 0.33 at 10 times, 0.68 at 100 times.
FAR_TOO_HIGH_RATIO = 0.25
# The largest ratio after the advised change, and the possible divisors of the learning rate.
TARGET_RATIO = 0.06
FACTORS = (3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4)


def too_high(signals: Signals) -> Condition:
    """Where the first updates add up to so much that little is left of the weights."""
    early = signals.run.step <= signals.warmup_end + thresholds.EARLY_STEPS
    step = signals.run.step[early]
    weights, share = signals.started_weights, SHARE_ASKS
    if _rose_to(signals) > 0:
        share = SHARE_WHERE_LOSS_ROSE
    path = sum_over_steps(step, _ratio_of_gradients(signals)[early], thresholds.PATH_STEPS)

    most, steps = _most(signals), thresholds.PATH_STEPS
    lacking = RESUMED if signals.run.first_step > thresholds.FIRST_STEP else ""
    if not lacking and signals.run.last_step < steps:
        seen = counted(int(signals.run.last_step), "step")
        lacking = say("{seen}, needs {needed}", seen=seen, needed=steps)
    if not (path > share * most).any():
        return Condition(step, path > share * most, path, most, lacking=lacking)
    # The message is about the steps with the largest sum.
    (worst,) = worst_point(path > share * most, path)
    first = max(signals.run.first_step, step[worst] - steps + 1)

    def blame(point: int) -> Indices:
        row = signals.statistic(RATIO)[worst, weights]
        fast: Indices = weights[row >= np.median(row)]
        return fast

    ends = np.unique([first, step[worst]])
    values = np.where(ends < step[worst], 0.0, path[worst])
    holds = np.ones(ends.shape, bool)
    return Condition(ends, holds, values, most, blame=blame, lacking=lacking)


def _most(signals: Signals) -> float:
    """The largest acceptable sum of the ratio."""
    if _adds_up_squares(signals):
        return MOST_PATH_SHRINKING
    alpha = signals.uncorrected_alpha
    if np.isnan(alpha):
        return MOST_PATH
    # The first steps are longer by 1/√(1 - αᵗ), at any learning rate.
    steps = np.arange(1, thresholds.PATH_STEPS + 1)
    return MOST_PATH * float(np.mean(1 / np.sqrt(1 - alpha**steps)))


def _rose_to(signals: Signals) -> float:
    """The peak of the loss in the first steps, a mean of several; infinity if it is not finite.

    0 if it did not rise, or fell again in the second half of these steps.
    """
    if signals.run.first_step > thresholds.FIRST_STEP or not signals.loss_is_measure:
        return 0.0
    early = signals.steps <= signals.warmup_end + thresholds.EARLY_STEPS
    loss, first = signals.column("loss")[early][1:], _loss_before(signals)
    loss, steps = loss[~np.isnan(loss)], thresholds.EARLY_LOSS_STEPS
    if loss.size < 2 * steps or np.isnan(first):
        return 0.0
    highest = float(np.lib.stride_tricks.sliding_window_view(loss, steps).mean(axis=1).max())
    rose = highest > LOSS_ROSE * first > 0
    # Optimizers without bias correction start with a long step, and the loss soon recovers.
    stayed = float(np.median(loss[loss.size // 2 :])) > first
    return highest if rose and stayed else 0.0


def _loss_before(signals: Signals) -> float:
    """The loss of the first step, before any update; NaN if there is none."""
    return float(signals.column("loss")[0]) if signals.steps.size else float("nan")


def _ratio_of_gradients(signals: Signals) -> Float64s:
    """Median update-to-weight ratio, float64 ``[records]``; NaN where weight decay causes it."""
    weights = signals.started_weights
    ratio = signals.median(RATIO, weights)
    if not signals.is_known("weight_decay_ratio"):
        return ratio
    decay = signals.median("weight_decay_ratio", weights)
    return np.where(decay > thresholds.STRONG_DECAY_RATIO, np.nan, ratio)


def _adds_up_squares(signals: Signals) -> bool:
    """Whether the denominator only grows (Adagrad): steps start large and soon shrink."""
    undefined = [set(group.undefined) for group in signals.run.groups]
    return all("rms_t" in u and "exp_avg_sq_root" not in u for u in undefined)


def _largest_ratio(e: Evidence, *, corrected: bool = False) -> float:
    """The largest median update-to-weight ratio up to where the sum was largest.

    Args:
        e: Evidence of the rule.
        corrected: As it would be with bias correction of the second moment.
    """
    step, alpha = e.signals.run.step, e.signals.uncorrected_alpha
    ratio = _ratio_of_gradients(e.signals)
    if corrected and not np.isnan(alpha):
        ratio = ratio * np.sqrt(1 - alpha ** np.maximum(step, 1))
    ratio = ratio[step <= e.worst_step]
    known = ratio[np.isfinite(ratio)]
    return float(known.max()) if known.size else float("nan")


def _is_borne(signals: Signals) -> bool:
    """Whether the loss has fallen fast from the first step on, as with suitable steps."""
    first = _loss_before(signals)
    if not signals.loss_is_measure or not first > 0:
        return False
    early = signals.steps <= signals.warmup_end + thresholds.EARLY_STEPS
    loss = signals.column("loss")[early]
    loss = loss[~np.isnan(loss)]
    steps = thresholds.EARLY_LOSS_STEPS
    if loss.size < 2 * steps:
        return False
    return bool(loss.max() <= BORNE_RISE * first and loss[-steps:].mean() < BORNE_SHARE * first)


def _too_high_severity(e: Evidence) -> Severity:
    if _is_borne(e.signals) or (e.value <= e.threshold and not _rose_to(e.signals)):
        return "info"
    far = _largest_ratio(e) > FAR_TOO_HIGH_RATIO
    gone = e.signals.loss_is_measure and blew_up(e.signals).any()
    return "error" if far or overshoots(e.signals) or gone else "warning"


def _too_high_factor(e: Evidence) -> float:
    """The divisor for the learning rate; NaN if no reasonable one suffices."""
    enough = _largest_ratio(e, corrected=True) / TARGET_RATIO
    if _too_high_severity(e) == "error":
        enough = max(enough, FACTORS[1])
    factors = FACTORS
    return next((factor for factor in factors if factor >= enough), float("nan"))


def _too_high_advice(e: Evidence) -> str:
    warm_up = _longer_warmup(e.signals)
    if _too_high_severity(e) == "info":
        return joined([_what_to_compare(e), warm_up])
    lr, factor = e.signals.usual_lr(NONE, e.worst_step), _too_high_factor(e)
    ratio = _largest_ratio(e)
    if not factor > 0:
        least = number(TARGET_RATIO)
        if lr > 0:
            return say(
                "Lower the learning rate ({lr}) until no update-to-weight ratio is above {least}.",
                lr=number(lr),
                least=least,
            )
        return say(
            "Lower the learning rate until no update-to-weight ratio is above {least}.", least=least
        )
    if not lr > 0:
        return joined(
            [say("Divide the learning rate by {factor}.", factor=f"{factor:.0f}"), warm_up]
        )
    return joined([try_lr(one_digit(lr / factor), lr, ratio), warm_up])


def _what_to_compare(e: Evidence) -> str:
    """Advice if it is still unknown whether the learning rate is too high."""
    lr = e.signals.usual_lr(NONE, e.worst_step)
    away = factor_of_first_steps(e.signals)  # the compass' reading
    if away > 0:
        if not lr > 0:
            return say("Divide the learning rate by {factor}.", factor=f"{away:.0f}")
        wanted = number(one_digit(lr / away))
        return say("Try lr {wanted} instead of {lr}.", wanted=wanted, lr=number(lr))
    third = say("a third of the learning rate")
    if lr > 0:
        wanted = number(one_digit(lr / 3))
        third = say("lr {wanted} instead of {lr}", wanted=wanted, lr=number(lr))
    if e.signals.has_loss and lr > 0:
        return say("Compare with a run at {third}.", third=third)
    if e.signals.has_surrogate_loss:
        return say("Compare your metric with a run at {third}.", third=third)
    return say("If the loss rises at first, try a third of the learning rate.")


def _longer_warmup(signals: Signals) -> str:
    """Advice to warm up; "" if the warm-up is already as long."""
    steps, now = warmup_steps(signals), signals.warmup_end
    if now and not steps > now:
        return ""
    if steps > 0:
        return say("Or warm the learning rate up over {count} steps.", count=f"{steps:.0f}")
    return say("Or warm the learning rate up.")


def _too_high_message(e: Evidence) -> str:
    seen = _sum_of_updates(e)
    if _too_high_severity(e) == "info":
        return _asked(e, seen)
    if e.value <= e.threshold:
        return say(
            "{seen}, and the loss rose from {first} to {highest} and stayed above.",
            seen=seen,
            first=number(_loss_before(e.signals)),
            highest=number(_rose_to(e.signals)),
        )
    return say("{seen}: little is left of the initial weights.", seen=seen)


def _sum_of_updates(e: Evidence) -> str:
    """The sum of the updates, as the beginning of a sentence."""
    seen: dict[str, str] = {
        "steps": counted(int(e.last_step - e.first_step) + 1, "step"),
        "total": number(e.value),
        "largest": number(_largest_ratio(e)),
        "usual": number(healthy_matrices(e.signals.run)[1]),
    }
    if e.first_step <= thresholds.FIRST_STEP:
        return say(
            "Updates of the first {steps} add up to {total} times the size of a typical weight "
            "matrix (largest single update: {largest}; healthy trainings rarely exceed {usual} "
            "later on)",
            **seen,
        )
    return say(
        "Updates of the {steps} up to step {last} add up to {total} times the size of a typical "
        "weight matrix (largest single update: {largest}; healthy trainings rarely exceed {usual} "
        "later on)",
        last=step(e.last_step),
        **seen,
    )


def _asked(e: Evidence, seen: str) -> str:
    """The message if only the user knows whether the steps do harm."""
    if factor_of_first_steps(e.signals) > 0:
        return say(
            "{seen}, and the loss rose at first, to {highest}. Some networks tolerate this.",
            seen=seen,
            highest=number(highest_early_loss(e.signals)),
        )
    if e.signals.has_loss:
        return say(
            "{seen}. Some networks tolerate this, and the loss hardly rose. Does this one?",
            seen=seen,
        )
    if e.signals.has_surrogate_loss:
        return say(
            "{seen}. Some networks tolerate this: does your metric (return, sample quality) get "
            "worse?",
            seen=seen,
        )
    return say("{seen}. Some networks tolerate this: does the loss rise at first?", seen=seen)


LR_TOO_HIGH = Rule(
    id="lr_too_high",
    title="Learning rate too high",
    question="Is the learning rate too high?",
    needs=(RATIO,),
    condition=too_high,
    persistence=Persistence(),
    severity=_too_high_severity,
    message=_too_high_message,
    advice=_too_high_advice,
    reference="Cohen et al. 2022, Adaptive gradient methods at the edge of stability",
    once=True,
    explains=(
        "loss_blowup", "dead_units", "nonfinite", "gradient_spike", "weight_decay_too_strong",
        "init_too_large", "plateau", "noise_dominated", "layer_imbalance", "stale_second_moment",
        "oscillation", "lost_updates", "second_moment_frozen", "gain_ratio_low",
        "vanishing_gradient", "moved_without_gradient", "weights_grow", "short_memory",
    ),
    uses=("weight_decay_ratio",),
    moves_lr="down",
    silences_compass=True,
)  # fmt: skip
