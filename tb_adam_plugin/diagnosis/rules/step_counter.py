"""Does the optimizer's step counter advance?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.languages.sentences import say

from ..engine.rule import Condition, Persistence, Rule
from ..engine.signals import Signals
from ..engine.wording import named, number


def _not_counted(signals: Signals) -> Condition | None:
    """Parameters with a gradient that move, but whose step count stayed between two records."""
    run = signals.run
    still = signals.by_record(
        "stands still",
        lambda part: (
            (signals.change("state_step", part) == 0)
            & (signals.statistic("zero_gradient_fraction")[part] < 1)
            # A subclass may skip a step, and does not count it.
            & (signals.statistic("update_to_weight_ratio")[part] != 0)
        ),
    )
    some = np.flatnonzero(still.any(axis=0))
    counts = signals.values("state_step", some)
    known = np.arange(run.step.size) > 0
    return Condition(run.step, still[:, some], counts, 0.0, some, known=known)


NOT_COUNTED = Rule(
    id="step_not_counted",
    title="The optimizer's step counter is stuck",
    needs=("state_step", "zero_gradient_fraction"),
    uses=("update_to_weight_ratio",),
    condition=_not_counted,
    persistence=Persistence(2),
    severity="warning",
    message=lambda e: say(
        "{names}: the state's step counter stays at {count} while steps are taken, so the bias "
        "correction, and with it the step size, is wrong.",
        names=named(e.names, e.signals.run.names),
        count=number(e.value),
    ),
    advice=lambda e: say(
        "Look for a step tensor shared by parameters, one replaced by load_state_dict(), or a "
        "state restored before every step."
    ),
    reference="",
    explains=("lr_too_high", "lr_too_low"),
    silences_compass=True,
)
