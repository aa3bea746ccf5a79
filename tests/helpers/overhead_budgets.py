"""A budget that has seen some steps."""

from __future__ import annotations

import pytest

from tb_adam_plugin.callback.schedule import overhead
from tb_adam_plugin.callback.schedule.intervals import Schedule
from tb_adam_plugin.callback.schedule.overhead import OverheadBudget


@pytest.fixture(autouse=True)
def recording_may_take_any_time() -> None:
    """Not here."""


_AFTER_ALLOWANCE = 2000


def budget(
    share: float | None,
    record: float,
    step: float,
    *,
    every: int | None = 10,
    total: int | None = None,
    after: int = _AFTER_ALLOWANCE,
) -> OverheadBudget:
    """A budget that has seen some steps, by default until the allowance is used up."""
    found = OverheadBudget(share, (Schedule(every, total),))
    found.begin_at(1)
    for number in range(1, after + 1):
        found.add_training(step)
        recorded = number in (1, 2, 4, 8, 16)
        found.add_own(number, record if recorded else 0.0, recorded=recorded)
    if after == _AFTER_ALLOWANCE and share is not None:
        found.add_outside(overhead.ALLOWANCE_SECONDS + share * step * after - 5 * record)
    return found
