"""Is anything NaN or infinite?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Indices

from ..engine import thresholds
from ..engine.blowup import nonfinite_steps
from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.signals import Signals
from ..engine.wording import named, number, one_digit, step


def _nonfinite(signals: Signals) -> Condition:
    run = signals.run
    counts = signals.largest("nonfinite_count", np.arange(len(run.parameters)))
    bad_steps = nonfinite_steps(signals)
    step = np.union1d(run.step, signals.steps)
    value = np.zeros(step.shape)
    value[np.searchsorted(step, bad_steps)] = 1
    value[np.searchsorted(step, run.step)] += np.where(counts > 0, counts, 0)
    value = np.where(value > 0, 1.0, 0.0)

    def blame(point: int) -> Indices:
        return _first_nonfinite(signals)

    return Condition(step, value > 0, value, 0.0, blame=blame)


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
    moves_lr="down",
    silences_compass=True,
)
