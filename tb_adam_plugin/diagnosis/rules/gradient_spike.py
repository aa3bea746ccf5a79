"""Rules about gradients: none, NaN, left over, scaled, spiking, clipped, vanishing, noisy."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from ..engine import thresholds
from ..engine.conditions import RESUMED, at_every_step, too_few, too_few_steps
from ..engine.recorded_run import Flags, Float64s, Indices, Values
from ..engine.rule import Condition, Evidence, Persistence, Rule, Severity
from ..engine.signals import (
    Signals,
    is_loss_known,
    is_settled,
    median,
    median_of_all,
    recent_median,
)
from ..engine.stretches import in_a_row, lasting
from ..engine.wording import decay, named, number, one_digit, percent, step
from .beta2 import alive_share

# --- none ---------------------------------------------------------------------------------------


def _no_gradient(signals: Signals) -> Condition:
    run = signals.run
    zero = signals.by_record(
        "no gradient",
        lambda part: _all_zero_or_absent(
            signals.statistic("zero_gradient_fraction")[part], signals.statistic("weight_rms")[part]
        ),
    )
    return Condition(run.step, zero, np.ones(zero.shape), 1.0, np.arange(len(run.parameters)))


def _all_zero_or_absent(zero_fraction: Values, weight: Values) -> Flags:
    """Records at which no parameter has a gradient that is not zero."""
    logged = ~np.isnan(weight)
    nothing = (zero_fraction == 1) | np.isnan(zero_fraction)
    found: Flags = logged.any(axis=1) & (nothing | ~logged).all(axis=1)
    return found


NO_GRADIENT = Rule(
    id="no_gradient",
    title="No gradient reaches any parameter",
    needs=("weight_rms",),
    uses=("zero_gradient_fraction",),
    condition=_no_gradient,
    persistence=Persistence(thresholds.NO_GRADIENT_POINTS),
    severity="error",
    message=lambda e: (
        f"From step {step(e.first_step)} on the gradient of every parameter is missing or exactly "
        "zero: the loss does not depend on them."
    ),
    advice=lambda e: (
        "Look for detach(), no_grad(), argmax or a loss of the wrong tensor between the "
        "parameters and backward(); see that backward() comes after zero_grad() and before step()."
    ),
    reference="",
    explains=(
        "dead_units", "lr_too_low", "plateau", "eps_dominates", "eps_influences",
        "weight_decay_too_strong", "noise_dominated",
    ),
)  # fmt: skip


# --- not finite ---------------------------------------------------------------------------------


def _nonfinite(signals: Signals) -> Condition:
    run = signals.run
    counts = signals.largest("nonfinite_count", np.arange(len(run.parameters)))
    bad_steps = _nonfinite_steps(signals)
    step = np.union1d(run.step, signals.steps)
    value = np.zeros(step.shape)
    value[np.searchsorted(step, bad_steps)] = 1
    value[np.searchsorted(step, run.step)] += np.where(counts > 0, counts, 0)
    value = np.where(value > 0, 1.0, 0.0)

    def blame(point: int) -> Indices:
        return _first_nonfinite(signals)

    return Condition(step, value > 0, value, 0.0, blame=blame)


def _nonfinite_steps(signals: Signals) -> Float64s:
    """Steps of which the loss, or the gradient norm where it is recorded, is not finite."""
    bad = np.zeros(signals.steps.shape, bool)
    for name in ("loss", "gradient_norm"):
        values = signals.column(name)
        if np.isfinite(values).any():
            # A step without a value is NaN as well: only the last known stretch counts.
            known = np.flatnonzero(np.isfinite(values))
            bad |= np.isinf(values)
            if name == "gradient_norm":
                bad |= np.isnan(values) & (np.arange(values.size) > known[0]) & _has_norm(signals)
    return signals.steps[bad]


def _has_norm(signals: Signals) -> Flags:
    """At which steps the gradient norm was computed, where that was not at all of them."""
    interval = signals.column("gradient_norm_every_n_steps")
    left_out = (interval > 1) & (np.mod(signals.steps, interval) != 0)
    has_norm: Flags = ~left_out | np.isin(signals.steps, signals.run.step)
    return has_norm


def _first_nonfinite(signals: Signals) -> Indices:
    counts = signals.statistic("nonfinite_count")
    records = np.flatnonzero(signals.largest("nonfinite_count", np.arange(counts.shape[1])) > 0)
    return np.flatnonzero(counts[records[0]] > 0) if records.size else np.empty(0, np.intp)


def _nonfinite_message(e: Evidence) -> str:
    where = f" in {named(e.names, e.signals.run.names)}" if e.names else ""
    return (
        f"NaN or infinite values{where}, first at step {step(e.first_step)}. From there on every "
        "update that uses them is lost."
    )


def _nonfinite_advice(e: Evidence) -> str:
    run = e.signals.run
    half = any(p.dtype == "float16" for p in run.parameters)
    lr = e.signals.usual_lr(e.parameters, e.first_step)
    # Before the first step no learning rate has done anything.
    tried = lr > 0 and e.first_step > thresholds.FIRST_STEP
    smaller = f", try lr {number(one_digit(lr / 3))} instead of {number(lr)}" if tried else ""
    precision = "train in bfloat16 or with a GradScaler, or " if half else ""
    if e.first_step <= thresholds.FIRST_STEP:  # no step has done it
        where = "Look at the inputs, the initial weights and the loss of the first batch"
    else:
        where = f"Look at the 20 steps before step {step(e.first_step)}"
    return f"{where} first; then {precision}clip the gradient norm to 1{smaller}."


NONFINITE = Rule(
    id="nonfinite",
    title="NaN or infinity",
    needs=("nonfinite_count",),
    condition=_nonfinite,
    persistence=Persistence(),
    severity="error",
    message=_nonfinite_message,
    advice=_nonfinite_advice,
    reference="",
    explains=("plateau", "loss_blowup", "gradient_spike"),
)


# --- left over ----------------------------------------------------------------------------------


def _norm_before_clip(signals: Signals) -> Float64s:
    """Gradient norm of every step, that before clipping where it was recorded."""
    before = signals.column("gradient_norm_before_clip")
    return before if np.isfinite(before).any() else signals.column("gradient_norm")


_LEFT = "stale_gradient_ratio"


def _stale_gradient(signals: Signals) -> Condition | str:
    left = signals.column(_LEFT)
    if not np.isfinite(left).any():
        return _adding_up(signals)
    if signals.steps.size < thresholds.STALE_GRADIENT_STEPS:
        return too_few_steps(signals, thresholds.STALE_GRADIENT_STEPS)
    holds = in_a_row(left > thresholds.STALE_GRADIENT_RATIO, thresholds.STALE_GRADIENT_STEPS)
    return at_every_step(signals, left, holds, thresholds.STALE_GRADIENT_RATIO)


def _adding_up(signals: Signals) -> Condition | str:
    """Where gradients look as if they added up."""
    run = signals.run
    norm = _norm_before_clip(signals)
    first = norm[np.isfinite(norm)][: thresholds.FIRST_LOSSES]
    if not first.size or signals.run.first_step > thresholds.FIRST_STEP:
        return RESUMED
    growth = signals.at_records(norm) / float(np.median(first))
    weights = run.weights_or_matrices
    cosine = signals.median("momentum_gradient_cosine", weights)
    holds = (cosine > thresholds.STALE_GRADIENT_COSINE) & (
        growth > thresholds.STALE_GRADIENT_GROWTH
    )
    found = Condition(
        run.step, holds, cosine, thresholds.STALE_GRADIENT_COSINE, blame=lambda record: weights
    )
    points = Persistence(thresholds.STALE_GRADIENT_POINTS)
    return replace(found, holds=lasting(found, points), lacking=too_few(found, points, signals))


def _stale_gradient_message(e: Evidence) -> str:
    seen = (
        f"When the gradient of a step came, .grad held up to {number(e.value)} times its norm "
        "already"
        if np.isfinite(e.signals.column(_LEFT)).any()
        else f"The cosine of exp_avg and the next gradient is {number(e.value)} while the gradient "
        "norm grows"
    )
    return f"{seen}: each step still contains the gradients of the steps before."


STALE_GRADIENT = Rule(
    id="stale_gradient",
    title="Gradients add up from step to step",
    needs=(),
    needs_any=(_LEFT, ("momentum_gradient_cosine", "gradient_norm")),
    condition=_stale_gradient,
    persistence=Persistence(),
    severity="error",
    message=_stale_gradient_message,
    advice=lambda e: (
        "Call optimizer.zero_grad() once for each optimizer step, before the first backward()."
    ),
    reference="",
    explains=(
        "lr_too_low", "bimodal_update", "plateau", "loss_blowup", "lr_too_high", "gradient_scale",
        "gradient_spike", "dead_units", "weight_decay_too_strong", "stale_second_moment",
    ),
)  # fmt: skip


# --- scaled -------------------------------------------------------------------------------------


def _elasticity(signals: Signals) -> Float64s:
    """Median elasticity of the weights before clipping, float64 ``[records]``."""
    run = signals.run
    weights = run.weights_or_matrices
    if signals.is_known("elasticity"):
        value = signals.median("elasticity", weights)
    else:
        loss = np.abs(signals.at_records(signals.column("loss")))
        value = median(signals.sensitivity(weights)) / np.where(loss > 0, loss, np.nan)
    before = signals.column("gradient_norm_before_clip")
    clipped = signals.at_records(before / signals.column("gradient_norm"))
    return value * np.where(np.isfinite(clipped), clipped, 1)


def _gradient_scale(signals: Signals) -> Condition:
    value = _elasticity(signals)
    # Where the loss has blown up, gradients are large without being scaled.
    blown_up = signals.at_records(signals.smooth_loss) > signals.blowup_limit
    return Condition(
        signals.run.step,
        (value > thresholds.GRADIENT_SCALE_ELASTICITY) & ~blown_up,
        value,
        thresholds.GRADIENT_SCALE_ELASTICITY,
        blame=lambda record: signals.run.weights_or_matrices,
    )


GRADIENT_SCALE = Rule(
    id="gradient_scale",
    title="Gradients look scaled",
    needs=(),
    needs_any=("elasticity", "loss"),
    condition=_gradient_scale,
    persistence=Persistence(thresholds.GRADIENT_SCALE_POINTS),
    severity="error",
    message=lambda e: (
        f"A change of the weights by 1 % would change the loss by {number(e.value)} %, where 8 % "
        "is typical: gradients look multiplied, as by a GradScaler (65,536 at first)."
    ),
    advice=lambda e: (
        "Call scaler.unscale_(optimizer) before clipping or logging gradients, and "
        "scaler.step(optimizer) instead of optimizer.step(). Adam hides the factor; clipping and "
        "eps do not."
    ),
    reference="Micikevicius et al. 2018, Mixed precision training",
    explains=("clip_always", "clip_constant", "gradient_spike"),
    uses=("gradient_rms", "weight_rms"),
)


# --- spikes -------------------------------------------------------------------------------------


def _spike_excess(signals: Signals) -> Float64s:
    """How much a step's norm exceeds its limit, on a logarithmic scale: a spike above 0."""
    norm = _norm_before_clip(signals)
    excess = np.full(norm.shape, -np.inf)
    window = thresholds.SPIKE_WINDOW
    logs = np.where((norm > 0) & np.isfinite(norm), np.log(np.where(norm > 0, norm, 1)), np.nan)
    if norm.size <= window // 2:
        return excess
    least = np.log(thresholds.SPIKE_LEAST_FACTOR)
    padded = np.concatenate([np.full(window, np.nan), logs])
    before = np.lib.stride_tricks.sliding_window_view(padded, window)[:-1]
    # Medians are needed only of the few steps that could be spikes at all.
    lowest = np.fmin.reduce(before, axis=1)
    candidates = np.flatnonzero(logs - lowest > least)
    enough = np.isfinite(before[candidates]).sum(axis=1) >= window // 2
    candidates = candidates[enough]
    usual = before[candidates]
    middle = median(usual)
    deviation = 1.4826 * median(np.abs(usual - middle[:, None]))
    limit = np.maximum(
        thresholds.SPIKE_DEVIATIONS * (deviation + thresholds.SPIKE_LEAST_DEVIATION), least
    )
    excess[candidates] = logs[candidates] - middle - limit
    return excess


def _gradient_spike(signals: Signals) -> Condition:
    run = signals.run
    excess = _spike_excess(signals)
    surprise = signals.largest("gradient_surprise", run.weights_or_matrices)
    surprised = (surprise > thresholds.SPIKE_SURPRISE) & is_settled(signals)
    step = np.union1d(signals.steps, run.step)
    value = np.full(step.shape, -np.inf)
    value[np.searchsorted(step, signals.steps)] = excess
    at = np.searchsorted(step, run.step[surprised])
    value[at] = np.maximum(value[at], np.log(surprise[surprised] / thresholds.SPIKE_SURPRISE))

    def blame(point: int) -> Indices:
        return _spiking(signals, float(step[point]))

    usual, settled = thresholds.SPIKE_WINDOW // 2, run.step > signals.settled
    lacking = ""
    if not (settled & ~np.isnan(surprise)).any() and signals.steps.size <= usual:
        lacking = too_few_steps(signals, usual + 1)
    return Condition(step, value > 0, value, 0.0, blame=blame, lacking=lacking)


def _spiking(signals: Signals, step: float) -> Indices:
    """Parameters whose own gradient was unusual at a step, as far as that is known."""
    run = signals.run
    norms = run.gradient_norms
    if norms is not None and (norms.step == step).any():
        row = norms.norms[norms.step == step][0]
        usual = median(norms.norms[norms.step < step][-thresholds.SPIKE_WINDOW :].T)
        place = {name: i for i, name in enumerate(run.names)}
        return np.array(
            [
                place[norms.names[i]]
                for i in np.flatnonzero(row > thresholds.SPIKE_LEAST_FACTOR * usual)
                if norms.names[i] in place
            ],
            np.intp,
        )
    record = np.flatnonzero(run.step == step)
    surprise = signals.statistic("gradient_surprise")
    if not record.size:
        return np.empty(0, np.intp)
    return np.flatnonzero(surprise[record[0]] > thresholds.SPIKE_SURPRISE)


def _harms(e: Evidence) -> bool:
    """Whether the loss was higher after a spike than before; the spike's own does not count."""
    loss, step = e.signals.column("loss"), e.signals.steps
    many, after = thresholds.SPIKE_HARM_STEPS, step - e.worst_step
    known = ~np.isnan(loss)
    before = loss[known & (step < e.first_step)][-int(many) :]
    later = loss[known & (after > many / 3) & (after <= many)]
    if not before.size or not later.size:
        return False
    usual = float(np.median(before))
    limit = usual + (thresholds.SPIKE_HARM_FACTOR - 1) * abs(usual) + thresholds.SPIKE_HARM_MARGIN
    return not float(np.median(later)) <= limit


def _spike_severity(e: Evidence) -> Severity:
    # A loss that says nothing of progress cannot say what a spike did to it.
    if e.signals.has_loss and not e.signals.loss_is_measure:
        return "info"
    if _harms(e):
        return "error"
    # Where next to no loss is left, the gradients of other batches are next to nothing.
    s = e.signals
    exhausted = s.smooth_loss < thresholds.CONVERGED_LOSS_SHARE * s.starting_loss
    return "info" if exhausted[s.steps == e.worst_step].any() or _is_clipped(e) else "warning"


def _is_clipped(e: Evidence) -> bool:
    """Whether clipping left nothing of a spike for the optimizer to see."""
    s = e.signals
    after, before = s.column("gradient_norm"), _norm_before_clip(s)
    here = s.steps == e.worst_step
    usual = after[s.steps < e.first_step][-thresholds.SPIKE_WINDOW :]
    limit = thresholds.SPIKE_LEAST_FACTOR * median_of_all(usual)
    return bool((here & (after < before) & (after < limit)).any())


def _spike_message(e: Evidence) -> str:
    s = e.signals
    norm = _norm_before_clip(s)
    here = norm[s.steps == e.worst_step]
    before = norm[s.steps < e.worst_step][-thresholds.SPIKE_WINDOW :]
    before = before[np.isfinite(before)]
    factor = float(here[0] / np.median(before)) if here.size and before.size else 0.0
    if thresholds.SPIKE_LEAST_FACTOR <= factor < np.inf:
        size = f"{number(factor)} times the usual"
    else:  # the norm of all of it is nothing unusual
        size = f"{number(thresholds.SPIKE_SURPRISE * float(np.exp(e.value)))} times √v̂"
    where = f" in {named(e.names, s.run.names)}" if e.names else ""
    several = f" {e.points} steps of this kind; the largest:" if e.points > 1 else ""
    beta2 = s.hyperparameter_now("beta2")
    # One that forgets at once is not too large for long.
    memory = f" for up to {1 / (1 - beta2):,.0f} steps" if 0.5 < beta2 < 1 else ""
    follows = (
        "Clipping left the optimizer no more than usual."
        if _is_clipped(e)
        else f"exp_avg carries it on for ten steps; then √v̂ is too large and steps are too small"
        f"{memory}."
    )
    return f"{several} Step {step(e.worst_step)} had a gradient {size}{where}. {follows}".strip()


def _blew_up_at(signals: Signals) -> float:
    """The first step of which the loss or the norm says that training had gone; else infinity.

    What gradients are like from there on is no measure of what they should be.
    """
    gone = signals.steps[signals.smooth_loss > signals.blowup_limit]
    bad = _nonfinite_steps(signals)
    return float(min(gone.min(initial=np.inf), bad.min(initial=np.inf)))


def _spike_advice(e: Evidence) -> str:
    batch = f"Look at the batch of step {step(e.worst_step)}."
    if _is_clipped(e):
        return batch
    norm = e.signals.column("gradient_norm")
    before = norm[e.signals.steps < min(e.first_step, _blew_up_at(e.signals))]
    usual = before[np.isfinite(before) & (before > 0)]
    here = norm[e.signals.steps == e.worst_step]
    limit = one_digit(2 * float(np.median(usual))) if usual.size else float("nan")
    # One weight may spike while the norm of all of them is as usual: no limit would touch that.
    touched = not (here <= limit).any()
    advice = []
    if touched:
        to = f" to {number(limit)} (twice the median)" if 0 < limit < np.inf else ""
        advice.append(f"Clip the gradient norm{to}")
    beta2 = e.signals.hyperparameter_now("beta2")
    if 0.97 < beta2 < 1:
        lower = f"beta2 {decay(thresholds.BETA2_FORGETS)} instead of {decay(beta2)}"
        advice.append(f"or {lower}" if touched else f"Try {lower}")
    return f"{', '.join(advice)}. {batch}" if advice else batch


GRADIENT_SPIKE = Rule(
    id="gradient_spike",
    title="Gradient spike",
    question="Does this gradient spike matter?",
    needs=(),
    needs_any=("gradient_norm", "gradient_surprise"),
    condition=_gradient_spike,
    persistence=Persistence(),
    severity=_spike_severity,
    message=_spike_message,
    advice=_spike_advice,
    reference="Wortsman et al. 2023, Stable and low-precision training (StableAdamW)",
    explains=(
        "loss_blowup",
        "stale_second_moment",
        "nonfinite",
        "dead_units",
        "weight_decay_too_strong",
    ),
)


# --- clipping -----------------------------------------------------------------------------------


def _clip_always(signals: Signals) -> Condition | str:
    before = signals.column("gradient_norm_before_clip")
    coefficient = signals.column("gradient_norm") / before
    window = thresholds.CLIP_WINDOW
    if coefficient.size < window + thresholds.CLIP_POINTS - 1:
        return too_few_steps(signals, window + thresholds.CLIP_POINTS - 1)
    views = np.lib.stride_tricks.sliding_window_view(coefficient, window)
    middle = np.full(coefficient.shape, np.nan)
    middle[window - 1 :] = np.median(views, axis=1)
    share = np.zeros(coefficient.shape)
    share[window - 1 :] = (views < 1 - 1e-3).mean(axis=1)
    holds = (share > thresholds.CLIP_SHARE) & (middle < thresholds.CLIP_COEFFICIENT)
    holds = _in_windows(holds, window)
    return at_every_step(signals, middle, holds, thresholds.CLIP_COEFFICIENT, below=True)


def _in_windows(ends: Flags, window: int) -> Flags:
    """Which steps are in windows of so many steps whose last one is marked, enough in a row."""
    kept = in_a_row(ends, thresholds.CLIP_POINTS)
    begun = np.cumsum(np.append(kept[window - 1 :], np.zeros(window - 1, bool)))
    before = np.append(np.zeros(window, begun.dtype), begun[:-window])
    found: Flags = begun > before
    return found


def _clip_advice(e: Evidence) -> str:
    if _clip_severity(e) == "info":
        return "Adam and its kin do not mind, as long as eps is small beside √v̂."
    norm, after = _norm_before_clip(e.signals), e.signals.column("gradient_norm")
    clipped = after[e.signals.steps == e.worst_step]
    usual = norm[np.isfinite(norm) & (e.signals.steps < _blew_up_at(e.signals))]
    wanted = one_digit(2 * float(np.median(usual))) if usual.size else float("nan")
    value = f" {number(wanted)}" if np.isfinite(wanted) and (clipped < wanted).any() else " of"
    comma = "," if value != " of" else ""
    return (
        f"Try max_norm{value}{comma} twice the median norm. Adam does not mind the scale until eps "
        "matters; SGD does at once."
    )


def _clip_severity(e: Evidence) -> Severity:
    """A question where nothing but eps knows the scale of the gradients, and that is small."""
    signals = e.signals
    if "Lion" in signals.run.groups[signals.run.main_group].optimizer:
        return "info"  # whose steps are signs
    if not signals.is_known("epsilon_10_fraction"):
        return "warning"
    last = signals.run.step > signals.settled
    felt = median_of_all(alive_share(signals, "epsilon_10_fraction")[last])
    return "info" if felt < thresholds.CLIP_EPS_FELT else "warning"


CLIP_ALWAYS = Rule(
    id="clip_always",
    title="Every step is clipped",
    question="Is every step to be clipped?",
    needs=("gradient_norm_before_clip", "gradient_norm"),
    uses=("epsilon_10_fraction", "zero_second_moment_fraction"),
    condition=_clip_always,
    persistence=Persistence(),
    once=True,
    severity=_clip_severity,
    message=lambda e: (
        f"Nearly every step is clipped, by a factor of {number(1 / max(e.value, 1e-30))}: "
        "max_norm, and not the loss, sets the scale of the gradients."
    ),
    advice=_clip_advice,
    reference="Pascanu et al. 2013, On the difficulty of training recurrent neural networks",
    explains=("clip_constant", "eps_dominates", "eps_influences"),
)


def _clip_constant(signals: Signals) -> Condition | str | None:
    if np.isfinite(signals.column("gradient_norm_before_clip")).any():
        return None  # there is no question
    norm = signals.column("gradient_norm")
    window = thresholds.CLIP_WINDOW
    if norm.size < window + thresholds.CLIP_POINTS - 1:
        return too_few_steps(signals, window + thresholds.CLIP_POINTS - 1)
    spread = thresholds.CLIP_CONSTANT_SPREAD
    changes = np.cumsum(np.append(0, ~(np.abs(np.diff(norm)) < spread * norm[1:])))
    # Only where no step differs from the one before is the whole window looked at.
    ends = np.flatnonzero(changes[window - 1 :] == changes[: norm.size - window + 1])
    views = np.lib.stride_tricks.sliding_window_view(norm, window)[ends]
    high, low = views.max(axis=1), views.min(axis=1)
    value, holds = np.zeros(norm.shape), np.zeros(norm.shape, bool)
    value[ends + window - 1] = high
    holds[ends + window - 1] = (high > 0) & (high - low < spread * high)
    return at_every_step(signals, value, _in_windows(holds, window), spread)


CLIP_CONSTANT = Rule(
    id="clip_constant",
    title="Is every step clipped?",
    needs=("gradient_norm",),
    condition=_clip_constant,
    persistence=Persistence(),
    once=True,
    severity="info",
    message=lambda e: (
        f"The gradient norm is {number(e.value)} at every step, as when each one is clipped. By "
        "how much, debug.record(gradient_norm_before_clip=clip_grad_norm_(...)) would tell."
    ),
    advice=lambda e: "",
    reference="Pascanu et al. 2013, On the difficulty of training recurrent neural networks",
)


# --- vanishing ----------------------------------------------------------------------------------


def _vanishing(signals: Signals) -> Condition | None:
    weights = signals.run.weights
    if weights.size < thresholds.VANISHING_LEAST_WEIGHTS:
        return None

    def compute(part: slice) -> Float64s:
        profile = np.log10(signals.sensitivity(weights)[part].astype(np.float64))
        profile[~np.isfinite(profile)] = np.nan
        decades = profile[:, -1] - profile[:, 0]
        correlation = _rank_correlation(profile)
        whole = ~np.isnan(profile).any(axis=1)
        largest = np.diff(profile, axis=1).max(axis=1)
        gradual = largest < thresholds.VANISHING_LARGEST_STEP * decades
        found = whole & gradual & (correlation > thresholds.VANISHING_CORRELATION)
        return np.where(found, decades, np.nan)

    decades = signals.by_record("vanishing", compute)
    return Condition(
        signals.run.step,
        decades > thresholds.VANISHING_DECADES,
        decades,
        thresholds.VANISHING_DECADES,
        blame=lambda record: weights[: max(1, weights.size // 2)],
        known=np.ones(decades.shape, bool),
    )


def _rank_correlation(rows: Float64s) -> Float64s:
    """Spearman's rank correlation of each row with the order of its columns."""
    n = rows.shape[1]
    ranks = np.argsort(np.argsort(rows, axis=1), axis=1)
    squares = ((ranks - np.arange(n)) ** 2).sum(axis=1)
    correlation: Float64s = 1 - 6 * squares / (n * (n**2 - 1))
    return correlation


def _losses_of(e: Evidence) -> tuple[float, float]:
    """The loss at first, and the averaged one where a stretch ends; NaN where unknown."""
    signals = e.signals
    known = signals.smooth_loss[signals.steps <= e.last_step]
    known = known[np.isfinite(known)]
    return signals.first_loss, float(known[-1]) if known.size else float("nan")


def _vanishing_severity(e: Evidence) -> Severity:
    """A question where the loss falls all the same."""
    first, last = _losses_of(e)
    return "info" if 0 < last < thresholds.VANISHING_LOSS_SHARE * first else "warning"


def _vanishing_message(e: Evidence) -> str:
    times, (first, last) = number(10**e.value), _losses_of(e)
    if _vanishing_severity(e) == "warning":
        became = "became" if e.is_over else "becomes"
        when = f" up to step {step(e.last_step)}, where that ended" if e.is_over else ""
        return (
            f"From the last layer to the first one the loss {became} {times} times less sensitive "
            f"to a relative change of the weights, layer by layer{when}."
        )
    fell = f"from {number(first)} to {number(last)}"
    if e.is_over:
        return (
            f"Up to step {step(e.last_step)} the loss was less sensitive to a relative change of "
            f"the weights the nearer these were to the input, up to {times} times. That has ended, "
            f"and the loss fell {fell} meanwhile."
        )
    return (
        f"From the last layer to the first one the loss becomes {times} times less sensitive to a "
        f"relative change of the weights, layer by layer. It falls all the same, {fell}."
    )


def _vanishing_advice(e: Evidence) -> str:
    if _vanishing_severity(e) == "info":
        return "" if e.is_over else "Nothing has to change as long as the loss falls."
    run = e.signals.run
    words = " ".join(f"{run.names[i]} {run.parameters[i].module}" for i in run.weights).lower()
    # The gates of a recurrent layer are sigmoids, and stay so.
    recurrent = re.search(r"lstm|gru|rnn|weight_[ih]h_l\d", words)
    activation = "" if recurrent else "use ReLU or GELU instead of sigmoid or tanh, "
    return (
        f"Add residual connections or normalization, {activation}or a Xavier gain. Adam makes up "
        "for it until √v̂ comes near eps: then lower eps."
    )


VANISHING = Rule(
    id="vanishing_gradient",
    title="Gradients vanish towards the first layers",
    question="Do gradients vanish towards the first layers?",
    needs=("gradient_rms", "weight_rms"),
    condition=_vanishing,
    persistence=Persistence(thresholds.VANISHING_POINTS),
    once=True,
    severity=_vanishing_severity,
    message=_vanishing_message,
    advice=_vanishing_advice,
    reference="Glorot & Bengio 2010, Understanding the difficulty of training deep networks",
    explains=("eps_dominates", "eps_influences", "plateau", "lr_too_low", "layer_imbalance"),
)


# --- noise --------------------------------------------------------------------------------------


def _noise(signals: Signals) -> Condition | str:
    if np.isnan(signals.starting_loss):
        return RESUMED
    run = signals.run
    since = thresholds.NOISE_START_SHARE * run.length
    weights = run.weights_or_matrices
    cosine = signals.median("momentum_gradient_cosine", weights)
    smooth = recent_median(run.step, cosine, thresholds.NOISE_AVERAGE_WINDOWS)
    now, before = _lately_and_before(signals)
    holds = (
        (np.abs(smooth) < thresholds.NOISE_COSINE)
        & (now > (1 - thresholds.NOISE_FALL) * before)
        & (now > thresholds.NOISE_LOSS_SHARE * signals.starting_loss)
        & (now < thresholds.LOSS_GREW * signals.starting_loss)
        & is_loss_known(signals)
        & (signals.median("update_to_weight_ratio", weights) > thresholds.NOISE_RATIO)
        & (run.step > since)
    )
    known = ~np.isnan(smooth) & np.isfinite(now / before)
    return Condition(
        run.step, holds, now / before, 1 - thresholds.NOISE_FALL, since=since, known=known
    )


def _lately_and_before(signals: Signals) -> tuple[Float64s, Float64s]:
    """Mean loss of the last quarter of the steps so far, and that of their second fifth.

    Returns:
        float64 ``[records]`` twice.
    """
    loss = signals.column("loss")
    known = np.isfinite(loss)
    sums = np.append(0, np.cumsum(np.where(known, loss, 0)))
    counts = np.append(0, np.cumsum(known))
    end = np.searchsorted(signals.steps, signals.run.step, "right")

    def mean(first: float, last: float) -> Float64s:
        low, high = (np.round(share * end).astype(np.intp) for share in (first, last))
        found: Float64s = (sums[high] - sums[low]) / (counts[high] - counts[low])
        return found

    return mean(0.75, 1.0), mean(0.2, 0.4)


NOISE = Rule(
    id="noise_dominated",
    title="Do the labels belong to the inputs?",
    needs=("momentum_gradient_cosine", "update_to_weight_ratio", "loss"),
    condition=_noise,
    persistence=Persistence(thresholds.NOISE_POINTS, thresholds.LASTING_STEPS),
    severity="info",
    message=lambda e: (
        f"The loss no longer falls (it is {percent(e.value)} of what it was after a third of the "
        "steps), the weights move, and gradients share no direction from step to step, as when "
        "labels do not belong to inputs. So it is at the end of training, too."
    ),
    advice=lambda e: "Verify labels and inputs; then try a batch four times as large, or lr / 3.",
    reference="McCandlish et al. 2018, An empirical model of large-batch training",
    explains=("plateau",),
)
