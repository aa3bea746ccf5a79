"""Does weight decay make the weights forget within few steps what they have learned?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Indices

from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.signals import Signals
from ..engine.weight_decay import taken_at_a_step, taken_so_far
from ..engine.wording import number, one_digit, step
from ..engine.worst import worst_of_row

# lr · weight_decay, of which each step takes so much of a weight: weights forget within the inverse
# of it, 400 steps. Published: from 1,100 (vision transformers, lr 3e-3 · 0.3) to 100,000. 330, of a
# language model with 30 times its decay, cost 0.09 nats.
TAKEN_AT_A_STEP = 1 / 400
# Only where it has taken so much in all that weights have begun to forget.
TAKEN_SO_FAR = 0.3
# What is advised is the usual decay, within these factors of the present one.
USUAL_DECAY = 0.1
LEAST_FACTOR, MOST_FACTOR = 10.0, 5e3


def _forgets(signals: Signals) -> Condition | None:
    run = signals.run
    taken = taken_at_a_step(signals)
    if not taken.size:
        return None
    of_matrices = np.isin(np.arange(taken.shape[1]), run.group_of[run.weights_or_matrices])
    # From 1 on decay overshoots, which is another thing.
    beyond = (taken > TAKEN_AT_A_STEP) & (taken <= 1) & of_matrices
    beyond &= taken_so_far(signals) > TAKEN_SO_FAR

    def blame(record: int) -> Indices:
        groups = np.flatnonzero(beyond[record])
        return np.flatnonzero(np.isin(run.group_of, groups))

    return Condition(
        run.step,
        np.asarray(beyond.any(axis=1)),
        worst_of_row(np.where(beyond, taken, np.nan)),
        TAKEN_AT_A_STEP,
        blame=blame,
        known=np.ones(run.step.shape, bool),
    )


def _settings(e: Evidence) -> tuple[float, float]:
    """The learning rate and the weight decay where it is worst."""
    run = e.signals.run
    group = int(run.group_of[e.parameters[0]])
    lr, decay = (
        run.hyperparameters[name][e.worst_record, group] for name in ("lr", "weight_decay")
    )
    return float(lr), float(decay)


def _message(e: Evidence) -> str:
    lr, decay = _settings(e)
    return (
        f"At step {step(e.worst_step)} decay takes lr · weight_decay = {number(lr)} · "
        f"{number(decay)} = {number(e.value)} of a weight: what was learned "
        f"{number(1 / e.value)} steps ago is down to a third. Is so short a memory meant?"
    )


def _advice(e: Evidence) -> str:
    lr, decay = _settings(e)
    wanted = max(min(USUAL_DECAY, decay / LEAST_FACTOR), decay / MOST_FACTOR)
    lasts = number(1 / (lr * wanted))
    return (
        f"Try weight_decay {number(one_digit(wanted))} instead of {number(decay)}: weights then "
        f"forget within about {lasts} steps."
    )


SHORT_MEMORY = Rule(
    id="short_memory",
    title="Is weight decay too strong, so that weights forget?",
    needs=("weight_decay", "lr"),
    condition=_forgets,
    persistence=Persistence(),
    severity="info",
    message=_message,
    advice=_advice,
    reference="Kosson et al. 2023, Rotational equilibrium",
    once=True,
    explains=("rare_rows",),
    shows="weight_decay_ratio",
)
