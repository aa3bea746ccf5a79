"""Runs whose statistics are read record by record, and which say what was read of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace

import numpy as np

from tb_adam_plugin.arrays import Float32s
from tb_adam_plugin.diagnosis.diagnose import Diagnosis
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun
from tb_adam_plugin.diagnosis.engine.statistic import StatisticsByRecord


class CountedRecords(StatisticsByRecord):
    """Statistics in memory.

    Attributes:
        read: Which records of which statistic were asked for: name, first, and the one after last.
    """

    def __init__(self, run: RecordedRun, at_once: int) -> None:
        """Take them from a run."""
        self.read: list[tuple[str, int, int]] = []
        self._values = run.statistics
        self._at_once = at_once

    def __len__(self) -> int:
        """How many there are."""
        return len(self._values)

    def __iter__(self) -> Iterator[str]:
        """Go through their names."""
        return iter(self._values)

    def __contains__(self, name: object) -> bool:
        """Whether there is one of a name."""
        return name in self._values

    def __getitem__(self, name: str) -> Float32s:
        """Refuse to read a statistic as a whole."""
        raise AssertionError(f"{name} was read as a whole")

    @property
    def at_once(self) -> int:
        """How many neighbouring records are read together."""
        return self._at_once

    def records(self, name: str, start: int, stop: int) -> Float32s:
        """Return some records, which may not be changed."""
        values = self._values[name]
        assert 0 <= start <= stop <= len(values)
        self.read.append((name, start, stop))
        found: Float32s = values[start:stop].view()
        found.flags.writeable = False
        return found

    def release(self) -> None:
        """Keep what was counted."""


def by_record(run: RecordedRun, at_once: int) -> tuple[RecordedRun, CountedRecords]:
    """Return a run whose statistics are read record by record."""
    statistics = CountedRecords(run, at_once)
    return replace(run, statistics=statistics), statistics


def check_same(found: Diagnosis, expected: Diagnosis) -> None:
    """Check that two diagnoses say the same, to the last digit."""
    assert found.findings == expected.findings
    assert found.not_evaluated == expected.not_evaluated
    assert found.recording == expected.recording
    assert (found.compass is None) == (expected.compass is None)
    if found.compass is not None and expected.compass is not None:
        np.testing.assert_equal(asdict(found.compass), asdict(expected.compass))
