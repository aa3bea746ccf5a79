"""Did the learning rate jump above its previous values?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Flags, Float64s, Indices
from tb_adam_plugin.languages.sentences import joined, say

from ..engine import thresholds
from ..engine.conditions import at_every_step, too_few_steps
from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.signals import Signals
from ..engine.wording import named, number, step
from ..engine.worst import worst_of_row

# The learning rate of a step relative to the previous step, and to the highest so far.
LEAST_JUMP = 5.0
ABOVE_PEAK = 1.5
# A rise up to the value the schedule was created with is part of the schedule.
AS_SCHEDULED = 1.001


def jumped(signals: Signals) -> Condition | str | None:
    """Where the learning rate is far above the previous step's, and above its peak so far."""
    steps, lr = signals.steps, signals.lr
    if lr.size < 2:
        return too_few_steps(signals, 2)
    rise: Float64s = _rise_above_peak(lr[:, None])[:, 0]
    scheduled = _scheduled(signals)
    main = signals.run.main_group
    meant = lr <= scheduled[main] if main < scheduled.size else np.zeros(lr.shape, bool)
    holds: Flags = (rise > LEAST_JUMP) & (steps > signals.warmup_end + 1) & ~meant
    if holds.any():
        return at_every_step(signals, rise, holds, LEAST_JUMP)
    return _group_jumped(signals)


def _group_jumped(signals: Signals) -> Condition | None:
    """The same in groups whose learning rate is only known at records."""
    run = signals.run
    lr = run.hyperparameters.get("lr")
    if lr is None or len(lr) < 3:
        return None
    # A rise from record to record is a warm-up.
    rising = np.diff(lr, axis=0, prepend=np.nan) > 0
    after_rest = np.append(np.zeros((1, lr.shape[1]), bool), ~rising[:-1], axis=0)
    after_rest[1] = False
    rise = np.where(after_rest, _rise_above_peak(lr), np.nan)
    # Groups are warmed up together, also in stairs.
    over = np.append(False, run.step[:-1] >= signals.warmup_end)
    scheduled = np.full(lr.shape[1], np.nan)
    scheduled[: len(run.groups)] = _scheduled(signals)[: lr.shape[1]]
    holds = (rise > LEAST_JUMP) & over[:, None] & ~(lr <= scheduled)

    def blame(record: int) -> Indices:
        jumped: Indices = np.flatnonzero(np.isin(run.group_of, np.flatnonzero(holds[record])))
        return jumped

    any_holds = np.asarray(holds.any(axis=1))
    highest = worst_of_row(rise)
    known = np.ones(run.step.shape, bool)
    return Condition(run.step, any_holds, highest, LEAST_JUMP, blame=blame, known=known)


def _scheduled(signals: Signals) -> Float64s:
    """The allowed rise: the learning rate that each group's schedule was created with.

    A schedule that is recreated in a resumed run was created with that, too.
    """
    lr = AS_SCHEDULED * signals.scheduled_lr
    return lr if signals.run.first_step <= thresholds.FIRST_STEP else np.full(lr.shape, np.nan)


def _rise_above_peak(lr: Float64s) -> Float64s:
    """Learning rate over that of the previous row, ``[rows, groups]``; NaN up to the peak so far.

    A schedule with restarts returns to its peak; anything above the peak is not part of a schedule.
    """
    before = lr[:-1]
    highest = np.fmax.accumulate(before, axis=0)
    above = (before > 0) & (lr[1:] > ABOVE_PEAK * highest)
    rise = np.full(lr.shape, np.nan)
    rise[1:] = np.where(above, lr[1:] / np.where(above, before, 1), np.nan)
    return rise


def _lr_before(e: Evidence) -> float:
    if e.parameters.size:
        records = e.signals.run.step[e.signals.run.step < e.worst_step]
        return e.signals.lr_of(e.parameters, float(records[-1]))
    lr = e.signals.lr[e.signals.steps < e.worst_step]
    return float(lr[-1]) if lr.size else float("nan")


def _jumped_message(e: Evidence) -> str:
    run, before = e.signals.run, _lr_before(e)
    whose = say("The learning rate")
    if e.names:
        whose = say("The learning rate of {names}", names=named(e.names, run.names))
    after, where = before * e.value, say("in one step, at step {step}", step=step(e.worst_step))
    record = e.worst_record
    # For groups other than the first, lr is only known at the records.
    if (e.names or run.main_group) and 0 < record < run.step.size:
        known = e.signals.lr_of(e.parameters, run.step[record])
        if 0 < known < np.inf:
            after = known
            where = say(
                "between steps {first} and {last}",
                first=step(run.step[record - 1]),
                last=step(run.step[record]),
            )
    if not (0 < before < np.inf and after < np.inf):  # that of some other group
        return say("{whose} rose {where}, and was never as high before.", whose=whose, where=where)
    return say(
        "{whose} rose {factor}-fold {where}, from {before} to {after}, and was never as high "
        "before.",
        whose=whose,
        where=where,
        factor=number(after / before),
        before=number(before),
        after=number(after),
    )


def _jumped_advice(e: Evidence) -> str:
    # The highest of the previous steps: the last one may be from the end of a schedule.
    usual = e.signals.usual_lr(e.parameters, np.nextafter(e.worst_step, 0))
    back = say("Go back to lr {lr}.", lr=number(usual)) if usual > 0 else ""
    look = say(
        "Look for scheduler.step() called in the wrong place, a scheduler created again on resume, "
        "or a learning rate set by hand."
    )
    return joined([back, look])


LR_JUMP = Rule(
    id="lr_jump",
    title="Learning rate jumped",
    needs=("lr",),
    condition=jumped,
    persistence=Persistence(),
    severity="error",
    message=_jumped_message,
    advice=_jumped_advice,
    reference="",
    explains=(
        "lr_too_high", "loss_blowup", "gradient_spike", "dead_units", "nonfinite", "plateau",
        "weight_decay_too_strong", "weight_decay_overshoots", "stale_second_moment", "no_gradient",
        "moved_without_gradient", "weights_grow",
    ),
    moves_lr="down",
    silences_compass=True,
)  # fmt: skip
