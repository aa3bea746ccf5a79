"""Does weight decay make the weights forget what they have learned within a few steps?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Indices
from tb_adam_plugin.languages.sentences import joined, say

from ..engine.over_time import median_of_all
from ..engine.rule import Condition, Evidence, Persistence, Rule, Severity
from ..engine.signals import Signals
from ..engine.weight_decay import (
    TAKEN_AT_A_STEP,
    USUAL_DECAY,
    taken_at_a_step,
    taken_so_far,
    usual_instead_of,
)
from ..engine.wording import number, one_digit, percent, step
from ..engine.worst import worst_of_row
from .noise import lately_and_before, no_longer_falls

# Only if it has removed enough in total for weights to start forgetting.
TAKEN_SO_FAR = 0.3
# An alarm, whatever the gradients: decay is ten times the usual, would shrink a weight to a third
# over the run, and either a typical weight matrix has shrunk to this share of its initial RMS (a
# language model with 100 times its decay: 0.45; healthy: from 0.9), or the loss no longer falls at
# the last record: weights that start small may grow, and learn nothing that lasts.
ALARM_DECAY = 10 * USUAL_DECAY
ALARM_TAKEN = 1.0
SHRUNK = 0.5


def _forgets(signals: Signals) -> Condition | None:
    run = signals.run
    taken = taken_at_a_step(signals)
    if not taken.size:
        return None
    of_matrices = np.isin(np.arange(taken.shape[1]), run.group_of[run.weights_or_matrices])
    # From 1 on decay overshoots, which is a different problem.
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


def _shrunk_to(e: Evidence) -> float:
    """Median RMS of the affected weights at the last record, relative to the first one.

    NaN if the run was resumed, or without such weights.
    """
    signals = e.signals
    weights = np.intersect1d(e.parameters, signals.started_weights)
    if signals.first_scales is None or not weights.size:
        return float("nan")
    rms = signals.statistic("weight_rms")
    first = rms[0, weights]
    return median_of_all(rms[-1, weights] / np.where(first > 0, first, np.nan))


def _severity(e: Evidence) -> Severity:
    group = int(e.signals.run.group_of[e.parameters[0]])
    taken = float(taken_so_far(e.signals)[-1, group])
    strong = _settings(e)[1] >= ALARM_DECAY and taken > ALARM_TAKEN
    return "warning" if strong and (_has_shrunk(e) or _stands_still(e)) else "info"


def _has_shrunk(e: Evidence) -> bool:
    return _shrunk_to(e) < SHRUNK


def _stands_still(e: Evidence) -> bool:
    return bool(no_longer_falls(e.signals)[-1:].any())


def _message(e: Evidence) -> str:
    seen = _forgets_within(e)
    if _severity(e) == "info":
        return joined([seen, say("Is such a short memory intended?")])
    if not _has_shrunk(e):
        now, before = (float(loss[-1]) for loss in lately_and_before(e.signals))
        still = say(
            "The loss no longer falls: it is {share} of its value after a third of the steps.",
            share=percent(now / before),
        )
        return joined([seen, still])
    shrunk = say(
        "By the last record a typical weight matrix has shrunk to {share} of its initial size.",
        share=percent(_shrunk_to(e)),
    )
    return joined([seen, shrunk])


def _forgets_within(e: Evidence) -> str:
    lr, decay = _settings(e)
    return say(
        "At step {step}, decay takes lr · weight_decay = {lr} · {decay} = {taken} of a weight: a "
        "third of what was learned {steps} steps ago is left.",
        step=step(e.worst_step),
        lr=number(lr),
        decay=number(decay),
        taken=number(e.value),
        steps=number(1 / e.value),
    )


def _advice(e: Evidence) -> str:
    lr, decay = _settings(e)
    wanted = usual_instead_of(decay)
    return say(
        "Try weight_decay {wanted} instead of {now}: weights then forget within about {steps} "
        "steps.",
        wanted=number(one_digit(wanted)),
        now=number(decay),
        steps=number(1 / (lr * wanted)),
    )


SHORT_MEMORY = Rule(
    id="short_memory",
    title="Weight decay too strong: weights forget",
    question="Is weight decay so strong that weights forget?",
    needs=("weight_decay", "lr"),
    uses=("weight_rms", "loss"),
    condition=_forgets,
    persistence=Persistence(),
    severity=_severity,
    message=_message,
    advice=_advice,
    reference="Kosson et al. 2023, Rotational equilibrium",
    once=True,
    explains=("rare_rows", "plateau", "lr_too_low", "noise_dominated", "decayed_gains"),
    sets="weight_decay",
    silences_compass=True,
    shows="weight_decay_ratio",
)
