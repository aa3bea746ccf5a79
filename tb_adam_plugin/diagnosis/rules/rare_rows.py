"""Does weight decay shrink embedding rows that are rarely used, or meant to stay?"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tb_adam_plugin.arrays import Float64s
from tb_adam_plugin.languages.sentences import joined, say
from tb_adam_plugin.schema.catalogue import IDLE_STEPS

from ..engine import thresholds
from ..engine.conditions import each_beyond
from ..engine.idle_rows import IDLE
from ..engine.rule import Condition, Evidence, Persistence, Rule, Severity
from ..engine.signals import Signals
from ..engine.weight_decay import taken_so_far
from ..engine.wording import named, percent

# Share of an embedding's rows that get no gradient at a step.
RARE_FRACTION = 0.8
RARE_POINTS = 5
# Σ lr · weight_decay, what weight decay has removed from a row that never has a gradient: with
# AdamW's defaults after 20,000 steps. Healthy: 6 of 802 runs, half of them by decay that passes
# through the moments.
LEAST_TAKEN = 0.2
# If most of a model is frozen, what it has learned should stay: the RMS of an embedding has fallen
# by this share, while at every record at least this share of its rows had no gradient. A few steps
# of the few trained rows change it by less. A textual inversion of 400 steps lost 18 %.
IDLE_FRACTION = 0.9
LEAST_SHRUNK = 0.01
# An alarm: this share is lost, and this share of the elements has never had a gradient. If rows
# take turns, like the tokens of a text, fewer are left.
ALARM_SHRUNK = 0.05
NEVER_FRACTION = 0.9
# At least this share of the loss must be explained by lr · weight_decay.
SHARE_OF_DECAY = 0.5


def _rare_rows(signals: Signals) -> Condition | None:
    found = each_beyond(signals, "dead_row_fraction", RARE_FRACTION, signals.run.embeddings)
    if found is None:
        return None
    # Without decay, or with too little of it in a short run, there is no effect.
    columns = signals.run.group_of[np.asarray(found.parameters, np.intp)]
    taken = taken_so_far(signals)[:, columns]
    return replace(found, holds=found.holds & (taken > LEAST_TAKEN))


def _rare_rows_message(e: Evidence) -> str:
    of_group = taken_so_far(e.signals)[:, e.signals.run.group_of[e.parameters[0]]]
    # The largest so far: a negative learning rate would give back what was removed.
    taken = max(0.0, float(np.fmax.reduce(of_group, initial=0.0)))
    said = {"share": percent(e.value), "names": named(e.names, e.signals.run.names)}
    if np.isinf(taken):
        seen = say(
            "Up to {share} of the rows of {names} get no gradient at a step, and weight decay "
            "moves them by full steps.",
            **said,
        )
    else:
        seen = say(
            "Up to {share} of the rows of {names} get no gradient at a step, and weight decay "
            "has shrunk rows that were never used by {taken}.",
            taken=percent(1 - math.exp(-taken)),
            **said,
        )
    return joined([seen, _take_turns(e), say("Is that intended?")])


def _take_turns(e: Evidence) -> str:
    """Say how many of the rows are used occasionally, and how many never, if recorded."""
    idle = e.signals.values(IDLE, e.parameters)
    known = idle[~np.isnan(idle).any(axis=1)]
    if not len(known):
        return ""
    return say(
        "At the last records, {share} of them had none in at least {steps} steps; the others take "
        "turns.",
        share=percent(float(known[-1].max())),
        steps=IDLE_STEPS,
    )


RARE_ROWS = Rule(
    id="rare_rows",
    title="Most rows of an embedding get no gradient",
    needs=("dead_row_fraction",),
    uses=(IDLE,),
    condition=_rare_rows,
    persistence=Persistence(RARE_POINTS, thresholds.LASTING_STEPS),
    once=True,
    severity="info",
    message=_rare_rows_message,
    advice=lambda e: say(
        "Put embeddings into a parameter group of their own without weight decay, or use an "
        "optimizer that skips such rows, such as SparseAdam."
    ),
    reference=(
        "Kunstner et al. 2024, Heavy-tailed class imbalance and why Adam outperforms gradient "
        "descent on language models"
    ),
)


def _kept_rows(signals: Signals) -> Condition | None:
    run = signals.run
    # Includes parameters of another optimizer: that of the previous training may be alive.
    frozen = sum(math.prod(u.shape) for u in run.unoptimized if not u.trainable)
    tables = run.embeddings[run.elements[run.embeddings] < frozen]
    if not tables.size or not run.step.size:
        return None
    dead = signals.values("dead_row_fraction", tables)
    idle = (dead > IDLE_FRACTION) | np.isnan(dead)
    tables = tables[idle.all(axis=0)]
    dead = dead[:, idle.all(axis=0)]
    if not tables.size:
        return None
    rms = signals.values("weight_rms", tables).astype(np.float64)
    lost = -np.log(rms / _first_known(rms))
    taken = taken_so_far(signals)[:, run.group_of[tables]]
    holds = (dead > IDLE_FRACTION) & (-np.expm1(-lost) > LEAST_SHRUNK)
    by_decay = holds & (taken > SHARE_OF_DECAY * lost)
    return Condition(run.step, by_decay, -np.expm1(-lost), LEAST_SHRUNK, tables)


def _first_known(values: Float64s) -> Float64s:
    """The first known value of each column, float64 ``[columns]``; NaN without any."""
    known = ~np.isnan(values)
    first: Float64s = values[known.argmax(axis=0), np.arange(values.shape[1])]
    return first


def _never_had_one(e: Evidence) -> float:
    """Smallest share of a table's elements that have never had a gradient; NaN if unknown."""
    zero = e.signals.values("zero_second_moment_fraction", e.parameters)
    known = zero[~np.isnan(zero).any(axis=1)]
    return float(known[-1].min()) if len(known) else float("nan")


def _kept_rows_severity(e: Evidence) -> Severity:
    certain = e.value > ALARM_SHRUNK and _never_had_one(e) > NEVER_FRACTION
    return "warning" if certain else "info"


def _kept_rows_message(e: Evidence) -> str:
    dead = float(np.nanmin(e.signals.values("dead_row_fraction", e.parameters)))
    idle = e.signals.values(IDLE, e.parameters)
    never = _never_had_one(e)
    seen = say(
        "At least {share} of the rows of {names} get no gradient at any recorded step.",
        share=percent(dead),
        names=named(e.names, e.signals.run.names),
    )
    same = (
        ""
        if np.isnan(idle).all()
        else say(
            "The same {share} had none for {steps} steps and more.",
            share=percent(float(np.nanmin(idle))),
            steps=IDLE_STEPS,
        )
    )
    ever = (
        say("{share} of the tensor never had a gradient.", share=percent(never))
        if never > NEVER_FRACTION
        else ""
    )
    shrunk = say(
        "They still change: weight decay has made the RMS of the whole tensor {share} smaller, "
        "while most of the model is frozen.",
        share=percent(e.value),
    )
    return joined([seen, same, ever, shrunk])


KEPT_ROWS = Rule(
    id="idle_rows_decay",
    title="Weight decay shrinks rows that get no gradient",
    question="Are rows without a gradient meant to shrink?",
    needs=("dead_row_fraction", "weight_rms", "weight_decay", "lr"),
    uses=("zero_second_moment_fraction", IDLE),
    condition=_kept_rows,
    persistence=Persistence(RARE_POINTS, thresholds.LASTING_STEPS),
    once=True,
    severity=_kept_rows_severity,
    message=_kept_rows_message,
    advice=lambda e: say(
        "Set weight_decay to 0 for {names}, in a parameter group of its own. A zero gradient is "
        "not enough to keep rows as they are: copy them back after each step, or train the new "
        "rows as a parameter of their own.",
        names=named(e.names, e.signals.run.names),
    ),
    reference="Loshchilov & Hutter 2019, Decoupled weight decay regularization",
    explains=("rare_rows",),
    shows="weight_rms",
)
