"""Keeps the runs: trains missing ones, each in a separate folder."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from faults.runs.cases import Case, case_named
from faults.runs.settings import Settings
from faults.runs.training import Outcome
from faults.runs.ways_to_record import Way, fingerprint

_OUTCOME, _RECIPE, _CODE = "outcome.json", "recipe.txt", "recorded_by.txt"


@dataclass(frozen=True)
class Wanted:
    """A run to be trained.

    Attributes:
        case: The case to train.
        folder: Folder of the run.
        settings: Replaces those of the case, or None.
        way: The way to record.
    """

    case: Case
    folder: Path
    settings: Settings | None = None
    way: Way = "default"

    @property
    def recipe(self) -> str:
        """Everything the run depends on; a different recipe trains it again."""
        planted = self.case.planted
        settings = self.settings or self.case.settings
        return (
            f"{self.case.task.name} {planted.training.__name__} {self.case.seed} {settings} "
            f"recorded {self.way}"
        )

    @property
    def is_recorded(self) -> bool:
        """Whether it has been trained and recorded with the current recipe."""
        return self.is_trained and self._noted(_CODE) == fingerprint(self.way)

    @property
    def is_trained(self) -> bool:
        """Whether it has been trained with the current settings, whatever code recorded it."""
        return (self.folder / _OUTCOME).exists() and self._noted(_RECIPE) == self.recipe

    def record(self) -> None:
        """Train it, replacing any earlier one."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        (self.folder / _RECIPE).write_text(self.recipe, encoding="utf-8")
        (self.folder / _CODE).write_text(fingerprint(self.way), encoding="utf-8")
        outcome = self.case.train(self.folder, self.settings, self.way)
        # Last, so an interrupted run counts as missing.
        outcome.save(self.folder / _OUTCOME)

    def outcome(self) -> Outcome:
        """Return its outcome."""
        return Outcome.load(self.folder / _OUTCOME)

    def _noted(self, name: str) -> str:
        path = self.folder / name
        return path.read_text("utf-8") if path.exists() else ""


def wanted_runs(cases: Sequence[Case], cache: Path, way: Way = "default") -> list[Wanted]:
    """Return the runs of cases, each in its folder for a way to record in a cache."""
    return [Wanted(case, cache / way / case.name, way=way) for case in cases]


def record_missing(
    runs: Sequence[Wanted], jobs: int, say: Callable[[str], None]
) -> dict[str, Exception]:
    """Train the runs that are missing.

    Args:
        runs: All runs that are needed.
        jobs: How many processes train at a time, each on one core.
        say: Receives a line about every run.

    Returns:
        Errors by the name of the case; the others are recorded nevertheless.
    """
    missing = [run for run in runs if not run.is_recorded]
    # So an interrupted batch contains some of everything.
    random.Random(0).shuffle(missing)
    failed: dict[str, Exception] = {}
    start = time.perf_counter()
    with ProcessPoolExecutor(jobs, get_context("spawn"), _use_one_core) as processes:
        waiting = {
            processes.submit(_record, run.case.name, run.folder, run.settings, run.way): run
            for run in missing
        }
        for done, future in enumerate(as_completed(waiting), start=1):
            run = waiting[future]
            seconds = time.perf_counter() - start
            progress = f"[{done}/{len(missing)}, {seconds:.0f} s] {run.case.name}"
            error = future.exception()
            if isinstance(error, Exception):
                failed[run.case.name] = error
                say(f"{progress}: {type(error).__name__}: {error}")
            else:
                say(f"{progress}: loss {run.outcome().final_loss:.4g}")
    return failed


def _record(name: str, folder: Path, settings: Settings | None, way: Way) -> None:
    """Train a run in a separate process, to which the functions of a case cannot be sent."""
    Wanted(case_named(name), folder, settings, way).record()


def _use_one_core() -> None:
    torch.set_num_threads(1)
