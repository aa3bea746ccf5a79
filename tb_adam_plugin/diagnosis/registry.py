"""All rules, in order of precedence: what is certain first, then causes, then symptoms."""

from __future__ import annotations

from .gradients import NO_GRADIENT, NONFINITE
from .learning_rate import LOSS_BLOWUP, LR_DECAYED_EARLY, LR_JUMP, LR_TOO_HIGH, LR_TOO_LOW
from .rule import Rule

RULES: tuple[Rule, ...] = (
    LR_JUMP,
    NO_GRADIENT,
    LR_TOO_HIGH,
    LR_DECAYED_EARLY,
    LOSS_BLOWUP,
    NONFINITE,
    LR_TOO_LOW,
)

# What has to be read of a run.
STATISTICS_NEEDED = frozenset(
    name for rule in RULES for name in (*rule.needs, *rule.needs_any, *rule.uses)
)
