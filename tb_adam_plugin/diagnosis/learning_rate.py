"""Rules about the learning rate: jumped, too high, too low, decayed too early."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from . import thresholds
from .conditions import at_every_step, median_beyond
from .recorded_run import Flags, Float64s, Indices
from .rule import Condition, Evidence, Persistence, Rule, Severity
from .signals import Signals, is_settled, median_of_all
from .stretches import in_a_row
from .wording import number, one_digit, percent, step

_RATIO = "update_to_weight_ratio"
_COSINE = "momentum_gradient_cosine"


# Whose first moment averages over so many steps that the cosine means something else.
_OTHER_MOMENTUM = ("lion",)


# --- jumped -------------------------------------------------------------------------------------


def _jumped(signals: Signals) -> Condition | None:
    steps, lr = signals.steps, signals.lr
    if lr.size < 2:
        return None
    before = lr[:-1]
    rise = np.append(np.nan, lr[1:] / np.where(before > 0, before, np.nan))
    highest = np.append(np.nan, np.fmax.accumulate(before))
    # A schedule with restarts returns to its peak; what exceeds the peak is no schedule.
    holds = (
        (rise > thresholds.LR_JUMP)
        & (lr > thresholds.LR_JUMP_ABOVE_PEAK * highest)
        & (steps > signals.warmup_end + 1)
    )
    return at_every_step(signals, rise, holds, thresholds.LR_JUMP)


def _lr_before(e: Evidence) -> float:
    lr = e.signals.lr[e.signals.steps < e.worst_step]
    return float(lr[-1]) if lr.size else float("nan")


def _jumped_message(e: Evidence) -> str:
    before = _lr_before(e)
    return (
        f"The learning rate rose {number(e.value)}-fold in one step, from {number(before)} to "
        f"{number(before * e.value)} at step {step(e.worst_step)}, and was never as high before."
    )


def _jumped_advice(e: Evidence) -> str:
    return (
        f"Go back to lr {number(_lr_before(e))}. Look for scheduler.step() called in the wrong "
        "place, a scheduler made anew on resume, or a learning rate set by hand."
    )


LR_JUMP = Rule(
    id="lr_jump",
    title="Learning rate jumped",
    needs=("lr",),
    condition=_jumped,
    persistence=Persistence(),
    severity="error",
    message=_jumped_message,
    advice=_jumped_advice,
    reference="",
    explains=(
        "lr_too_high", "loss_blowup", "gradient_spike", "dead_units", "nonfinite", "plateau",
        "weight_decay_too_strong", "stale_second_moment",
    ),
)  # fmt: skip


# --- too high -----------------------------------------------------------------------------------


def _too_high(signals: Signals) -> Condition | None:
    run = signals.run
    early = run.step <= signals.warmup_end + thresholds.LR_TOO_HIGH_STEPS
    found = median_beyond(
        signals, _RATIO, thresholds.LR_TOO_HIGH_RATIO, signals.started_weights, early
    )
    lasting = in_a_row(found.holds, thresholds.LR_TOO_HIGH_POINTS) & (not _adds_up_squares(signals))
    overwritten = found.holds & (found.value > thresholds.LR_OVERWRITES_RATIO)
    return replace(found, holds=lasting | overwritten)


def _adds_up_squares(signals: Signals) -> bool:
    """Whether the denominator only grows (Adagrad): first steps are large and soon are not."""
    undefined = [set(group.undefined) for group in signals.run.groups]
    return all("rms_t" in u and "exp_avg_sq_root" not in u for u in undefined)


def _too_high_severity(e: Evidence) -> Severity:
    far = e.value > thresholds.LR_FAR_TOO_HIGH_RATIO
    overshoots = _gain_ratio_low(e.signals).holds.any()
    return "error" if far or overshoots or _blew_up(e.signals).any() else "warning"


def _too_high_factor(e: Evidence) -> float:
    enough = e.value / thresholds.LR_TOO_HIGH_TARGET_RATIO
    if _too_high_severity(e) == "error":
        enough = max(enough, thresholds.LR_TOO_HIGH_FACTORS[1])
    factors = thresholds.LR_TOO_HIGH_FACTORS
    return next((factor for factor in factors if factor >= enough), factors[-1])


def _too_high_advice(e: Evidence) -> str:
    lr, factor = e.signals.peak_lr, _too_high_factor(e)
    if not lr > 0:
        return f"Divide the learning rate by {factor:.0f}, or warm up."
    wanted = one_digit(lr / factor)
    beta2 = e.signals.hyperparameter_now("beta2")
    warmup = f" over {2 / (1 - beta2):.0f} steps" if 0 < beta2 < 1 else ""
    return (
        f"Try lr {number(wanted)} instead of {number(lr)}: update-to-weight ratio "
        f"{number(e.value)} → about {number(e.value * wanted / lr)}. Or warm the learning rate "
        f"up{warmup}."
    )


LR_TOO_HIGH = Rule(
    id="lr_too_high",
    title="Learning rate too high",
    needs=(_RATIO,),
    condition=_too_high,
    persistence=Persistence(),
    severity=_too_high_severity,
    message=lambda e: (
        f"In the first steps each update moves a typical weight matrix by up to "
        f"{percent(e.value)} of its size (step {step(e.worst_step)}); "
        f"{percent(e.threshold)} is much already."
    ),
    advice=_too_high_advice,
    reference="Cohen et al. 2022, Adaptive gradient methods at the edge of stability",
    explains=(
        "loss_blowup", "dead_units", "nonfinite", "gradient_spike", "weight_decay_too_strong",
        "init_too_large", "plateau", "noise_dominated", "layer_imbalance", "stale_second_moment",
        "oscillation", "lost_updates", "second_moment_frozen", "gain_ratio_low",
    ),
)  # fmt: skip


def _gain_ratio_low(signals: Signals) -> Condition:
    step, ratio = signals.gain_ratio
    low = ratio < thresholds.GAIN_RATIO_LOW
    holds = in_a_row(low, thresholds.GAIN_RATIO_POINTS)
    return Condition(step, holds, ratio, thresholds.GAIN_RATIO_LOW, lowest_is_worst=True)


GAIN_RATIO_LOW = Rule(
    id="gain_ratio_low",
    title="Do the steps overshoot?",
    needs=("gain_ratio",),
    condition=_gain_ratio_low,
    persistence=Persistence(),
    severity="info",
    message=lambda e: (
        f"A step changes the loss of its own batch by {number(e.value)} times what its gradient "
        "promised (median of the last records). At the best learning rate 0.84 is usual, far too "
        "high a one gives less than half."
    ),
    advice=lambda e: "Try lr / 3, and see whether the loss falls faster.",
    reference="Nocedal & Wright 2006, Numerical Optimization, chapter 4",
)


def _blew_up(signals: Signals) -> Flags:
    return np.asarray(signals.smooth_loss > signals.blowup_limit)


def _loss_blowup(signals: Signals) -> Condition:
    limit = signals.blowup_limit
    return at_every_step(signals, signals.smooth_loss, _blew_up(signals), limit)


def _loss_blowup_advice(e: Evidence) -> str:
    lr = e.signals.lr_of(np.empty(0, np.intp), e.first_step)
    tried = (
        f"Try lr {number(one_digit(lr / 10))} instead of {number(lr)}"
        if lr > 0
        else ("Divide the learning rate by 10")
    )
    return (
        f"{tried}, or clip the gradient norm; see what happened before step {step(e.first_step)}."
    )


LOSS_BLOWUP = Rule(
    id="loss_blowup",
    title="Loss blew up",
    needs=("loss",),
    condition=_loss_blowup,
    persistence=Persistence(thresholds.LOSS_BLOWUP_POINTS),
    severity="error",
    message=lambda e: (
        f"The loss (average of {thresholds.LOSS_AVERAGE_STEPS} steps) reached {number(e.value)} at "
        f"step {step(e.worst_step)}; it began at {number(e.signals.first_loss)}."
    ),
    advice=_loss_blowup_advice,
    reference="",
    explains=("dead_units", "nonfinite", "plateau", "stale_second_moment", "layer_imbalance"),
)


# --- too low ------------------------------------------------------------------------------------


def _too_low(signals: Signals) -> Condition | None:
    run = signals.run
    if all(group.optimizer.lower().startswith(_OTHER_MOMENTUM) for group in run.groups):
        return None
    matrices = run.weights_or_matrices
    cosine = signals.median(_COSINE, matrices)
    ratio = signals.median(_RATIO, matrices)
    surprise = signals.median("gradient_surprise", matrices)
    late = run.step > thresholds.LR_TOO_LOW_START_SHARE * run.length
    # Where gradients have faded against their past, training is done rather than slow.
    still_learning = ~(surprise < thresholds.LR_TOO_LOW_SURPRISE)
    holds = (
        (cosine > thresholds.LR_TOO_LOW_COSINE)
        & (ratio < thresholds.LR_TOO_LOW_RATIO)
        & still_learning
        & is_settled(signals)
        & late
    )

    def blame(record: int) -> Indices:
        row = signals.statistic(_COSINE)[record, matrices]
        agreeing: Indices = matrices[row > thresholds.LR_TOO_LOW_COSINE]
        return agreeing

    return Condition(run.step, holds, cosine, thresholds.LR_TOO_LOW_COSINE, matrices, blame=blame)


def _too_low_advice(e: Evidence) -> str:
    run = e.signals.run
    inside = (run.step >= e.first_step) & (run.step <= e.last_step)
    cosine = median_of_all(e.signals.median(_COSINE, run.weights_or_matrices)[inside])
    ratio = median_of_all(e.signals.median(_RATIO, run.weights_or_matrices)[inside])
    factor = 30 if cosine > thresholds.LR_FAR_TOO_LOW_COSINE else 10
    lr = e.signals.peak_lr
    note = "On small data judge by the validation loss first: this speaks of the training loss."
    if not lr > 0:
        return f"Raise the learning rate {factor}-fold. {note}"
    wanted = one_digit(lr * factor)
    return (
        f"Try lr {number(wanted)} instead of {number(lr)}: update-to-weight ratio "
        f"{number(ratio)} → about {number(ratio * wanted / lr)}. {note}"
    )


LR_TOO_LOW = Rule(
    id="lr_too_low",
    title="Learning rate too low",
    needs=(_COSINE, _RATIO),
    condition=_too_low,
    persistence=Persistence(thresholds.LR_TOO_LOW_POINTS, thresholds.LASTING_STEPS),
    severity="warning",
    message=lambda e: (
        f"Each gradient points where the ones before it pointed: their cosine with exp_avg reaches "
        f"{number(e.value)}, and is about 0 at the best learning rate. The steps are too short."
    ),
    advice=_too_low_advice,
    reference="Baydin et al. 2018, Online learning rate adaptation with hypergradient descent",
    explains=("plateau", "bimodal_update"),
    uses=("gradient_surprise",),
)


# --- decayed too early --------------------------------------------------------------------------


def _decayed(signals: Signals) -> Condition | None:
    steps, lr = signals.steps, signals.lr
    if not steps.size:
        return None
    share = lr / np.fmax.accumulate(lr)
    low = share < thresholds.LR_DECAYED_TO
    lengths = _steps_since(low, steps)
    enough = thresholds.LR_DECAYED_SHARE * signals.run.length
    return at_every_step(
        signals, share, low & (lengths >= enough), thresholds.LR_DECAYED_TO, below=True
    )


def _steps_since(holds: Flags, steps: Float64s) -> Float64s:
    """For each point, how many steps the run of points that it is in lasts in all."""
    n = len(holds)
    index = np.arange(n)
    first = np.maximum.accumulate(np.where(holds, 0, index + 1)).clip(max=n - 1)
    last = np.minimum.accumulate(np.where(holds, n - 1, index - 1)[::-1])[::-1].clip(min=0)
    return np.where(holds, steps[last] - steps[first], 0.0)


LR_DECAYED_EARLY = Rule(
    id="lr_decayed_early",
    title="Learning rate decayed too early",
    needs=("lr",),
    condition=_decayed,
    persistence=Persistence(thresholds.LR_DECAYED_POINTS),
    severity="warning",
    message=lambda e: (
        f"From step {step(e.first_step)} on the learning rate is below "
        f"{percent(e.threshold)} of its peak of {number(e.signals.peak_lr)}, and training went on "
        f"to step {step(e.last_step)}: "
        f"{percent((e.last_step - e.first_step) / max(1.0, e.signals.run.last_step))} of the run "
        "moves almost nothing."
    ),
    advice=lambda e: (
        "Step the scheduler once for each optimizer step, and let it end with the training: "
        f"T_max or total_steps = {step(e.signals.run.length)} or more."
    ),
    reference="",
    explains=("lr_too_low", "plateau"),
)
