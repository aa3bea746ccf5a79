"""How close the learning-rate compass comes to the true distance from a task's learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from faults.runs.controls import CONTROLS, Control
from faults.runs.fault import Fault
from faults.runs.settings import usual_settings
from faults.verdict.confusion import Share
from faults.verdict.diagnosed_runs import DiagnosedRun

# A reading is near if it is off by at most this factor, half a decade.
NEAR = math.sqrt(10)

_KIN = dict.fromkeys(("adam", "adamw", "amsgrad", "nadam"), "Adam, AdamW, AMSGrad, NAdam")
# Only the optimizer and its learning rate differ from the usual.
_PLAIN_CONTROLS = {
    c.variant for c in CONTROLS if c.variant.startswith(("adamw once", "adamw a", "adamw lr"))
} | {"adamw", "amsgrad", "nadam", "radam", "sgd", "lion", "adamax"}


@dataclass(frozen=True)
class CompassRow:
    """The compass' readings at the end of runs at one distance.

    Attributes:
        optimizer: Name of the optimizer, or of a group of similar ones.
        factor: Learning rate of the run over the usual one of the task.
        runs: Number of runs.
        cosine: Its quantiles 0.1, 0.5 and 0.9; NaN if there is none.
        told: Number of runs with a reading.
        near: Number of those that are off by at most :data:`NEAR`.
    """

    optimizer: str
    factor: float
    runs: int
    cosine: tuple[float, float, float]
    told: Share
    near: Share


@dataclass(frozen=True)
class NeedleCount:
    """The needle of the compass at the end of healthy runs.

    Attributes:
        near: Runs in which it is off by at most :data:`NEAR`.
        silent: Runs without a reading.
        too_low: Runs in which it reads lower than the truth, by more than that.
        too_high: Runs in which it reads higher, by more than that.
    """

    near: int
    silent: int
    too_low: int
    too_high: int

    @property
    def near_or_silent(self) -> Share:
        """Runs in which it is not wrong."""
        right = self.near + self.silent
        return Share(right, right + self.too_low + self.too_high)


def count_needles(runs: Iterable[DiagnosedRun]) -> NeedleCount:
    """Count healthy runs, whatever their schedule: all have a suitable learning rate."""
    offs = [off_by(run) for run in runs]
    return NeedleCount(
        sum(1 / NEAR <= off <= NEAR for off in offs),
        sum(math.isnan(off) for off in offs),
        sum(off < 1 / NEAR for off in offs),
        sum(off > NEAR for off in offs),
    )


def off_by(run: DiagnosedRun) -> float:
    """Return the reading in a healthy run over the truth; NaN without a reading.

    The truth is the learning rate over the usual one. It differs from 1 only where that is
    intended: for a small batch, a lower one is suitable.
    """
    if run.reading is None or not run.reading.factor > 0:
        return math.nan
    planted = run.case.planted
    halved = isinstance(planted, Control) and planted.variant == "adamw lr /2"
    return run.reading.factor / (0.5 if halved else 1.0)


def compass_rows(runs: Iterable[DiagnosedRun]) -> list[CompassRow]:
    """Count the runs with a constant learning rate that differ from the usual only in it.

    Optimizers without a first moment, which allow no reading, are left out.
    """
    members: dict[tuple[str, float], list[DiagnosedRun]] = {}
    for run in runs:
        settings = run.case.settings
        if (
            run.reading is not None
            and settings.schedule == "constant"
            and _differs_in_learning_rate_alone(run)
        ):
            usual = usual_settings(run.case.task, settings.optimizer).learning_rate
            factor = float(f"{settings.learning_rate / usual:.2g}")
            optimizer = _KIN.get(settings.optimizer, settings.optimizer)
            members.setdefault((optimizer, factor), []).append(run)
    return [_row(*key, members[key]) for key in sorted(members)]


def _differs_in_learning_rate_alone(run: DiagnosedRun) -> bool:
    planted = run.case.planted
    if isinstance(planted, Fault):
        # "learning rate too high", "learning rate 3 times too low"
        return planted.kind.startswith("learning rate") and planted.kind.endswith(
            ("too high", "too low")
        )
    return planted.variant in _PLAIN_CONTROLS


def _row(optimizer: str, factor: float, runs: list[DiagnosedRun]) -> CompassRow:
    cosines = np.array([run.reading.cosine for run in runs if run.reading is not None])
    cosines = cosines[np.isfinite(cosines)]
    low, middle, high = (
        (float(q) for q in np.quantile(cosines, (0.1, 0.5, 0.9)))
        if cosines.size
        else [math.nan] * 3
    )
    told = [r.reading.factor for r in runs if r.reading is not None and r.reading.factor > 0]
    near = sum(max(found / factor, factor / found) <= NEAR for found in told)
    return CompassRow(
        optimizer, factor, len(runs), (low, middle, high), Share(len(told), len(runs)),
        Share(near, len(told)),
    )  # fmt: skip
