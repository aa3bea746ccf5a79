"""Which runs there are: (task, fault or control, seed), in two halves.

The halves share neither a task nor a seed. Thresholds were first tuned on the first half alone;
both have been read since.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from pathlib import Path

from faults.runs.controls import CONTROLS, Control
from faults.runs.fault import Fault
from faults.runs.faults import FAULTS
from faults.runs.settings import Settings
from faults.runs.training import Outcome, Training
from faults.runs.ways_to_record import Way
from faults.tasks.task import Half, Series, Task
from faults.tasks.tasks import series_of, tasks_of

HALVES: tuple[Half, ...] = ("tuning", "reporting")
_FIRST_SEED: dict[Series, int] = {1: 1, 2: 10_001, 3: 20_001, 4: 30_001}
# In the fourth series, so a row of the table is more than an anecdote; more if the task decides
# whether there is any harm.
_LEAST_OF_A_KIND = 6
_LEAST_WITH_ROUNDING = {"updates lost to rounding": 8, "state type changed": 8}
_MOST_IN_A_TASK = 2


@dataclass(frozen=True)
class Case:
    """One run of the laboratory.

    Attributes:
        task: The task to learn.
        planted: The fault, or the control.
        seed: Seed of weights and batches; unique among the cases.
    """

    task: Task
    planted: Fault | Control
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder: half, task, what is planted, seed."""
        kind = self.planted.kind if isinstance(self.planted, Fault) else "healthy"
        what = re.sub(r"[^a-z0-9.]+", "_", f"{kind} {self.planted.variant}".lower())
        return f"{self.task.half}/{self.task.name}/{what}-{self.seed}"

    @property
    def settings(self) -> Settings:
        """How it trains."""
        return self.planted.settings(self.task)

    @property
    def begins(self) -> int:
        """The number of steps before the fault appears."""
        share = self.planted.begins if isinstance(self.planted, Fault) else 0.0
        return round(share * self.settings.steps)

    @property
    def resumed_at(self) -> int | None:
        """The first step after training is resumed, or None."""
        return self.settings.steps // 2 + 1 if self.planted.training.resumes else None

    def train(
        self, folder: Path, settings: Settings | None = None, way: Way = "default"
    ) -> Outcome:
        """Train it.

        Args:
            folder: Folder of the event file.
            settings: Replaces its own settings.
            way: The way to record.
        """
        training: type[Training] = self.planted.training
        return training(self.task, settings or self.settings, self.seed, folder, way).run()


def cases_of(half: Half) -> list[Case]:
    """Return the cases of a half: every control and every fault in some of its tasks."""
    return [case for series in series_of(half) for case in _cases_of_series(series)]


def _cases_of_series(series: Series) -> list[Case]:
    everything: list[Fault | Control] = [*CONTROLS, *FAULTS]
    dealt = [
        (task, planted)
        for turn, planted in enumerate(p for p in everything if series in p.series)
        for task in _tasks_for(planted, series, turn)
    ]
    return [
        Case(task, planted, seed)
        for seed, (task, planted) in enumerate(dealt, start=_FIRST_SEED[series])
        if not (isinstance(planted, Control) and task.name in planted.left_out)
    ]


def case_named(name: str) -> Case:
    """Return a case by its name.

    Raises:
        KeyError: If there is no such case.
    """
    return _cases_by_name()[name]


@functools.cache
def _cases_by_name() -> dict[str, Case]:
    return {case.name: case for half in HALVES for case in cases_of(half)}


def _tasks_for(planted: Fault | Control, series: Series, turn: int) -> list[Task]:
    """Select the tasks in which something is planted; each starts with another one."""
    fitting = [task for task in tasks_of(series) if _fits(planted, task)]
    runs = planted.runs if series < 4 else _runs_in_fourth_series(planted, len(fitting))
    return [fitting[(3 * turn + i) % len(fitting)] for i in range(runs)]


def _fits(planted: Fault | Control, task: Task) -> bool:
    try:
        planted.settings(task)
    except KeyError:  # no learning rate of this optimizer suits the task
        return False
    return isinstance(planted, Control) or planted.fits(task)


def _runs_in_fourth_series(planted: Fault | Control, fitting: int) -> int:
    if isinstance(planted, Control) or not planted.counted:
        return fitting
    of_this_kind = sum(fault.runs for fault in FAULTS if fault.kind == planted.kind)
    least = _LEAST_WITH_ROUNDING.get(planted.kind, _LEAST_OF_A_KIND)
    wanted = planted.runs * max(2, math.ceil(least / of_this_kind))
    return min(wanted, _MOST_IN_A_TASK * fitting)
