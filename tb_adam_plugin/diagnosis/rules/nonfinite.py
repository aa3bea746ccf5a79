"""Is anything NaN or infinite?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Indices
from tb_adam_plugin.schema import LOSS

from ..engine import thresholds
from ..engine.blowup import nonfinite_steps
from ..engine.conditions import NONE
from ..engine.first_nonfinite import FirstNonfinite, at_first_record, first_nonfinite
from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.saved_batches import where_saved
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

    return Condition(step, value > 0, value, 0.0, blame=lambda _: _blamed(signals))


def _blamed(signals: Signals) -> Indices:
    """Tensors that it is about, those where it began before the others."""
    first = first_nonfinite(signals)
    if first is None:
        return NONE
    tensors = first.tensors if first.tensors.size else at_first_record(signals)
    others = np.setdiff1d(tensors, first.nearest_output)
    return np.concatenate([first.nearest_output, others])


def _nonfinite_message(e: Evidence) -> str:
    first, among = _first_of(e), e.signals.run.names
    lost = "From there on every update that uses them is lost."
    if first is None or not first.what:
        where = f" in {named(e.names, among)}" if e.names else ""
        return f"NaN or infinite values{where}, first at step {step(e.first_step)}. {lost}"
    at = step(first.step)
    names = [among[i] for i in first.tensors]
    if first.what == "weights":
        before = (
            "The step before has made them so." if first.step > e.signals.run.first_step else ""
        )
        text = f"The weights {named(names, among)} are NaN or infinite when step {at} begins."
        return f"{text} {before}".rstrip()
    if first.what == "loss":
        kind = "infinite" if np.isinf(first.loss) else "NaN"
        so_are = ", and gradients are so, too" if names else ""
        loss = "surrogate loss" if _is_of_surrogate(e, first) else "loss"
        return f"The {loss} of step {at} is {kind}, before weights are{so_are}. {lost}"
    return (
        f"Gradients of {len(names)} of {len(among)} tensors are NaN or infinite at step {at}"
        f"{_what_is_finite(e, first)}. {_where_it_began(e, first)} {lost}"
    )


def _is_of_surrogate(e: Evidence, first: FirstNonfinite) -> bool:
    """Whether the loss that measures was finite, so that the surrogate beside it is meant."""
    loss = e.signals.column(LOSS)[e.signals.steps == first.step]
    return bool(np.isfinite(loss).any())


def _where_it_began(e: Evidence, first: FirstNonfinite) -> str:
    """Say which tensors are nearest to where gradients stopped being finite."""
    nearest = named([e.signals.run.names[i] for i in first.nearest_output])
    if _is_alone(e, first):
        return f"{nearest} is the only one: it began with this tensor itself."
    which = "are the last ones" if len(first.nearest_output) > 1 else "is the last one"
    return (
        "A backward pass carries NaN from where it begins towards the input, and of these tensors "
        f"{nearest} {which} in the order of the optimizer."
    )


def _is_alone(e: Evidence, first: FirstNonfinite) -> bool:
    return first.tensors.size == 1 < len(e.signals.run.names)


def _overflows(e: Evidence, first: FirstNonfinite) -> bool:
    """Whether the loss has grown so much that gradients are too large rather than undefined."""
    return abs(first.loss) > e.signals.blowup_limit


def _what_is_finite(e: Evidence, first: FirstNonfinite) -> str:
    """Say what is known to be finite when gradients are not."""
    loss = f"the loss ({number(first.loss)})" if np.isfinite(first.loss) else ""
    if not (e.signals.run.step == first.step).any():  # of the weights nothing is known there
        return f", while {loss} is finite" if loss else ""
    return (
        f", while {loss} and the weights are finite" if loss else ", while the weights are finite"
    )


def _nonfinite_advice(e: Evidence) -> str:
    run, first = e.signals.run, _first_of(e)
    half = any(p.dtype == "float16" for p in run.parameters)
    lr = e.signals.usual_lr(e.parameters, e.first_step)
    # Before the first step no learning rate has done anything.
    tried = lr > 0 and e.first_step > thresholds.FIRST_STEP
    smaller = f", try lr {number(one_digit(lr / 3))} instead of {number(lr)}" if tried else ""
    saved = where_saved(e.signals, e.first_step)
    batch = f" Look at the batch of step {step(e.first_step)}, too. {saved}" if saved else ""
    precision = "train in bfloat16 or with a GradScaler, or " if half else ""
    if first is not None and first.what == "gradients" and not _overflows(e, first):
        float16 = " In float16 they overflow, too: a GradScaler, or bfloat16." if half else ""
        return _gradients_advice(e, first) + float16 + batch
    if first is not None and first.what == "loss" and e.first_step > thresholds.FIRST_STEP:
        batch = f" {saved}".replace(" It is", " The batch is") if saved else ""
    if e.first_step <= thresholds.FIRST_STEP:  # no step has done it
        where = "Look at the inputs, the initial weights and the loss of the first batch"
    elif first is not None and first.what == "loss":
        where = (
            f"Look at the batch of step {step(first.step)}, and at the loss for a log or a "
            "division at 0,"
        )
    else:
        where = f"Look at the 20 steps before step {step(e.first_step)}"
    return f"{where} first; then {precision}clip the gradient norm to 1{smaller}.{batch}"


def _gradients_advice(e: Evidence, first: FirstNonfinite) -> str:
    nearest = named([e.signals.run.names[i] for i in first.nearest_output])
    where = f"Look at what is computed from {nearest}"
    if _is_alone(e, first):
        where += " alone, as its norm, and at what writes to its gradient, as a hook"
    return (
        f"{where}: a square root, norm, std or log of 0 has an infinite derivative, which times "
        "zero is NaN. Add an eps inside, as in (x² + eps).sqrt(). "
        "torch.autograd.set_detect_anomaly(True) names the operation."
    )


def _first_of(e: Evidence) -> FirstNonfinite | None:
    """What was not finite first, if this is the finding that tells of it."""
    first = first_nonfinite(e.signals)
    return first if first is not None and first.step == e.first_step else None


NONFINITE = Rule(
    id="nonfinite",
    title="NaN or infinity",
    needs=("nonfinite_count",),
    condition=_nonfinite,
    persistence=Persistence(),
    uses=("gradient_rms", "weight_rms", "zero_gradient_fraction", "loss_is_nan", "saved_batch"),
    severity="error",
    message=_nonfinite_message,
    advice=_nonfinite_advice,
    reference="",
    explains=(
        "plateau", "loss_blowup", "gradient_spike", "no_gradient",
        "moved_without_gradient",
    ),
    moves_lr="down",
    silences_compass=True,
)  # fmt: skip
