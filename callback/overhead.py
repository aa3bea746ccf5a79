"""Keeps what recording costs below a share of the training time, by recording less often."""

from __future__ import annotations

import math

from .gradient_history import DETAILED_STEPS

_WEIGHT_OF_NEWEST = 0.3


class OverheadBudget:
    """Learns what a record costs and how long a step takes."""

    def __init__(self, max_overhead: float | None) -> None:
        """Start without measurements.

        Args:
            max_overhead: Largest share of the training time that records may take; None for any.
        """
        self._max_overhead = max_overhead
        self._record_seconds: float | None = None
        self._step_seconds: float | None = None
        # Records, not seconds: of several processes all decide alike.
        self._owed_records = 0
        self._extra_until = 0

    def allows_extra(self, step: int) -> bool:
        """Whether a step may be recorded that the interval does not ask for.

        That is so for a closer look, and then not until the longer intervals that follow it have
        made up for its records.

        Args:
            step: Its number.
        """
        return self._max_overhead is None or not self._owed_records or step <= self._extra_until

    def add_step(self, seconds: float) -> None:
        """Count a step of training, without what the callback did in it."""
        self._step_seconds = _mean(self._step_seconds, seconds)

    def add_record(self, seconds: float) -> None:
        """Count a record that the interval asked for."""
        self._record_seconds = _mean(self._record_seconds, seconds)
        self._owed_records = max(0, self._owed_records - 1)

    def add_extra_record(self, step: int, seconds: float) -> None:
        """Count a record that the interval did not ask for.

        Args:
            step: That was recorded.
            seconds: What it took.
        """
        if not self._owed_records:
            self._extra_until = step + DETAILED_STEPS - 1
        self._record_seconds = _mean(self._record_seconds, seconds)
        self._owed_records += 1

    def stretch(self, wanted: int) -> int:
        """Return how many times longer than wanted the interval between records is to be.

        Args:
            wanted: The interval that the user or the default asks for, in steps.
        """
        if self._max_overhead is None or not self._record_seconds or not self._step_seconds:
            return 1
        needed = self._record_seconds / (self._max_overhead * self._step_seconds)
        if self._owed_records:
            needed *= 2  # each interval makes up for one of them
        return max(1, math.ceil(needed / wanted))


def _mean(mean: float | None, newest: float) -> float:
    return newest if mean is None else mean + _WEIGHT_OF_NEWEST * (newest - mean)
