"""Search for the learning rate of every optimizer in every task, by the losses alone.

    PYTHONPATH=benchmarks python -m faults.runs.scan --jobs 2

Each run has a constant learning rate for the task's usual number of steps, without the callback,
from a seed that no case has. The grid is 1, 3, 10, 30 ... and grows until its best is inside. The
output is the best one, or the next lower if that gets :data:`ALMOST` as far, and P, the share of
the way from the initial loss to the lowest of all optimizers that it covers.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

from faults.runs.settings import Settings, usual_settings
from faults.runs.training import Recorder, Training
from faults.tasks.task import SGD_WITHOUT_MOMENTUM, Task
from faults.tasks.tasks import TASKS, tasks_of

ALMOST = 0.98
_SEED = 90_001
# Start of the grid, as a power of the root of 10: for Adam, and for the others relative to its
# best.
_ADAM = -5
_OVER_ADAM = {
    "nadam": 0, "radam": 1, "rmsprop": -1, "adagrad": 1, "adamax": 1, "lion": -2, "sgd": 3,
    SGD_WITHOUT_MOMENTUM: 4,
}  # fmt: skip
_FARTHEST = 8


class _Nothing:
    def record(self, **scalars: Tensor) -> None:
        """Record nothing."""

    def close(self) -> None:
        """Do nothing."""


class _Unrecorded(Training):
    """The plain loop without the callback."""

    def make_recorder(self, initial_step: int | None) -> Recorder:
        """Attach nothing."""
        return _Nothing()


def learning_rate(exponent: int) -> float:
    """Return the root of 10 to this power, rounded to one digit."""
    return float(f"{10 ** (exponent / 2):.0e}")


def losses_of(task: Task, optimizer: str, middle: int) -> tuple[float, Mapping[int, float]]:
    """Train with one learning rate after the other.

    Args:
        task: The task to learn.
        optimizer: A key of its learning rates.
        middle: The exponent to start around.

    Returns:
        The initial loss, and the final one by exponent of the learning rate.
    """
    known = replace(task, learning_rates={optimizer: math.nan})
    name, _, without_momentum = optimizer.partition(" ")
    usual = usual_settings(known, name, 0.0 if without_momentum else 0.9)
    initial, final = math.nan, dict[int, float]()

    def train(exponent: int) -> None:
        nonlocal initial
        initial, final[exponent] = _losses(
            task, replace(usual, learning_rate=learning_rate(exponent))
        )

    for exponent in (middle - 1, middle, middle + 1):
        train(exponent)
    while (best := min(final, key=final.__getitem__)) in (min(final), max(final)):
        outwards = best - 1 if best == min(final) else best + 1
        if abs(outwards - middle) > _FARTHEST:
            break
        train(outwards)
    return initial, final


def chosen(initial: float, final: Mapping[int, float]) -> int:
    """Return the exponent of the best learning rate, or the next lower if almost as good."""
    best = min(final, key=final.__getitem__)
    lower = initial - final.get(best - 1, math.inf)
    return best - 1 if lower >= ALMOST * (initial - final[best]) else best


def _losses(task: Task, settings: Settings) -> tuple[float, float]:
    outcome = _Unrecorded(task, settings, _SEED, Path()).run()
    return outcome.initial_loss, outcome.final_loss


def _scan(task_name: str) -> str:
    torch.set_num_threads(1)
    (task,) = (t for t in TASKS if t.name == task_name)
    found = {"adamw": losses_of(task, "adamw", _ADAM)}
    adam = chosen(*found["adamw"])
    for optimizer, over_adam in _OVER_ADAM.items():
        found[optimizer] = losses_of(task, optimizer, adam + over_adam)
    lowest = min(min(final.values()) for _, final in found.values())
    lines = [f"### {task_name}\n", "| optimizer | chosen | P | final loss by learning rate |"]
    lines.append("|---|---|---|---|")
    for optimizer, (initial, final) in found.items():
        choice = chosen(initial, final)
        progress = (initial - final[choice]) / (initial - lowest)
        losses = ", ".join(f"{learning_rate(e):g}: {final[e]:.3g}" for e in sorted(final))
        lines.append(f"| {optimizer} | {learning_rate(choice):g} | {progress:.2f} | {losses} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the options, and scan."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="only tasks whose name has this in it")
    parser.add_argument("--jobs", type=int, default=1, help="processes that train")
    options = parser.parse_args()
    names = [task.name for task in tasks_of(4) if options.only in task.name]
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as processes:
        for text in processes.map(_scan, names):
            print(text, flush=True)


if __name__ == "__main__":
    main()
