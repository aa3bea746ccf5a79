"""Are there experts, or entries of a codebook, that are never used?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tb_adam_plugin.languages.sentences import joined, say
from tb_adam_plugin.schema.layout import Parameter

from ..engine import thresholds
from ..engine.conditions import each_beyond
from ..engine.idle_rows import IDLE
from ..engine.recorded_run import is_stack, may_be_table
from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.signals import Signals
from ..engine.wording import named, percent, step

# Share of a table's rows that get no gradient. Half of a vocabulary may never occur.
UNUSED_FRACTION = 0.9
UNUSED_POINTS = 5


def _unused_rows(signals: Signals) -> Condition | None:
    run = signals.run
    stacks = [i for i in run.weights if is_stack(run.parameters[i])]
    tables = [i for i in run.weights if may_be_table(run.parameters[i])]
    parameters = np.union1d(run.embeddings, np.array([*stacks, *tables], np.intp))
    # In a stack, one row is enough: it is a whole expert.
    limits = [
        0.5 / run.parameters[i].shape[0] if i in stacks else UNUSED_FRACTION for i in parameters
    ]
    found = each_beyond(
        signals, IDLE, UNUSED_FRACTION, parameters, np.array(limits, np.float32), signals.settled
    )
    if found is None:
        return None
    chosen = np.asarray(found.parameters, np.intp)
    # The words of a text take turns: many rows that are used have no gradient at this step. If only
    # a few entries of a codebook are used, nearly all of these are in each batch.
    dead = signals.values("dead_row_fraction", chosen)
    takes_turns = dead - signals.values(IDLE, chosen) > 1 - dead
    return replace(found, holds=found.holds & (np.isin(chosen, stacks) | ~takes_turns))


def _stacks(e: Evidence) -> list[Parameter]:
    parameters = e.signals.run.parameters
    return [parameters[i] for i in e.parameters if is_stack(parameters[i])]


def _unused_rows_message(e: Evidence) -> str:
    said = {
        "share": percent(e.value),
        "names": named(e.names, e.signals.run.names),
        "first": step(e.first_step),
        "last": step(e.last_step),
    }
    if _stacks(e):
        return say(
            "Up to {share} of the {rows} slices of {names} along the first dimension, which may be "
            "experts or heads, had no gradient at any record from step {first} to {last}: always "
            "the same ones.",
            rows=max(p.shape[0] for p in _stacks(e)),
            **said,
        )
    return say(
        "The same {share} of the rows of {names} had no gradient at any record from step {first} "
        "to {last}. The others have one at most steps: they do not take turns the way words of a "
        "text do.",
        **said,
    )


def _unused_rows_advice(e: Evidence) -> str:
    if _stacks(e):
        return say(
            "Check how often the router chooses each expert. A load-balancing loss, or noise in "
            "the router, lets all of them learn."
        )
    bare = any(may_be_table(e.signals.run.parameters[i]) for i in e.parameters)
    table = say(
        "If it is a codebook, reinitialize the unused entries from the data being quantized, or "
        "make it smaller. If it is a table of tokens that never occur, nothing is wrong."
    )
    units = say("If its rows are units of a layer, they are dead: try LeakyReLU or GELU.")
    return joined([table, units]) if bare else table


UNUSED_ROWS = Rule(
    id="unused_rows",
    title="Experts or entries that are never used",
    needs=(IDLE, "dead_row_fraction"),
    condition=_unused_rows,
    persistence=Persistence(UNUSED_POINTS, thresholds.LASTING_STEPS),
    joined=True,
    severity="info",
    message=_unused_rows_message,
    advice=_unused_rows_advice,
    reference=(
        "Fedus et al. 2022, Switch Transformers; Dhariwal et al. 2020, Jukebox: a generative model "
        "for music, section 3.1"
    ),
)
