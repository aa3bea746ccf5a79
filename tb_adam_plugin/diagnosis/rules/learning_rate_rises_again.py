"""Does the learning rate rise again to its peak after it came down?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Flags, Indices

from ..engine.conditions import at_every_step, too_few_steps
from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.schedule_shape import LEAST_CHANGES, MOST_TURNS, Turn, stair_length, turns_of
from ..engine.signals import Signals
from ..engine.wording import counted, number, step

# Down and up: so many changes of the learning rate.
LEAST_STEPS = 2 * LEAST_CHANGES


def _known(signals: Signals) -> Indices:
    """Points at which the learning rate is known."""
    return np.flatnonzero(np.isfinite(signals.lr))


def _turns(signals: Signals) -> list[Turn]:
    return turns_of(signals.lr[_known(signals)])


def _rises_again(signals: Signals) -> Condition | str | None:
    known = _known(signals)
    if known.size < LEAST_STEPS:
        return too_few_steps(signals, LEAST_STEPS) or None
    rises: Flags = np.zeros(signals.lr.shape, bool)
    for turn in _turns(signals):
        rises[known[turn.low : turn.end + 1]] = True
    return at_every_step(signals, signals.lr, rises, 0.0)


def _message(e: Evidence) -> str:
    signals, turns = e.signals, _turns(e.signals)
    known = _known(signals)
    lr, steps = signals.lr[known], signals.steps[known]
    first = turns[0]
    more = " or more" if len(turns) == MOST_TURNS else ""
    again = f" This happened {counted(len(turns), 'time')}{more}." if len(turns) > 1 else ""
    return (
        f"The learning rate fell from {number(lr[first.high])} to {number(lr[first.low])} at step "
        f"{step(steps[first.low])} and rose again to {number(lr[first.end])}, step by step and as "
        f"fast as it had fallen, as CosineAnnealingLR does beyond T_max.{again}"
    )


def _advice(e: Evidence) -> str:
    stood = stair_length(e.signals.lr[_known(e.signals)])
    calls = (
        f"T_max counts calls of scheduler.step(), of which there is one in {step(stood)} steps here"
        if np.isfinite(stood)
        else f"T_max counts calls of scheduler.step(): {step(e.signals.run.length)} with one a step"
    )
    return (
        f"{calls}. Is T_max shorter than the run, or the schedule stepped more often than it "
        "counts, as once by each of several processes? For restarts on purpose use "
        "CosineAnnealingWarmRestarts."
    )


LR_RISES_AGAIN = Rule(
    id="lr_rises_again",
    title="Is the learning rate meant to rise again?",
    needs=("lr",),
    condition=_rises_again,
    persistence=Persistence(),
    once=True,
    severity="info",
    message=_message,
    advice=_advice,
    reference="",
    explains=("plateau", "noise_dominated"),
)
