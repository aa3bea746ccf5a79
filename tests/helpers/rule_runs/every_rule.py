"""The runs of all rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from synthetic_runs import Change

from rule_runs import (
    adam_state,
    gradient_sizes,
    learning_rate,
    loss,
    missing_gradients,
    network,
    schedules,
    weight_decay,
)
from rule_runs.parts import NearMiss

_FAMILIES = (
    learning_rate,
    schedules,
    weight_decay,
    adam_state,
    missing_gradients,
    gradient_sizes,
    network,
    loss,
)

# A run that triggers each rule, one entry per rule.
PLANTED: Mapping[str, Sequence[Change]] = {
    rule: changes for family in _FAMILIES for rule, changes in family.PLANTED.items()
}

# Runs that lack one thing that a rule needs. Each clause of a condition is left out once.
NEAR: Sequence[NearMiss] = [near for family in _FAMILIES for near in family.NEAR]
