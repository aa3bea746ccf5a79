"""Group settings that loading a checkpoint replaces, other than by a schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .group_settings import GroupSettings, as_number, hyperparameter

# Settings chosen by users. Numbers that an optimizer counts or estimates belong to the checkpoint.
_CHOSEN = (
    "lr", "weight_decay", "beta1", "beta2", "beta3", "momentum", "dampening", "alpha", "rho", "eps",
    "eps1", "eps2", "lambd",
)  # fmt: skip
# OneCycleLR and CyclicLR change these, and mark it by another key of the group.
_CYCLED = ("beta1", "momentum")
_CYCLED_KEY = "max_momentum"
# Relative tolerance for a number that was stored and read again.
_SAME = 1e-9

Numbers = Mapping[str, float]


def numbers_of(groups: Sequence[GroupSettings]) -> list[Numbers]:
    """Return the user-chosen settings of each group.

    If a schedule has started, the learning rate is the one that it was created with: the current
    one differs in the checkpoint of a healthy run, but initial_lr is the same.
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
    """Return what differs in each group, as pairs; settings missing on one side are left out.

    Args:
        before: From :func:`numbers_of`, before a checkpoint was loaded.
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
