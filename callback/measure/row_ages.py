"""For how many records each row of a parameter has had no gradient: one byte per row.

The share of rows without a gradient does not say whether they are the same rows each time. Dead
units are; rare words of an embedding take turns. So the age of each row is kept, in records of its
parameter, and rows older than a window count as idle.

The catalogue of statistics gives the window's length, and the reason for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tb_adam_plugin.arrays import Flags, Float64s
from tb_adam_plugin.schema.catalogue import IDLE_RECORDS, IDLE_STEPS

LEAST_STEPS = IDLE_STEPS
LEAST_RECORDS = IDLE_RECORDS
# Largest value of a byte; no window is that long.
_OLDEST = 255
# For rows at least this long, a byte is less than 1 % of the row. Of the shorter ones in large
# parameters, only this many are followed.
_LONG_ROW_BYTES = 128
_MOST_SHORT_ROWS = 1 << 22
# Rows that are counted at once, to bound the temporaries.
_COUNTED_AT_ONCE = 1 << 18


class RowAges:
    """The row ages of ``K`` parameters: begin a record, note rows, then count.

    Attributes:
        rows: Number of rows followed of each parameter, int64 ``[K]``; 0 if none are.
        first: Index of each parameter's first row, int64 ``[K]``.
        ages: Ages in records of the parameter, uint8 ``[rows]``; 0 for a row that has a gradient
            now.
        idle_from: The age from which a row is idle at this record.
    """

    def __init__(self, rows: npt.NDArray[np.int64]) -> None:
        """Start with no record.

        Args:
            rows: See the class.
        """
        self.rows = rows
        self.first = np.cumsum(rows) - rows
        self.ages: npt.NDArray[np.uint8] = np.zeros(int(rows.sum()), np.uint8)
        self.idle_from = LEAST_RECORDS
        self._records = np.zeros(len(rows), np.int64)  # of each parameter, with a gradient
        self._steps: deque[int] = deque()  # of the records in the window
        self._first_step: int | None = None
        self._is_known = np.zeros(len(rows), bool)
        self._is_begun = False

    @staticmethod
    def of(parameters: Sequence[Tensor], sampled: Sequence[int]) -> RowAges:
        """Follow the rows of parameters with two or more dimensions.

        Args:
            parameters: Real-valued parameters.
            sampled: Indices of those that are not read whole. If these have too many short rows,
                some are left out.
        """
        rows = np.array([len(p) if p.dim() > 1 and p.numel() else 0 for p in parameters], np.int64)
        short = 0
        for i in sampled:
            if rows[i] and parameters[i].nbytes // rows[i] < _LONG_ROW_BYTES:
                short += int(rows[i])
                if short > _MOST_SHORT_ROWS:
                    short -= int(rows[i])
                    rows[i] = 0
        return RowAges(rows)

    def take_over(self, before: RowAges) -> None:
        """Continue with the ages of the same parameters, if the same rows of them are followed."""
        if not np.array_equal(self.rows, before.rows):
            return
        self.ages[:] = before.ages
        self.idle_from = before.idle_from
        self._records[:] = before._records
        self._steps.extend(before._steps)
        self._first_step = before._first_step
        self._is_begun = before._is_begun

    def clear(self) -> None:
        """Forget all records."""
        self.ages[:] = 0
        self._records[:] = 0
        self._steps.clear()
        self._first_step = None

    def begin(self, step: int, has_gradient: Flags) -> None:
        """Begin a record; the rows of parameters without a gradient stay as they are.

        Args:
            step: The step number.
            has_gradient: ``[K]``.
        """
        if self._is_begun or (self._steps and step < self._steps[-1]):
            self.clear()  # the last record failed, or the step count was reset
        self._is_begun = True
        if self._first_step is None:
            self._first_step = step
        self._steps.append(step)
        while self._steps[0] <= step - LEAST_STEPS:
            self._steps.popleft()
        self._records += has_gradient
        self.idle_from = min(max(LEAST_RECORDS, len(self._steps)), _OLDEST)
        reaches_back = self._first_step <= step - LEAST_STEPS + 1
        self._is_known = (self._records >= self.idle_from) & reaches_back & has_gradient

    def grow(self, has_gradient: Flags) -> None:
        """Age all rows of the parameters with a gradient, ``[K]``, by this record."""
        edges = np.flatnonzero(np.diff(has_gradient.astype(np.int8), prepend=0, append=0))
        ends = np.append(self.first, len(self.ages))[edges]
        for start, end in zip(ends[::2].tolist(), ends[1::2].tolist(), strict=True):
            _add_one(self.ages[start:end])

    def mark(self, parameter: int, first: int, has_gradient: Flags) -> None:
        """Note which of some consecutive rows have a gradient, after :meth:`grow`.

        Args:
            parameter: Its index.
            first: Index of the first of the rows.
            has_gradient: ``[rows]``.
        """
        if self.rows[parameter]:
            start = int(self.first[parameter]) + first
            self.ages[start : start + len(has_gradient)] *= ~has_gradient

    def note(self, parameter: int, has_gradient: Flags) -> int:
        """Do :meth:`grow` and :meth:`mark` for one parameter; return its number of idle rows.

        Args:
            parameter: Its index.
            has_gradient: ``[rows]``.
        """
        count = int(self.rows[parameter])
        ages = self.ages[self.first[parameter] : self.first[parameter] + count]
        _add_one(ages)
        if count:
            ages *= ~has_gradient
        return int(np.count_nonzero(ages >= self.idle_from))

    def alive(self) -> npt.NDArray[np.int64]:
        """Count the rows of each parameter that have a gradient at this record, ``[K]``."""
        return self._counts(lambda ages: ages == 0)

    def idle(self) -> npt.NDArray[np.int64]:
        """Count the rows of each parameter that are older than the window, ``[K]``."""
        return self._counts(lambda ages: ages >= self.idle_from)

    def idle_fractions(self, idle: npt.NDArray[np.generic]) -> Float64s:
        """Complete a record; return the share of idle rows, ``[K]``.

        Args:
            idle: Number of idle rows, ``[K]``.

        Returns:
            NaN for a parameter whose rows are not followed, for one without a gradient now, and
            until its records fill the window.
        """
        self._is_begun = False
        known = self._is_known & (self.rows > 0)
        return np.where(known, idle / np.maximum(self.rows, 1), np.nan)

    def _counts(self, holds: Callable[[npt.NDArray[np.uint8]], Flags]) -> npt.NDArray[np.int64]:
        counts = np.zeros(len(self.rows), np.int64)
        here = np.flatnonzero(self.rows)
        if len(self.ages) <= _COUNTED_AT_ONCE:
            if len(here):
                counts[here] = np.add.reduceat(holds(self.ages), self.first[here], dtype=np.int64)
            return counts
        for i in here.tolist():
            ages = self.ages[self.first[i] : self.first[i] + self.rows[i]]
            counts[i] = sum(
                np.count_nonzero(holds(ages[at : at + _COUNTED_AT_ONCE]))
                for at in range(0, len(ages), _COUNTED_AT_ONCE)
            )
        return counts


def _add_one(ages: npt.NDArray[np.uint8]) -> None:
    """Age some rows by one record, in place."""
    np.minimum(ages, _OLDEST - 1, out=ages)
    ages += 1
