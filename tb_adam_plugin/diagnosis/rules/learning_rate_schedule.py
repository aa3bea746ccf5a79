"""Does the schedule fit the run? Always 0, never near its peak, or ended too early."""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Flags, Float64s
from tb_adam_plugin.languages.sentences import say

from ..engine import thresholds
from ..engine.conditions import at_every_step
from ..engine.rule import Condition, Evidence, Persistence, Rule, Severity
from ..engine.schedule_shape import changes_of, stair_length
from ..engine.signals import Signals
from ..engine.wording import counted, number, percent, step

# A warm-up that takes this share of the run is reported, or after this many steps if the length of
# the run is unknown.
RISING_SHARE = 0.5
RISING_STEPS = 100
# The learning rate in the middle of a rise over the one at its end: 0.5 for a straight line.
WARMUP_MIDDLE = 0.2
# A learning rate that was never above this share of its schedule's peak is not warmed up.
FAR_BELOW = 0.5
# The learning rate stays below DECAYED_TO of its peak for this share of the run.
DECAYED_SHARE = 0.3
DECAYED_POINTS = 5
# A learning rate that drops at most at every second step, this many times, is StepLR's. One whose
# factors from step to step differ by at most this share of the drop is ExponentialLR's.
STEP_LR_DROPS = 2
STEP_LR_STANDS = 2.0
EXPONENTIAL_LR_SPREAD = 0.01
# A learning rate of 0 at this many steps is not the first step of a warm-up.
ZERO_STEPS = 3


def _zero(signals: Signals) -> Condition | str | None:
    """A learning rate of 0 in every group, from the first step to the last one so far."""
    run, lr = signals.run, signals.lr
    of_groups = run.hyperparameters.get("lr", np.full((0, 0), np.nan))
    known = np.concatenate([lr[~np.isnan(lr)], of_groups[~np.isnan(of_groups)]])
    if not known.size or (known != 0).any():
        return None
    steps = max(signals.steps.size, run.step.size)
    if steps < ZERO_STEPS:
        return say("{seen}, needs {needed}", seen=counted(steps, "step"), needed=ZERO_STEPS)
    ends = np.array([run.first_step, run.last_step])
    return Condition(ends, np.ones(2, bool), np.zeros(2), 0.0)


LR_ZERO = Rule(
    id="lr_zero",
    title="The learning rate is 0: nothing is trained",
    needs=("lr",),
    condition=_zero,
    persistence=Persistence(),
    severity="error",
    message=lambda e: say(
        "The learning rate was 0 in every parameter group at every step, from step {first} to step "
        "{last}: no weight has changed.",
        first=step(e.first_step),
        last=step(e.last_step),
    ),
    advice=lambda e: say(
        "A warm-up that begins at 0 stays there until scheduler.step() is called, after each "
        "optimizer.step(). In a resumed run, check whether the schedule had already ended. "
        "Otherwise give the optimizer a learning rate above 0."
    ),
    reference="",
    explains=(
        "frozen",
        "lr_too_low",
        "lost_updates",
        "plateau",
        "noise_dominated",
        "bimodal_update",
    ),
    silences_compass=True,
)


def _far_below(signals: Signals) -> Condition | None:
    """A learning rate that has not come near its schedule's peak, past half of the run.

    OneCycleLR writes the peak into the group. Other schedules write the value they were created
    with, which is the peak of a warm-up; for a decreasing learning rate it need not be.
    """
    run, main = signals.run, signals.run.main_group
    options = run.groups[main].options if main < len(run.groups) else {}
    if not _is_late(signals) or run.first_step > thresholds.FIRST_STEP:
        return None
    rises = signals.is_warming_up or "max_lr" in options or _never_moves(signals)
    target = signals.scheduled_lr[main] if main < len(run.groups) else np.nan
    if not (rises and 0 < signals.peak_lr < FAR_BELOW * target):
        return None
    share = np.full(2, signals.peak_lr / target)
    ends = np.array([run.first_step, run.last_step])
    return Condition(ends, np.ones(2, bool), share, FAR_BELOW, lowest_is_worst=True)


def _never_moves(signals: Signals) -> bool:
    """Whether a schedule has not changed the learning rate at all, in a run of known length."""
    lr = signals.lr[np.isfinite(signals.lr)]
    return bool(signals.run.total_steps > 0 and lr.size and not changes_of(lr).size)


def _is_late(signals: Signals) -> bool:
    """Whether the run is past its half, or past its first steps if its length is unknown."""
    run = signals.run
    if run.total_steps > 0:
        return run.last_step >= RISING_SHARE * run.length
    return run.last_step >= RISING_STEPS


def _far_below_message(e: Evidence) -> str:
    signals = e.signals
    target = number(signals.peak_lr / e.value)
    return say(
        "Up to step {last} the learning rate was never above {peak}, which is {share} of the "
        "{target} that its schedule leads to.",
        last=step(e.last_step),
        peak=number(signals.peak_lr),
        share=percent(e.value),
        target=target,
    )


def _far_below_advice(e: Evidence) -> str:
    stood = stair_length(e.signals.lr[np.isfinite(e.signals.lr)])
    if np.isfinite(stood):
        return say(
            "It stays constant for {count} steps and then rises, as if scheduler.step() were "
            "called once per epoch. Call it once per optimizer step, or give the schedule its "
            "length in epochs.",
            count=step(stood),
        )
    if e.signals.is_warming_up:
        return say(
            "Its warm-up is longer than the run: make the warm-up 1 to 10 % of the steps of the "
            "run, and the schedule as long as the run."
        )
    return say("Call scheduler.step() once after each optimizer.step().")


def _far_below_severity(e: Evidence) -> Severity:
    """A question if the run may continue, or if a constant factor may be intended."""
    run = e.signals.run
    rises = e.signals.is_warming_up or "max_lr" in run.groups[run.main_group].options
    return "warning" if rises and run.total_steps > 0 else "info"


LR_FAR_BELOW = Rule(
    id="lr_far_below_schedule",
    title="The learning rate never came near its peak",
    question="Does the learning rate come near its peak?",
    needs=("lr",),
    condition=_far_below,
    persistence=Persistence(),
    severity=_far_below_severity,
    message=_far_below_message,
    advice=_far_below_advice,
    reference="",
    explains=(
        "lr_too_low",
        "lost_updates",
        "plateau",
        "noise_dominated",
        "bimodal_update",
        "init_too_small",
    ),
    once=True,
    silences_compass=True,
)


def _warmup_not_over(signals: Signals) -> Condition | None:
    """A learning rate that is still rising at the last step of a run past its start."""
    last = signals.run.last_step
    if not (signals.is_warming_up and _is_late(signals)) or _far_below(signals) is not None:
        return None
    ends = np.array([signals.run.first_step, last])
    return Condition(ends, np.ones(2, bool), np.full(2, last), 0.0)


def _warmup_severity(e: Evidence) -> Severity:
    """An alarm if the run is known to be over, and the learning rate rose as in a warm-up.

    Multiplying it at each step is a search for the largest stable value.
    """
    signals, run = e.signals, e.signals.run
    over = 0 < run.total_steps <= run.last_step
    middle = signals.lr[signals.steps <= (run.first_step + run.last_step) / 2]
    as_warmup = middle.size and middle[-1] > WARMUP_MIDDLE * signals.lr[-1]
    return "warning" if over and as_warmup else "info"


WARMUP_NOT_OVER = Rule(
    id="warmup_not_over",
    title="The warm-up is longer than the run",
    question="The warm-up is not over",
    needs=("lr",),
    condition=_warmup_not_over,
    persistence=Persistence(),
    severity=_warmup_severity,
    message=lambda e: say(
        "The learning rate is still rising at step {last}. Rules that need a settled learning rate "
        "are therefore not evaluated, including whether it is too low.",
        last=step(e.last_step),
    ),
    advice=lambda e: (
        say("Make the warm-up 1 to 10 % of the steps of the run.")
        if _warmup_severity(e) == "warning"
        else say("If training ends here, make the warm-up 1 to 10 % of the steps of the run.")
    ),
    reference="",
)


def _decayed(signals: Signals) -> Condition | None:
    steps, lr = signals.steps, signals.lr
    if not steps.size:
        return None
    share = lr / np.fmax.accumulate(lr)
    low = share < thresholds.DECAYED_TO
    lengths = _steps_since(low, steps)
    enough = DECAYED_SHARE * signals.run.length
    return at_every_step(
        signals, share, low & (lengths >= enough), thresholds.DECAYED_TO, below=True
    )


def _steps_since(holds: Flags, steps: Float64s) -> Float64s:
    """For each point, the total number of steps of the run of points that it belongs to."""
    n = len(holds)
    index = np.arange(n)
    first = np.maximum.accumulate(np.where(holds, 0, index + 1)).clip(max=n - 1)
    last = np.minimum.accumulate(np.where(holds, n - 1, index - 1)[::-1])[::-1].clip(min=0)
    return np.where(holds, steps[last] - steps[first], 0.0)


def _drops_in_steps(signals: Signals, until: float) -> bool:
    """Whether the learning rate was constant and dropped several times up to a step, as StepLR."""
    lr = signals.lr[(signals.steps > signals.warmup_end) & (signals.steps <= until)]
    lr = lr[np.isfinite(lr) & (lr > 0)]
    drops = np.count_nonzero(np.diff(lr) < 0)
    often = drops >= STEP_LR_DROPS
    return bool(often and lr.size >= STEP_LR_STANDS * drops)


def _decays_by_a_factor(signals: Signals, until: float) -> bool:
    """Whether every step multiplied the learning rate by the same factor, as ExponentialLR."""
    lr = signals.lr[(signals.steps > signals.warmup_end) & (signals.steps <= until)]
    lr = lr[np.isfinite(lr) & (lr > 0)]
    factors = lr[1:] / lr[:-1]
    if factors.size < STEP_LR_DROPS or not (factors < 1).all():
        return False
    return bool(np.ptp(factors) < EXPONENTIAL_LR_SPREAD * (1 - factors.mean()))


def _decayed_advice(e: Evidence) -> str:
    length = step(e.signals.run.length)
    if _drops_in_steps(e.signals, e.first_step):
        return say(
            "The learning rate is constant, then drops by a factor, as with StepLR. Step a "
            "schedule that counts epochs (StepLR, ExponentialLR) once per epoch, not once per "
            "batch; or count its step_size in batches, to make it last {length} steps.",
            length=length,
        )
    if _decays_by_a_factor(e.signals, e.first_step):
        return say(
            "Every step multiplies the learning rate by the same factor, as with ExponentialLR, or "
            "StepLR with step_size 1. Step a schedule that counts epochs (StepLR, ExponentialLR) "
            "once per epoch, not once per batch; or choose a gamma that lasts {length} steps.",
            length=length,
        )
    return say(
        "Step a schedule that counts epochs (StepLR, ExponentialLR) once per epoch, not once per "
        "batch. One that counts steps has to end with the training: T_max or total_steps = "
        "{length} or more, stepped once per optimizer step.",
        length=length,
    )


LR_DECAYED_EARLY = Rule(
    id="lr_decayed_early",
    title="Learning rate decayed too early",
    needs=("lr",),
    condition=_decayed,
    persistence=Persistence(DECAYED_POINTS),
    severity="warning",
    message=lambda e: say(
        "From step {first} on the learning rate is below {threshold} of its peak of {peak}, and "
        "training went on to step {last}: {share} of the run moves almost nothing.",
        first=step(e.first_step),
        threshold=percent(e.threshold),
        peak=number(e.signals.peak_lr),
        last=step(e.last_step),
        share=percent((e.last_step - e.first_step) / max(1.0, e.signals.run.last_step)),
    ),
    advice=_decayed_advice,
    reference="",
    explains=("lr_too_low", "lost_updates", "plateau", "noise_dominated", "bimodal_update"),
    silences_compass=True,
)
