"""Keeps what recording costs below a share of the training time, by recording less often."""

from __future__ import annotations

import math

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

    def add_step(self, seconds: float) -> None:
        """Count a step of training, without what the callback did in it."""
        self._step_seconds = _mean(self._step_seconds, seconds)

    def add_record(self, seconds: float) -> None:
        """Count a record."""
        self._record_seconds = _mean(self._record_seconds, seconds)

    def stretch(self, wanted: int) -> int:
        """Return how many times longer than wanted the interval between records is to be.

        Args:
            wanted: The interval that the user or the default asks for, in steps.
        """
        if self._max_overhead is None or not self._record_seconds or not self._step_seconds:
            return 1
        needed = self._record_seconds / (self._max_overhead * self._step_seconds)
        return max(1, math.ceil(needed / wanted))


def _mean(mean: float | None, newest: float) -> float:
    return newest if mean is None else mean + _WEIGHT_OF_NEWEST * (newest - mean)
