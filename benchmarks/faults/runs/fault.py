"""A fault: one way to spoil an otherwise healthy run."""

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
        rules: Ids of the rules that name it; empty if no rule claims to.
        runs: Number of tasks of each of the first three series in which it is planted; the fourth
            has a multiple of it, and uncounted faults in all tasks.
        settings: How the run trains.
        training: The loop that it is planted in.
        begins: The share of the steps after which it appears.
        fits: Tests whether it can be planted in a task.
        series: Series of tasks in which it is planted.
        counted: Whether it enters the totals and the table by rule. Mild faults do not: users need
            not be told of them, and their rows show how often they are.
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
    """Return a function that changes the usual settings of a task.

    Args:
        optimizer: Its name.
        **changes: Fields of :class:`Settings`; ``learning_rate_factor`` multiplies the usual one.
    """
    factor = changes.pop("learning_rate_factor", 1.0)

    def make(task: Task) -> Settings:
        usual = usual_settings(task, optimizer, changes.get("beta1", 0.9))
        return replace(usual, learning_rate=usual.learning_rate * factor, **changes)

    return make
