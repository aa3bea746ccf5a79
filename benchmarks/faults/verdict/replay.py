"""Follows the advice: trains a run again with the value that a finding gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from faults.runs.settings import Settings
from faults.runs.ways_to_record import Way
from faults.verdict.diagnosed_runs import DiagnosedRun, best_losses, progress_of
from faults.verdict.recordings import Wanted, record_missing, wanted_runs
from tb_adam_plugin.diagnosis.rule import Finding

Verdict = Literal["improved", "same", "worse"]

# A smaller difference in progress does not count.
SAME = 0.02

_FIELDS = {
    "lr": "learning_rate", "beta1": "beta1", "beta2": "beta2", "eps": "epsilon",
    "weight_decay": "weight_decay",
}  # fmt: skip
# As in the sentences: "Try lr 1e-3 instead of 0.1", "Try beta2 0.95", "Try eps 1e-10".
_ADVICE = re.compile(r"\b[Tt]ry (lr|beta1|beta2|eps|weight_decay) (\d+(?:\.\d+)?(?:e[+-]?\d+)?)")


@dataclass(frozen=True)
class Replay:
    """A run that was trained again with one value changed.

    Attributes:
        run: The run that got the advice.
        finding: The finding that gave it.
        field: A field of :class:`Settings`.
        value: The advised value.
        progress: Progress of the new run.
    """

    run: DiagnosedRun
    finding: Finding
    field: str
    value: float
    progress: float

    @property
    def verdict(self) -> Verdict:
        """The effect of the advice."""
        return verdict(self.run.progress, self.progress)


def verdict(before: float, after: float) -> Verdict:
    """Compare the progress of two runs."""
    if after > before + SAME:
        return "improved"
    return "worse" if after < before - SAME else "same"


def advised_change(advice: str) -> tuple[str, float] | None:
    """Return the field of :class:`Settings` and the value that a sentence advises, or None."""
    found = _ADVICE.search(advice)
    return None if found is None else (_FIELDS[found[1]], float(found[2]))


def first_advice(run: DiagnosedRun) -> tuple[Finding, str, float] | None:
    """Return the first finding with a concrete value, and the value; None if there is none."""
    for finding in run.findings:
        change = advised_change(finding.advice)
        if change is not None and finding.consequence_of is None:
            return finding, *change
    return None


def replay_advice(
    runs: Sequence[DiagnosedRun], cache: Path, way: Way, jobs: int, say: Callable[[str], None]
) -> list[Replay]:
    """Train every run that got a concrete value again, with that value and all else the same.

    Args:
        runs: Runs with their findings. The first such advice of each is followed, healthy or not.
        cache: Folder of the recordings.
        way: The way in which they were recorded, and are again.
        jobs: Number of processes.
        say: Receives a line about every run.
    """
    followed = [(run, *advice) for run in runs if (advice := first_advice(run)) is not None]
    wanted = [_wanted(run, field, value, cache, way) for run, _, field, value in followed]
    failed = record_missing(wanted, jobs, say)
    best = best_losses(wanted_runs([run.case for run in runs], cache, way))
    return [
        Replay(run, finding, field, value, progress_of(w.outcome(), best[run.case.task.name]))
        for (run, finding, field, value), w in zip(followed, wanted, strict=True)
        if w.case.name not in failed
    ]


def _wanted(run: DiagnosedRun, field: str, value: float, cache: Path, way: Way) -> Wanted:
    change: dict[str, Any] = {field: value}
    settings: Settings = replace(run.case.settings, **change)
    folder = cache / way / "replays" / f"{run.case.name}-{field}-{value:g}"
    return Wanted(run.case, folder, settings, way)
