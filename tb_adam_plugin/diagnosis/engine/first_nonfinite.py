"""What became non-finite first: the loss, gradients or weights, and in which tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tb_adam_plugin.arrays import Flags, Indices

from .blowup import is_loss_nan, nonfinite_steps
from .signals import Signals

_NOTHING: Indices = np.empty(0, np.intp)


@dataclass(frozen=True, slots=True)
class FirstNonfinite:
    """The first step with a non-finite value.

    Attributes:
        step: The step number.
        what: The first non-finite part, in the order of a step: the weights at its start, then the
            loss, then gradients. "" if unknown.
        tensors: The tensors whose gradients or weights are affected; for "" those with any such
            value.
        nearest_output: For gradients, the last tensor of each group. A backward pass carries NaN
            from its origin towards the input, and modules are usually created in the order of their
            use.
        loss: Loss of the step; NaN if unknown.
    """

    step: float
    what: Literal["weights", "loss", "gradients", ""]
    tensors: Indices
    nearest_output: Indices
    loss: float


def first_nonfinite(signals: Signals) -> FirstNonfinite | None:
    """Find it; None if everything is finite."""
    run = signals.run
    counts = signals.largest("nonfinite_count", np.arange(len(run.parameters)))
    bad_records = run.step[counts > 0]
    step = min(
        float(bad_records.min(initial=np.inf)), float(nonfinite_steps(signals).min(initial=np.inf))
    )
    if not np.isfinite(step):
        return None
    weights, gradients, anything = _tensors_at(signals, step)
    here = signals.steps == step
    loss = float(signals.given_loss[here][-1]) if here.any() else float("nan")
    if weights.any():
        return FirstNonfinite(step, "weights", np.flatnonzero(weights), _NOTHING, loss)
    if np.isinf(loss) or is_loss_nan(signals)[here].any():
        return FirstNonfinite(step, "loss", np.flatnonzero(anything), _NOTHING, loss)
    # If some gradients are finite, the end of the forward pass was finite.
    if gradients.any() and (np.isfinite(loss) or not gradients.all()):
        bad = np.flatnonzero(gradients)
        groups = run.group_of[bad]
        last = np.array([bad[groups == group][-1] for group in np.unique(groups)], np.intp)
        return FirstNonfinite(step, "gradients", bad, last, loss)
    return FirstNonfinite(step, "", at_first_record(signals), _NOTHING, loss)


def _tensors_at(signals: Signals, step: float) -> tuple[Flags, Flags, Flags]:
    """Tensors with non-finite weights, gradients, and values of any kind.

    The weights are those before the step. Each bool ``[parameters]``.
    """
    run = signals.run
    none = np.zeros(len(run.parameters), bool)
    records = np.flatnonzero(run.step == step)
    if records.size:
        record = records[-1]
        anything = signals.statistic("nonfinite_count")[record] > 0
        has_gradient = ~np.isnan(signals.statistic("zero_gradient_fraction")[record])
        weights = anything & ~np.isfinite(signals.statistic("weight_rms")[record])
        gradient = signals.statistic("gradient_rms")[record]
        return weights, anything & has_gradient & ~np.isfinite(gradient), anything
    norms = run.gradient_norms
    if norms is None or len(norms.names) != none.size or not (norms.step == step).any():
        return none, none, none
    # Parameters that never have a gradient have no norm either.
    known = signals.by_record(
        "finite gradients", lambda part: np.isfinite(signals.statistic("gradient_rms")[part])
    )
    bad: Flags = known.any(axis=0) & ~np.isfinite(norms.norms[norms.step == step][-1])
    return none, bad, bad


def at_first_record(signals: Signals) -> Indices:
    """Return the tensors with any non-finite value at the first record that has some."""
    counts = signals.statistic("nonfinite_count")
    some = signals.by_record(
        "anything not finite", lambda part: np.asarray((counts[part] > 0).any(axis=1))
    )
    records = np.flatnonzero(some)
    return np.flatnonzero(counts[records[0]] > 0) if records.size else _NOTHING
