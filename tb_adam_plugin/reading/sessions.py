"""What a restart has left of the records before it.

A training that is started again in the folder of an earlier one goes on from some step: from a
checkpoint's, or from the first one, with the same model or with another. From that step on nothing
of the earlier one counts any more, however far it had got and whatever it recorded there.

Within a series the order in which its records were stored tells (:func:`.records.standing`). Series
of different tags, such as those of two layouts, or histograms and statistics, have no common order.
For these the rows of every step, which all trainings in a folder write, say when a step was written
last; what is older than that is of a training that has ended.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tb_adam_plugin.arrays import Flags, Float64s
from tb_adam_plugin.reading.records import Series


class Standing:
    """The steps of one part of a run, as the last training that wrote each of them left it."""

    def __init__(self, rows: Sequence[Series], ended: float = -math.inf) -> None:
        """Look at the rows of every step.

        Args:
            rows: The series of the steps tags of the part.
            ended: What was written until then, seconds since the epoch, does not count.
        """
        self._ended = ended
        if len(rows) > 1:
            later = _LaterRows(rows)
            self.rows = [s.only(self._is_after_end(s) & later.keep(s)) for s in rows]
        else:
            self.rows = [s.only(self._is_after_end(s)) for s in rows]
        if len(self.rows) == 1:
            self._step, self._written = self.rows[0].step, self.rows[0].written
            return
        step = np.concatenate([np.empty(0), *(series.step for series in self.rows)])
        written = np.concatenate([np.empty(0), *(series.written for series in self.rows)])
        order = np.lexsort((written, step))
        self._step, self._written = step[order], written[order]

    @property
    def nbytes(self) -> int:
        """Memory it takes, small change left out."""
        own = self._step.nbytes + self._written.nbytes
        return own + sum(series.nbytes for series in self.rows)

    def of(self, series: Series) -> Series:
        """Leave out the records that a later training has ended."""
        # Comparisons with a time that is not known are false: such a record is kept.
        over = series.written <= self._ended
        if self._step.size:
            # A training writes a step's row in the event of its record, or in a later one that
            # begins after that step. So the last row up to a step is as old as its record.
            before = np.searchsorted(self._step, series.step, "right") - 1
            over |= (before >= 0) & (self._written[before] > series.written)
        return series.only(~over)

    def _is_after_end(self, series: Series) -> Flags:
        return ~(series.written <= self._ended)


class _LaterRows:
    """What rows that were written later leave of others, of thousands of series in one pass."""

    def __init__(self, rows: Sequence[Series]) -> None:
        """Put all series in the order in which they were written."""
        step = np.concatenate([series.step for series in rows])
        written = np.concatenate([series.written for series in rows])
        owner = np.repeat(np.array([id(s) for s in rows]), [s.step.size for s in rows])
        known = np.flatnonzero(np.isfinite(written))
        order = known[np.argsort(written[known], kind="stable")]
        self._step, self._written, self._owner = step[order], written[order], owner[order]
        self._lowest_from = _lowest_from(self._step)

    def keep(self, series: Series) -> Flags:
        """Return which rows of a series no row of another one has ended, bool ``[steps]``."""
        written, lowest_from = self._written, self._lowest_from
        known = np.isfinite(series.written)
        # Where a series ascends in time, as it does in step, its own rows end none of it.
        if (np.diff(series.written[known]) < 0).any() or (np.diff(series.step[known]) < 0).any():
            others = self._owner != id(series)
            written, lowest_from = written[others], _lowest_from(self._step[others])
        later = np.searchsorted(written, series.written, "right")
        flags: Flags = lowest_from[later] > series.step
        return flags


def _lowest_from(step: Float64s) -> Float64s:
    """Return the lowest step from each row on, and infinity after the last one."""
    return np.append(np.minimum.accumulate(step[::-1])[::-1], np.inf)
