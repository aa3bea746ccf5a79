"""All tasks: a task is a network, its data, and suitable learning rates.

The tasks of the tuning half use different networks from those of the reporting half, and different
texts and pictures.
"""

from __future__ import annotations

from faults.tasks.first_series import FIRST
from faults.tasks.fourth_series import FOURTH
from faults.tasks.task import HALVES, Half, Series, Task

# In the order of their series, in which faults are assigned to them.
TASKS: tuple[Task, ...] = (*FIRST, *FOURTH)


def series_of(half: Half) -> list[Series]:
    """Return the series of a half."""
    return [series for series, belongs_to in HALVES.items() if belongs_to == half]


def tasks_of(series: Series) -> list[Task]:
    """Return the tasks of a series."""
    return [task for task in TASKS if task.series == series]
