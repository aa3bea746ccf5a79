"""A fault is one way to spoil a run that would otherwise be well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from faults.runs.settings import Settings, usual_settings
from faults.runs.training import Training
from faults.tasks.task import Series, Task


@dataclass(frozen=True)
class Fault:
    """One way to spoil a run.

    Attributes:
        kind: What is wrong, a row of the table.
        variant: How, and with which optimizer.
        rules: Ids of the rules that name it; empty where no rule claims to.
        runs: In how many tasks of each of the first three series it is planted; the fourth has a
            multiple of it, and what is not counted in all tasks.
        settings: How the run trains.
        training: The loop that it is planted in.
        begins: The share of the steps after which it is there.
        fits: In which tasks it can be planted.
        series: Of tasks, in which it is planted.
        counted: Whether it enters the totals and the table by rule. What is mild does not: nobody
            need be told of it, and its rows say how often somebody is.
    """

    kind: str
    variant: str
    rules: tuple[str, ...]
    runs: int
    settings: Callable[[Task], Settings] = usual_settings
    training: type[Training] = Training
    begins: float = 0.0
    fits: Callable[[Task], bool] = lambda _: True
    series: tuple[Series, ...] = (1, 2, 3, 4)
    counted: bool = True


def changed(optimizer: str = "adamw", **changes: Any) -> Callable[[Task], Settings]:
    """Return what makes the usual settings of a task with these changes.

    Args:
        optimizer: Its name.
        **changes: Fields of :class:`Settings`; ``learning_rate_factor`` multiplies the usual one.
    """
    factor = changes.pop("learning_rate_factor", 1.0)

    def make(task: Task) -> Settings:
        usual = usual_settings(task, optimizer, changes.get("beta1", 0.9))
        return replace(usual, learning_rate=usual.learning_rate * factor, **changes)

    return make
