"""Does weight decay eat the rows of an embedding that are hardly ever used?"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..engine import thresholds
from ..engine.conditions import each_beyond
from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.signals import Signals
from ..engine.weight_decay import taken_so_far
from ..engine.wording import named, percent

# Share of the rows of an embedding that get no gradient at a step.
RARE_FRACTION = 0.8
RARE_POINTS = 5
# What weight decay has taken from a row that never has a gradient, Σ lr · weight_decay: at the
# defaults of AdamW after 20,000 steps. Healthy: 6 of 802 runs, half of them by decay that passes
# through the moments.
LEAST_TAKEN = 0.2


def _rare_rows(signals: Signals) -> Condition | None:
    found = each_beyond(signals, "dead_row_fraction", RARE_FRACTION, signals.run.embeddings)
    if found is None:
        return None
    # Without decay, and with that of a short run, nothing comes of it.
    columns = signals.run.group_of[np.asarray(found.parameters, np.intp)]
    taken = taken_so_far(signals)[:, columns]
    return replace(found, holds=found.holds & (taken > LEAST_TAKEN))


def _rare_rows_message(e: Evidence) -> str:
    taken = float(taken_so_far(e.signals)[-1, e.signals.run.group_of[e.parameters[0]]])
    does = (
        "moves them by full steps"
        if np.isinf(taken)
        else f"has taken {percent(1 - math.exp(-taken))} of a row that was never used"
    )
    return (
        f"Up to {percent(e.value)} of the rows of {named(e.names, e.signals.run.names)} get no "
        f"gradient at a step, and weight decay {does}. Is that meant?"
    )


RARE_ROWS = Rule(
    id="rare_rows",
    title="Most rows of an embedding get no gradient",
    needs=("dead_row_fraction",),
    condition=_rare_rows,
    persistence=Persistence(RARE_POINTS, thresholds.LASTING_STEPS),
    once=True,
    severity="info",
    message=_rare_rows_message,
    advice=lambda e: (
        "A parameter group of their own without weight decay for embeddings, or an optimizer that "
        "skips such rows, as SparseAdam."
    ),
    reference=(
        "Kunstner et al. 2024, Heavy-tailed class imbalance and why Adam outperforms gradient "
        "descent on language models"
    ),
)
