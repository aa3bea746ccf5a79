"""Are there parameters that this optimizer does not move?"""

from __future__ import annotations

from ..engine.conditions import all_along
from ..engine.rule import Evidence, Persistence, Rule, Severity
from ..engine.signals import Signals
from ..engine.wording import named


def _unoptimized(signals: Signals, *, trainable: bool) -> tuple[str, ...]:
    """Of the parameters that no group holds, and no other optimizer."""
    return tuple(
        u.name
        for u in signals.run.unoptimized
        if u.trainable == trainable and not u.other_optimizer
    )


NOT_IN_OPTIMIZER = Rule(
    id="not_in_optimizer",
    title="Trainable parameters are in no group",
    needs=("step",),
    condition=lambda s: all_along(s, names=_unoptimized(s, trainable=True)),
    persistence=Persistence(),
    severity="warning",
    message=lambda e: (
        f"{named(e.names)}: requires_grad is True, and no parameter group of this optimizer holds "
        "it, so that no step of it changes it."
    ),
    advice=lambda e: (
        "Add it to the optimizer. If another optimizer updates it, or none is meant to, set "
        "requires_grad_(False) or ignore this."
    ),
    reference="",
    explains=("plateau",),
)


def _resting(signals: Signals) -> tuple[str, ...]:
    return tuple(signals.run.names[i] for i in signals.run.resting)


def _frozen_message(e: Evidence) -> str:
    resting = _resting(e.signals)
    untrainable = [name for name in e.names if name not in set(resting)]
    parts = [f"{named(untrainable)}: requires_grad is False."] if untrainable else []
    if resting:
        names = named(resting, e.signals.run.names)
        parts.append(f"{names}: the learning rate of the group is 0 at every record.")
    return f"{' '.join(parts)} Is that meant?"


def _frozen_severity(e: Evidence) -> Severity:
    """A question, unless nothing moves at all."""
    return "warning" if e.signals.run.resting.size == len(e.signals.run.parameters) else "info"


FROZEN_PARAMETERS = Rule(
    id="frozen",
    title="Some parameters are frozen",
    needs=("step",),
    condition=lambda s: all_along(s, names=_unoptimized(s, trainable=False) + _resting(s)),
    persistence=Persistence(),
    severity=_frozen_severity,
    message=_frozen_message,
    advice=lambda e: "",
    reference="",
    uses=("lr",),
)
