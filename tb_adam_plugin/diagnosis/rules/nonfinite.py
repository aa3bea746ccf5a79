"""Is anything NaN or infinite?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Indices
from tb_adam_plugin.languages.sentences import joined, say
from tb_adam_plugin.schema import LOSS, batch_file

from ..engine import thresholds
from ..engine.blowup import nonfinite_steps
from ..engine.conditions import NONE
from ..engine.first_nonfinite import FirstNonfinite, at_first_record, first_nonfinite
from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.saved_batches import where_saved
from ..engine.signals import Signals
from ..engine.wording import named, number, one_digit, step

# Before an overflow, values in the last steps are this many times as large as in earlier ones.
SHORTLY_BEFORE, LONG_BEFORE = 5, 50
GROWN = 3.0


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
    """The tensors concerned, those where it began first."""
    first = first_nonfinite(signals)
    if first is None:
        return NONE
    tensors = first.tensors if first.tensors.size else at_first_record(signals)
    others = np.setdiff1d(tensors, first.nearest_output)
    return np.concatenate([first.nearest_output, others])


def _nonfinite_message(e: Evidence) -> str:
    first, among = _first_of(e), e.signals.run.names
    lost = say("From there on, every update that uses them is lost.")
    if first is None or not first.what:
        at = step(e.first_step)
        if not e.names:
            return joined([say("NaN or infinite values, first at step {step}.", step=at), lost])
        names = named(e.names, among)
        seen = say("NaN or infinite values in {names}, first at step {step}.", names=names, step=at)
        return joined([seen, lost])
    if first.what == "weights":
        return _of_weights(e, first)
    if first.what == "loss":
        return joined([_of_loss(e, first), lost])
    return joined([_of_gradients(e, first), _where_it_began(e, first), lost])


def _of_weights(e: Evidence, first: FirstNonfinite) -> str:
    among = e.signals.run.names
    names = named([among[i] for i in first.tensors], among)
    at = step(first.step)
    if first.step > e.signals.run.first_step:
        return say(
            "The weights of {names} are NaN or infinite when step {step} begins: the previous "
            "step caused it.",
            names=names,
            step=at,
        )
    return say(
        "The weights of {names} are NaN or infinite when step {step} begins.", names=names, step=at
    )


def _of_loss(e: Evidence, first: FirstNonfinite) -> str:
    loss = say("surrogate loss") if _is_of_surrogate(e, first) else say("loss")
    value = say("infinite") if np.isinf(first.loss) else "NaN"
    if first.tensors.size:
        return say(
            "The {loss} of step {step} is {value}, while all weights are still finite; gradients "
            "are not finite either.",
            loss=loss,
            step=step(first.step),
            value=value,
        )
    return say(
        "The {loss} of step {step} is {value}, while all weights are still finite.",
        loss=loss,
        step=step(first.step),
        value=value,
    )


def _of_gradients(e: Evidence, first: FirstNonfinite) -> str:
    """Say which gradients are not finite, and what is known to be finite then."""
    names = e.signals.run.names
    said = {"count": str(len(first.tensors)), "all": str(len(names)), "step": step(first.step)}
    weights_known = bool((e.signals.run.step == first.step).any())
    if np.isfinite(first.loss):
        loss = number(first.loss)
        if weights_known:
            return say(
                "Gradients of {count} of {all} tensors are NaN or infinite at step {step}, while "
                "the loss ({loss}) and the weights are finite.",
                loss=loss,
                **said,
            )
        return say(
            "Gradients of {count} of {all} tensors are NaN or infinite at step {step}, while the "
            "loss ({loss}) is finite.",
            loss=loss,
            **said,
        )
    if weights_known:
        return say(
            "Gradients of {count} of {all} tensors are NaN or infinite at step {step}, while the "
            "weights are finite.",
            **said,
        )
    return say("Gradients of {count} of {all} tensors are NaN or infinite at step {step}.", **said)


def _is_of_surrogate(e: Evidence, first: FirstNonfinite) -> bool:
    """Whether the loss that measures progress was finite, so the surrogate beside it is meant."""
    loss = e.signals.column(LOSS)[e.signals.steps == first.step]
    return bool(np.isfinite(loss).any())


def _where_it_began(e: Evidence, first: FirstNonfinite) -> str:
    """Say which tensors are nearest to where gradients stopped being finite."""
    nearest = named([e.signals.run.names[i] for i in first.nearest_output])
    if _is_alone(e, first):
        return say("{names} is the only one: it began there.", names=nearest)
    if len(first.nearest_output) > 1:
        return say(
            "A backward pass carries NaN from its origin towards the input; {names} are the last "
            "of these tensors in the optimizer's order.",
            names=nearest,
        )
    return say(
        "A backward pass carries NaN from its origin towards the input; {names} is the last of "
        "these tensors in the optimizer's order.",
        names=nearest,
    )


def _is_alone(e: Evidence, first: FirstNonfinite) -> bool:
    return first.tensors.size == 1 < len(e.signals.run.names)


def _overflows(e: Evidence, first: FirstNonfinite) -> bool:
    """Whether the loss has grown so much that gradients are too large rather than undefined."""
    return abs(first.loss) > e.signals.blowup_limit


def _nonfinite_advice(e: Evidence) -> str:
    run, first = e.signals.run, _first_of(e)
    half = any(p.dtype == "float16" for p in run.parameters)
    overflow = (
        say("In float16 large values overflow, too: use a GradScaler, or bfloat16.") if half else ""
    )
    saved = where_saved(e.signals, e.first_step)
    batch: str = say("Look at the batch of step {step}, too.", step=step(e.first_step))
    if first is not None and first.what == "gradients" and not _overflows(e, first):
        they = say("In float16 they overflow, too: use a GradScaler, or bfloat16.") if half else ""
        return joined([_gradients_advice(e, first), they, batch, saved or _how_to_save()])
    batch = batch if saved else ""
    if e.first_step <= thresholds.FIRST_STEP:  # no step can be the reason
        where = say(
            "First look at the inputs, the initial weights and the loss of the first batch."
        )
        return joined([where, overflow, batch, saved])
    if first is not None and first.what in ("loss", "") and _grew_before(e) is False:
        return joined([_data_advice(e, first), overflow, saved or _how_to_save()])
    if first is not None and first.what == "loss":
        where = say(
            "First look at the batch of step {step}, and check the loss for a log of 0 or a "
            "division by 0.",
            step=step(first.step),
        )
        if saved:  # already mentioned
            file = batch_file(int(e.first_step))
            saved = say("The batch is saved in {file}, next to the event file.", file=file)
        batch = ""
    else:
        where = say("First look at the 20 steps before step {step}.", step=step(e.first_step))
    return joined([where, _remedy(e, half=half), batch, saved])


def _how_to_save() -> str:
    return say("debug.keep_batch(...) before optimizer.step() saves such a batch.")


def _data_advice(e: Evidence, first: FirstNonfinite) -> str:
    """Say where to look if nothing preceded it: clipping does not remove a NaN."""
    if first.what == "loss":
        return say(
            "First look at the batch of step {step} and at the data: the gradient norm had not "
            "grown before, so a NaN in the batch is likely. Otherwise check the loss for a log "
            "of 0 or a division by 0.",
            step=step(e.first_step),
        )
    return say(
        "First look at the batch of step {step} and at the data: the gradient norm had not grown "
        "before, so a NaN in the batch is likely.",
        step=step(e.first_step),
    )


def _grew_before(e: Evidence) -> bool | None:
    """Whether the gradient norm or the loss had grown in the last steps before; None if unknown."""
    signals = e.signals
    before = signals.steps < e.first_step
    norm = signals.norm_before_clip[before]
    norm = norm[np.isfinite(norm)][-LONG_BEFORE:]
    if norm.size < 2 * SHORTLY_BEFORE:
        return None
    loss = signals.column(LOSS)[before][-SHORTLY_BEFORE:]
    lately, earlier = norm[-SHORTLY_BEFORE:], norm[:-SHORTLY_BEFORE]
    # A noisy norm has single large values: several must be large, or one larger than ever.
    grown = any(bool(of(lately) > GROWN * of(earlier)) for of in (np.median, np.max))
    return grown or bool((loss > signals.blowup_limit).any())


def _remedy(e: Evidence, *, half: bool) -> str:
    """Say what to change, after saying where to look."""
    lr = e.signals.usual_lr(e.parameters, e.first_step)
    # Before the first step, the learning rate has had no effect.
    if not (lr > 0 and e.first_step > thresholds.FIRST_STEP):
        if half:
            return say(
                "Then train in bfloat16 or with a GradScaler, or clip the gradient norm to 1."
            )
        return say("Then clip the gradient norm to 1.")
    smaller, now = number(one_digit(lr / 3)), number(lr)
    if half:
        return say(
            "Then train in bfloat16 or with a GradScaler, or clip the gradient norm to 1, and try "
            "lr {smaller} instead of {now}.",
            smaller=smaller,
            now=now,
        )
    return say(
        "Then clip the gradient norm to 1, and try lr {smaller} instead of {now}.",
        smaller=smaller,
        now=now,
    )


def _gradients_advice(e: Evidence, first: FirstNonfinite) -> str:
    names = named([e.signals.run.names[i] for i in first.nearest_output])
    where = (
        say(
            "Look at what is computed from {names} alone, such as its norm, and at what writes to "
            "its gradient, such as a hook.",
            names=names,
        )
        if _is_alone(e, first)
        else say("Look at what is computed from {names}.", names=names)
    )
    infinite = say(
        "A square root, norm, std or log of 0 has an infinite derivative, which times zero is NaN: "
        "add an eps inside, as in (x² + eps).sqrt(). torch.autograd.set_detect_anomaly(True) names "
        "the operation."
    )
    return joined([where, infinite])


def _first_of(e: Evidence) -> FirstNonfinite | None:
    """What became non-finite first, if this is the finding that reports it."""
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
