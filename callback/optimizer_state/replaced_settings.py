"""Which settings of the groups loading a checkpoint replaces, other than a schedule does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .group_settings import GroupSettings, as_number, hyperparameter

# What people choose. Numbers that an optimizer counts or estimates are the checkpoint's business.
_CHOSEN = (
    "lr", "weight_decay", "beta1", "beta2", "beta3", "momentum", "dampening", "alpha", "rho", "eps",
    "eps1", "eps2", "lambd",
)  # fmt: skip
# OneCycleLR and CyclicLR move these, and say so by another key of the group.
_CYCLED = ("beta1", "momentum")
_CYCLED_KEY = "max_momentum"
# A number that is stored and read again is the same but for so much.
_SAME = 1e-9

Numbers = Mapping[str, float]


def numbers_of(groups: Sequence[GroupSettings]) -> list[Numbers]:
    """Return the settings that people choose, of each group.

    Where a schedule has begun, the learning rate is the one that it was made with: the checkpoint
    of a healthy run has another one by then, and the same initial_lr.
    """
    found: list[Numbers] = []
    for group in groups:
        numbers = {
            name: hyperparameter(group, name)
            for name in _CHOSEN
            if not (name in _CYCLED and _CYCLED_KEY in group)
        }
        initial = as_number(group.get("initial_lr"))
        found.append({**numbers, "lr": initial if math.isfinite(initial) else numbers["lr"]})
    return found


def replaced(
    before: Sequence[Numbers], after: Sequence[Numbers]
) -> tuple[Mapping[str, tuple[float, float]], ...]:
    """Return what differs, of each group, with both numbers; what only one of them has is left out.

    Args:
        before: Of :func:`numbers_of`, before a checkpoint was loaded.
        after: The same afterwards.
    """
    return tuple(
        {
            name: (old[name], new[name])
            for name in old
            if name in new and _differ(old[name], new[name])
        }
        for old, new in zip(before, after, strict=True)
    )


def _differ(a: float, b: float) -> bool:
    return math.isfinite(a) and math.isfinite(b) and not math.isclose(a, b, rel_tol=_SAME)
