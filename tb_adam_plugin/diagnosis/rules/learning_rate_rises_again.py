"""Does the learning rate rise back to its peak after it fell?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Flags, Indices
from tb_adam_plugin.languages.sentences import joined, say

from ..engine.conditions import at_every_step, too_few_steps
from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.schedule_shape import LEAST_CHANGES, MOST_TURNS, Turn, stair_length, turns_of
from ..engine.signals import Signals
from ..engine.wording import number, step

# Down and up: at least this many changes of the learning rate.
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
    rose = say(
        "The learning rate fell from {high} to {low} at step {step} and rose again to {end}, step "
        "by step and as fast as it had fallen, as CosineAnnealingLR does beyond T_max.",
        high=number(lr[first.high]),
        low=number(lr[first.low]),
        step=step(steps[first.low]),
        end=number(lr[first.end]),
    )
    if len(turns) == 1:
        return rose
    again = say("This happened {count} times.", count=len(turns))
    if len(turns) == MOST_TURNS:
        again = say("This happened {count} times or more.", count=len(turns))
    return joined([rose, again])


def _advice(e: Evidence) -> str:
    stood = stair_length(e.signals.lr[_known(e.signals)])
    if np.isfinite(stood):
        calls = say(
            "T_max counts calls of scheduler.step(): here there is one every {count} steps.",
            count=step(stood),
        )
    else:
        length = step(e.signals.run.length)
        calls = say(
            "T_max counts calls of scheduler.step(): {count} if it is called every step.",
            count=length,
        )
    ask = say(
        "Is T_max shorter than the run, or is the scheduler stepped too often, for example once by "
        "each of several processes? For intended restarts use CosineAnnealingWarmRestarts."
    )
    return joined([calls, ask])


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
