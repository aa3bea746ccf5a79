"""Diagnosis during training: new findings in the records so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tb_adam_plugin import schema
from tb_adam_plugin.diagnosis.diagnose import Diagnosis, diagnose
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun
from tb_adam_plugin.diagnosis.rule import Finding, Severity, worst_severity
from tb_adam_plugin.diagnosis.rules.registry import RULES, STATISTICS_NEEDED

from ..write.step_rows import StepRows

# Rules look at the start of a run and at its last records. Once there are this many, half of the
# records in between are dropped.
_MOST_RECORDS = 512
_MOST_STEPS = 65_536
_KEPT_AT_START = 16
# Rules about a setting, which persists when the affected steps end.
_ONCE = frozenset(rule.id for rule in RULES if rule.once)


class LiveDiagnosis:
    """Collects records, and applies the rules at each one."""

    def __init__(self, total_steps: int | None) -> None:
        """Start empty.

        Args:
            total_steps: How many steps the run will take, if known.
        """
        self._total_steps = total_steps or 0
        self._layout: schema.Layout | None = None
        self._layouts: list[tuple[float, schema.Layout]] = []
        self._records = _Table(_MOST_RECORDS)
        self._steps = _Table(_MOST_STEPS)
        self._diagnosis: Diagnosis | None = None
        self._told: dict[str, Severity] = {}  # worst severity reported by each rule
        self._seen: dict[str, float] = {}  # last step of each rule's findings

    def add_rows(self, rows: StepRows) -> None:
        """Add the rows of some steps."""
        columns = dict(zip(rows.columns.names, rows.table.T, strict=True))
        if len(rows.table):
            if rows.table[0, 0] <= self._steps.last("step"):
                self._steps = _Table(_MOST_STEPS)  # the step count was reset
            self._steps.extend(columns)

    def add_record(
        self,
        layout: schema.Layout,
        step: int,
        wall_time: float,
        statistics: npt.NDArray[np.float32],
        names: Sequence[str],
        hyperparameters: npt.NDArray[np.float64],
    ) -> list[Finding]:
        """Add a recorded step.

        Args:
            layout: Layout of the statistics.
            step: The step number.
            wall_time: Seconds since the epoch.
            statistics: float32 ``[parameters, statistics]``.
            names: Names of the hyperparameters.
            hyperparameters: float64 ``[groups, names]``.

        Returns:
            Findings that are new, start again after they had ended, or have become more severe.
        """
        if layout is not self._layout:
            known = None if self._layout is None else self._layout.parameters
            if known != layout.parameters:
                self._records = _Table(_MOST_RECORDS)
                self._diagnosis = None
            self._layout = layout
            self._layouts.append((float(step), layout))
            del self._layouts[: -schema.MOST_LAYOUTS]
        if step <= self._records.last("step"):
            self._records = _Table(_MOST_RECORDS)
            self._seen.clear()
        self._records.extend(
            {
                "step": np.array([float(step)]),
                "wall_time": np.array([wall_time]),
                **{
                    f"statistic {name}": column[None]
                    for name, column in zip(layout.statistics, statistics.T, strict=True)
                    if name in STATISTICS_NEEDED
                },
                **{
                    f"hyperparameter {name}": column[None]
                    for name, column in zip(names, hyperparameters.T, strict=True)
                },
            }
        )
        self._diagnosis = diagnose(self._run(layout), self._diagnosis, with_compass=False)
        findings = self._diagnosis.findings
        new = [finding for finding in findings if self._is_new(finding)]
        for finding in findings:
            self._seen[finding.rule] = max(self._seen.get(finding.rule, 0), finding.last_step)
        return new

    def _is_new(self, finding: Finding) -> bool:
        told = self._told.get(finding.rule)
        worst = worst_severity(finding.severity, told or finding.severity)
        seen = self._seen.get(finding.rule, -np.inf)
        goes_on = finding.first_step <= seen or (finding.rule in _ONCE and seen > -np.inf)
        if worst == told and goes_on:
            return False
        self._told[finding.rule] = worst
        return True

    def _run(self, layout: schema.Layout) -> RecordedRun:
        records = self._records.columns()
        return RecordedRun(
            "",
            layout.parameters,
            layout.groups,
            records["step"],
            records["wall_time"],
            _named(records, "statistic "),
            _named(records, "hyperparameter "),
            self._steps.columns(),
            layout.unoptimized,
            layouts=tuple(self._layouts),
            total_steps=self._total_steps,
        )


def _named(columns: dict[str, npt.NDArray[Any]], kind: str) -> dict[str, npt.NDArray[Any]]:
    return {
        name.removeprefix(kind): values for name, values in columns.items() if name.startswith(kind)
    }


class _Table:
    """Columns that grow together; new or missing columns are filled with NaN."""

    def __init__(self, most_rows: int) -> None:
        self._most_rows = most_rows
        self._rows = 0
        self._columns: dict[str, npt.NDArray[Any]] = {}

    def extend(self, columns: dict[str, npt.NDArray[Any]]) -> None:
        """Add rows; all columns have the same number."""
        count = len(next(iter(columns.values())))
        if self._rows + count > self._most_rows:
            self._let_go(count)
        for name, values in columns.items():
            known = self._columns.get(name)
            if known is None or known.shape[1:] != values.shape[1:]:
                shape = (max(16, count), *values.shape[1:])
                self._columns[name] = np.full(shape, np.nan, values.dtype)
        end = self._rows + count
        for name, known in self._columns.items():
            if len(known) < end:
                larger = np.full((2 * end, *known.shape[1:]), np.nan, known.dtype)
                larger[: len(known)] = known
                self._columns[name] = known = larger
            known[self._rows : end] = columns.get(name, np.nan)
        self._rows = end

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The columns, cut to the rows in use."""
        return {name: values[: self._rows] for name, values in self._columns.items()}

    def last(self, name: str) -> float:
        """The last value of a column; -infinity if it is empty."""
        return float(self._columns[name][self._rows - 1]) if self._rows else -np.inf

    def _let_go(self, count: int) -> None:
        gone = max(count, (self._most_rows - _KEPT_AT_START) // 2)
        start, end = _KEPT_AT_START, min(self._rows, _KEPT_AT_START + gone)
        self._columns = {
            name: np.concatenate([values[:start], values[end : self._rows]])
            for name, values in self._columns.items()
        }
        self._rows = min(self._rows, start) + max(0, self._rows - end)
