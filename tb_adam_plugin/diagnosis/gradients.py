"""Rules about gradients: none, not finite."""

from __future__ import annotations

import numpy as np

from . import thresholds
from .recorded_run import Flags, Float64s, Indices, Values
from .rule import Condition, Evidence, Persistence, Rule
from .signals import Signals
from .wording import named, number, step

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
    step = np.union1d(run.step, bad_steps)
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
                bad |= np.isnan(values) & (np.arange(values.size) > known[0])
    return signals.steps[bad]


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
    lr = e.signals.lr_of(e.parameters, e.first_step)
    smaller = f", try lr {number(lr / 3)} instead of {number(lr)}" if lr > 0 else ""
    precision = "train in bfloat16 or with a GradScaler, or " if half else ""
    return (
        f"Look at the 20 steps before step {step(e.first_step)} first; then {precision}clip the "
        f"gradient norm to 1{smaller}."
    )


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
