"""Does weight decay overshoot, or outweigh the gradient?"""

from __future__ import annotations

import math

import numpy as np

from tb_adam_plugin.arrays import Float64s, Indices
from tb_adam_plugin.languages.sentences import joined, say

from ..engine import thresholds
from ..engine.over_time import median
from ..engine.phases import has_converged, is_settled
from ..engine.rule import Condition, Evidence, Persistence, Rule, Severity
from ..engine.signals import Signals
from ..engine.weight_decay import (
    TAKEN_AT_A_STEP,
    decays_apart,
    taken_at_a_step,
    usual_instead_of,
)
from ..engine.wording import named, number, one_digit, step
from ..engine.worst import worst_of_row

# Number of consecutive windows above STRONG_DECAY_RATIO. An alarm if the update is along the
# weights. The advice would bring the largest ratio down to the target if weights and updates stayed
# the same, by at most this factor. They do not, so no ratio is promised.
STRONG_POINTS = 5
SHRINKING_COSINE = 0.85
TARGET_RATIO = 0.1
MOST_FACTOR = 1e4
# lr · weight_decay, the share of a weight that each step removes: above it the sign changes, above
# twice that the weight grows.
SIGN_CHANGES = 1.0
USUAL_DECAY = (0.01, 0.1)


def _overshooting(signals: Signals) -> Condition | None:
    run, taken = signals.run, taken_at_a_step(signals)
    used = np.isin(np.arange(taken.shape[1]), run.group_of)
    beyond = (taken > SIGN_CHANGES) & np.isfinite(taken) & used
    if not taken.size:
        return None

    def blame(record: int) -> Indices:
        return np.flatnonzero(np.isin(run.group_of, np.flatnonzero(beyond[record])))

    most = worst_of_row(np.where(beyond, taken, np.nan))
    known = np.ones(run.step.shape, bool)
    return Condition(
        run.step,
        np.asarray(beyond.any(axis=1)),
        most,
        SIGN_CHANGES,
        blame=blame,
        known=known,
    )


def _overshooting_group(e: Evidence) -> tuple[float, float]:
    """The learning rate and the weight decay where it is worst."""
    run, group = e.signals.run, int(e.signals.run.group_of[e.parameters[0]])
    record = e.worst_record
    values = (run.hyperparameters[name][record, group] for name in ("lr", "weight_decay"))
    lr, decay = map(float, values)
    return lr, decay


def _overshooting_message(e: Evidence) -> str:
    lr, decay = _overshooting_group(e)
    said = {
        "names": named(e.names, e.signals.run.names),
        "lr": number(lr),
        "decay": number(decay),
        "factor": number(1 - e.value),
    }
    if e.value > 2 * SIGN_CHANGES:
        return say(
            "Whatever the gradient, each step multiplies {names} by 1 - lr · weight_decay = 1 - "
            "{lr} · {decay} = {factor}: weights change sign at every step, and grow.",
            **said,
        )
    return say(
        "Whatever the gradient, each step multiplies {names} by 1 - lr · weight_decay = 1 - {lr} "
        "· {decay} = {factor}: weights change sign at every step, and lose what they learned.",
        **said,
    )


def _overshooting_advice(e: Evidence) -> str:
    lr, decay = _overshooting_group(e)
    low, high = USUAL_DECAY
    if decay <= high:
        return say(
            "Lower the learning rate ({lr}): lr · weight_decay must be far below 1.", lr=number(lr)
        )
    return say(
        "Try a weight_decay of {low} to {high}: lr · weight_decay, the share of a weight that each "
        "step takes, must be far below 1.",
        low=number(low),
        high=number(high),
    )


WEIGHT_DECAY_OVERSHOOTS = Rule(
    id="weight_decay_overshoots",
    title="Weight decay overshoots",
    needs=("weight_decay", "lr"),
    condition=_overshooting,
    persistence=Persistence(),
    once=True,
    severity="error",
    message=_overshooting_message,
    advice=_overshooting_advice,
    reference="Loshchilov & Hutter 2019, Decoupled weight decay regularization",
    explains=(
        "weight_decay_too_strong", "gradient_spike", "loss_blowup", "nonfinite", "lr_too_high",
        "lr_too_low", "plateau", "noise_dominated", "dead_units", "vanishing_gradient",
        "eps_dominates", "eps_influences", "stale_second_moment", "layer_imbalance",
        "init_too_large", "gradient_scale", "lost_updates", "bimodal_update", "gain_ratio_low",
        "second_moment_frozen", "second_moment_underflow", "clip_always", "converged",
        "beta2_too_low", "decayed_gains", "short_memory",
    ),
    shows="weight_decay_ratio",
    silences_compass=True,
)  # fmt: skip


def _weight_decay(signals: Signals) -> Condition | None:
    run = signals.run
    decaying = _decaying(signals)
    if not decaying:
        return None
    threshold = thresholds.STRONG_DECAY_RATIO
    parts = [_decay_of(signals, parameters) for parameters in decaying]
    ratio = worst_of_row(np.stack(parts, axis=1))
    parameters = np.concatenate(decaying)

    def blame(record: int) -> Indices:
        row = signals.statistic("weight_decay_ratio")[record, parameters]
        strong: Indices = parameters[row > threshold]
        return strong

    holds = (ratio > threshold) & is_settled(signals) & ~has_converged(signals)
    known = np.ones(run.step.shape, bool)
    return Condition(
        run.step,
        holds,
        ratio,
        threshold,
        blame=blame,
        since=signals.settled,
        known=known,
        compared="weight_decay_ratio",
    )


def _decaying(signals: Signals) -> list[Indices]:
    """Matrices of the groups with the same decay; all parameters of groups without a matrix."""
    run = signals.run
    decay = run.hyperparameters.get("weight_decay")
    if decay is None or not decay.size:
        return []
    largest = np.fmax.reduce(decay, axis=0)
    alike = [
        np.flatnonzero(np.isin(run.group_of, np.flatnonzero(largest == d)))
        for d in np.unique(largest[largest > 0])
    ]
    matrices = run.weights_or_matrices
    chosen = [np.intersect1d(parameters, matrices) for parameters in alike]
    return [m if m.size else p for m, p in zip(chosen, alike, strict=True) if p.size]


def _decay_of(signals: Signals, parameters: Indices) -> Float64s:
    """Median weight decay relative to the update, float64 ``[records]``; NaN if harmless."""
    run, taken = signals.run, taken_at_a_step(signals)

    def compute(part: slice) -> Float64s:
        ratio = signals.statistic("weight_decay_ratio")[part][:, parameters]
        zero = signals.statistic("zero_gradient_fraction")[part][:, parameters]
        # Without a gradient only decay is left; if it overshoots, nothing shrinks.
        beyond = taken[part][:, run.group_of[parameters]] > SIGN_CHANGES
        return median(np.where((zero < 1) & ~beyond, ratio, np.nan))

    ratio = signals.by_record(("decay", parameters.tobytes()), compute)
    if not signals.is_known("epsilon_fraction"):
        return ratio
    # If eps makes the rest of the update small, eps is the setting to change.
    small = signals.median("epsilon_fraction", parameters) > thresholds.SHARE_BELOW_EPS
    return np.where(small, np.nan, ratio)


def _alignment(e: Evidence) -> float:
    """Median |cos(update, weight)| where decay was strongest; 1 if the update is decay alone."""
    record = e.worst_record
    cosines = np.abs(e.signals.statistic("update_weight_cosine")[record, e.parameters])
    return float(np.median(cosines)) if cosines.size else float("nan")


def _weight_decay_severity(e: Evidence) -> Severity:
    return "error" if _alignment(e) > SHRINKING_COSINE else "warning"


def _is_decoupled(e: Evidence) -> bool:
    first = int(e.parameters[0]) if e.parameters.size else 0
    return decays_apart(e.signals, int(e.signals.run.group_of[first]))


def _seen(e: Evidence) -> str:
    """Say how strong weight decay is, and for which tensors that is the median."""
    said = {"times": number(e.value), "step": step(e.worst_step)}
    of_matrices = all(len(e.signals.run.parameters[i].shape) > 1 for i in e.parameters.tolist())
    if _is_decoupled(e):
        if of_matrices:
            return say(
                "Weight decay of the median matrix is {times} times the rest of the update (step "
                "{step})",
                **said,
            )
        return say(
            "Weight decay of the median tensor is {times} times the rest of the update (step "
            "{step})",
            **said,
        )
    if of_matrices:
        return say(
            "Weight decay of the median matrix is {times} times the gradient (step {step})",
            **said,
        )
    return say(
        "Weight decay of the median tensor is {times} times the gradient (step {step})",
        **said,
    )


def _weight_decay_message(e: Evidence) -> str:
    seen = _seen(e)
    if not _alignment(e) <= SHRINKING_COSINE:
        return say("{seen}: the update mainly shrinks the weights.", seen=seen)
    # Both balance, and the update is not along the weights.
    group = int(e.signals.run.group_of[e.parameters[0]]) if e.parameters.size else 0
    record = e.worst_record
    taken = float(taken_at_a_step(e.signals)[record, group])
    if 0 < taken <= 1:
        return say(
            "{seen}: what a step adds is gone after about {steps} steps.",
            seen=seen,
            steps=number(1 / taken),
        )
    return say("{seen}: it removes what training adds.", seen=seen)


def _weight_decay_advice(e: Evidence) -> str:
    run = e.signals.run
    group = int(run.group_of[e.parameters[0]]) if e.parameters.size else 0
    decay = run.hyperparameters["weight_decay"][:, group]
    now = float(decay[np.isfinite(decay)][-1:].sum())
    factor = e.value / TARGET_RATIO
    if not factor <= MOST_FACTOR or not 0 < now < math.inf:
        return say("Try a tenth of the weight_decay.")
    lr = e.signals.usual_lr(e.parameters, e.worst_step)
    wanted = now / factor
    if _is_decoupled(e) and TAKEN_AT_A_STEP < lr * now <= SIGN_CHANGES:
        # The weights forget as well: the smaller value solves both.
        wanted = min(wanted, usual_instead_of(now))
    wanted = one_digit(wanted)
    if _is_decoupled(e) and lr > 0 and wanted > 0:
        return say(
            "Try weight_decay {wanted} instead of {now}: weights then forget within about {steps} "
            "steps.",
            wanted=number(wanted),
            now=number(now),
            steps=number(1 / (lr * wanted)),
        )
    advice = say(
        "Try weight_decay {wanted} instead of {now}.", wanted=number(wanted), now=number(now)
    )
    if not _is_decoupled(e) and run.optimizer_of(
        int(e.parameters[0]) if e.parameters.size else 0
    ).startswith("Adam"):
        adamw = say("Or use AdamW, whose decay does not pass through the moments.")
        return joined([advice, adamw])
    return advice


WEIGHT_DECAY = Rule(
    id="weight_decay_too_strong",
    title="Weight decay too strong",
    needs=("weight_decay_ratio", "weight_decay", "zero_gradient_fraction"),
    condition=_weight_decay,
    persistence=Persistence(STRONG_POINTS),
    severity=_weight_decay_severity,
    message=_weight_decay_message,
    advice=_weight_decay_advice,
    reference=(
        "Kosson et al. 2023, Rotational equilibrium; "
        "Loshchilov & Hutter 2019, Decoupled weight decay regularization"
    ),
    explains=("plateau", "lr_too_low", "vanishing_gradient", "noise_dominated", "dead_units",
              "eps_dominates", "eps_influences", "stale_second_moment", "decayed_gains",
              "short_memory", "rare_rows"),
    uses=("update_weight_cosine", "epsilon_fraction"),
    once=True,
    sets="weight_decay",
    silences_compass=True,
)  # fmt: skip
