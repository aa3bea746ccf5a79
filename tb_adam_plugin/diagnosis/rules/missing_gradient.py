"""Does a gradient reach every parameter?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Flags, Float32s
from tb_adam_plugin.languages.sentences import say
from tb_adam_plugin.schema import REPLACED

from ..engine.conditions import all_along, too_few
from ..engine.rule import Condition, Persistence, Rule
from ..engine.signals import Signals
from ..engine.wording import named, step

# Number of windows without any gradient, and number of known ones of a parameter that has none.
NO_GRADIENT_POINTS = 3
WITHOUT_GRADIENT_POINTS = 3


def _no_gradient(signals: Signals) -> Condition:
    run = signals.run
    zero = signals.by_record(
        "no gradient",
        lambda part: _all_zero_or_absent(
            signals.statistic("zero_gradient_fraction")[part], signals.statistic("weight_rms")[part]
        ),
    )
    # Gradients that a step has cleared are unknown, but their norm is not zero.
    lacks_some = signals.by_record(
        "some gradient is missing",
        lambda part: _some_absent(
            signals.statistic("zero_gradient_fraction")[part], signals.statistic("weight_rms")[part]
        ),
    )
    norm = signals.at_records(signals.column("gradient_norm"))
    holds: Flags = zero & ~(lacks_some & (norm > 0))
    return Condition(run.step, holds, np.ones(holds.shape), 1.0, np.arange(len(run.parameters)))


def _all_zero_or_absent(zero_fraction: Float32s, weight: Float32s) -> Flags:
    """Records at which no parameter has a nonzero gradient."""
    logged = ~np.isnan(weight)
    nothing = (zero_fraction == 1) | np.isnan(zero_fraction)
    found: Flags = logged.any(axis=1) & (nothing | ~logged).all(axis=1)
    return found


def _some_absent(zero_fraction: Float32s, weight: Float32s) -> Flags:
    """Records at which some parameter has no gradient, or an unknown one."""
    return np.asarray((np.isnan(zero_fraction) & ~np.isnan(weight)).any(axis=1))


NO_GRADIENT = Rule(
    id="no_gradient",
    title="No gradient reaches any parameter",
    needs=("weight_rms",),
    uses=("zero_gradient_fraction",),
    condition=_no_gradient,
    persistence=Persistence(NO_GRADIENT_POINTS),
    severity="error",
    message=lambda e: say(
        "From step {step} on, the gradient of every parameter is missing or exactly zero: the loss "
        "does not depend on them.",
        step=step(e.first_step),
    ),
    advice=lambda e: say(
        "Look for detach(), no_grad(), argmax or a loss computed from the wrong tensor between the "
        "parameters and backward(). Check that backward() comes after zero_grad() and before "
        "step()."
    ),
    reference="",
    explains=(
        "dead_units", "lr_too_low", "plateau", "eps_dominates", "eps_influences",
        "weight_decay_too_strong", "noise_dominated", "moved_without_gradient",
    ),
    shows="gradient_rms",
    silences_compass=True,
)  # fmt: skip


def _without_gradient(signals: Signals) -> Condition | str | None:
    """Parameters that had no gradient at any record, except weights, which are dead units."""
    run = signals.run

    def compute(part: slice) -> Flags:
        zero = signals.statistic("zero_gradient_fraction")[part]
        logged = ~np.isnan(signals.statistic("weight_rms")[part])
        moved: Flags = logged & (zero < 1)
        return moved

    moved = signals.by_record("has gradient", compute)
    everything = np.ones(run.step.shape, bool)
    recorded = Condition(run.step, everything, np.ones(run.step.shape), 1.0)
    lacking = too_few(recorded, Persistence(WITHOUT_GRADIENT_POINTS), signals)
    if lacking:
        return lacking
    if not moved.any():
        return None  # if nothing has one, that is another rule
    absent = np.flatnonzero(~moved[-1])
    absent = absent[~moved[:, absent].any(axis=0)]
    missing = np.asarray(np.isnan(signals.values("zero_gradient_fraction", absent)).all(axis=0))
    # Optimizers leave alone what has no gradient: what moves had one that is unknown.
    moves = np.asarray((signals.values("update_to_weight_ratio", absent) > 0).any(axis=0))
    is_unknown = missing & moves
    absent, missing = absent[~is_unknown], missing[~is_unknown]
    absent = absent[missing | ~np.isin(absent, run.weights)]
    # A parameter that the model has replaced is unused; another rule reports that the optimizer
    # lacks the new one.
    absent = absent[[not run.names[i].endswith(REPLACED) for i in absent]]
    return all_along(signals, absent)


WITHOUT_GRADIENT = Rule(
    id="parameter_without_gradient",
    title="A parameter never gets a gradient",
    needs=("zero_gradient_fraction", "weight_rms"),
    uses=("update_to_weight_ratio",),
    condition=_without_gradient,
    persistence=Persistence(),
    severity="info",
    message=lambda e: say(
        "{names}: in the optimizer, but without a gradient at every recorded step. Is "
        "requires_grad False, or does the forward pass not use it?",
        names=named(e.names, e.signals.run.names),
    ),
    advice=lambda e: say(
        "If it is frozen on purpose, leave it out of the optimizer. Otherwise set "
        "requires_grad_(True), and make sure the forward pass uses it without detach()."
    ),
    reference="",
)
