"""What is learned by what: a task is a network, its data, and learning rates that suit it.

The tasks of the tuning half are other networks than those of the reporting half, and learn from
other texts and other pictures.
"""

from __future__ import annotations

from faults.tasks.first_series import FIRST
from faults.tasks.fourth_series import FOURTH
from faults.tasks.task import HALVES, Half, Series, Task

# In the order of their series, in which faults are dealt out to them.
TASKS: tuple[Task, ...] = (*FIRST, *FOURTH)


def series_of(half: Half) -> list[Series]:
    """Return the series of a half."""
    return [series for series, belongs_to in HALVES.items() if belongs_to == half]


def tasks_of(series: Series) -> list[Task]:
    """Return the tasks of a series."""
    return [task for task in TASKS if task.series == series]
