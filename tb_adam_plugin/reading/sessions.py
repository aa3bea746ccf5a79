"""What a restart leaves of the records before it.

A training restarted in the folder of an earlier one continues from some step: from a checkpoint's,
or from the first one, with the same model or a different one. From that step on, nothing of the
earlier training counts any more, however far it got and whatever it recorded there.

Within a series, the storage order of records decides (:func:`.records.standing`). Series of
different tags, such as those of two layouts, or histograms and statistics, have no common order.
For these, the rows of every step, which all trainings in a folder write, tell when a step was last
written; older data belong to a training that has ended.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tb_adam_plugin.arrays import Flags, Float64s
from tb_adam_plugin.reading.records import Series


class Standing:
    """The steps of one part of a run, each as the last training left it."""

    def __init__(self, rows: Sequence[Series], ended: float = -math.inf) -> None:
        """Look at the rows of every step.

        Args:
            rows: The series of the part's steps tags.
            ended: Data written up to this time, seconds since the epoch, do not count.
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
        """Memory size, without small parts."""
        own = self._step.nbytes + self._written.nbytes
        return own + sum(series.nbytes for series in self.rows)

    def of(self, series: Series) -> Series:
        """Leave out the records that a later training has superseded."""
        # Comparisons with an unknown time are false: such a record is kept.
        over = series.written <= self._ended
        if self._step.size:
            # A training writes a step's row in the event of its record, or in a later one that
            # starts after that step. So the last row up to a step is as old as its record.
            before = np.searchsorted(self._step, series.step, "right") - 1
            over |= (before >= 0) & (self._written[before] > series.written)
        return series.only(~over)

    def _is_after_end(self, series: Series) -> Flags:
        return ~(series.written <= self._ended)


class _LaterRows:
    """What later rows leave of earlier ones, for thousands of series in one pass."""

    def __init__(self, rows: Sequence[Series]) -> None:
        """Sort all series by the time at which they were written."""
        step = np.concatenate([series.step for series in rows])
        written = np.concatenate([series.written for series in rows])
        owner = np.repeat(np.array([id(s) for s in rows]), [s.step.size for s in rows])
        known = np.flatnonzero(np.isfinite(written))
        order = known[np.argsort(written[known], kind="stable")]
        self._step, self._written, self._owner = step[order], written[order], owner[order]
        self._lowest_from = _lowest_from(self._step)

    def keep(self, series: Series) -> Flags:
        """Return which rows of a series no other series supersedes, bool ``[steps]``."""
        written, lowest_from = self._written, self._lowest_from
        known = np.isfinite(series.written)
        # If a series ascends in time, as it does in step, its own rows supersede none of it.
        if (np.diff(series.written[known]) < 0).any() or (np.diff(series.step[known]) < 0).any():
            others = self._owner != id(series)
            written, lowest_from = written[others], _lowest_from(self._step[others])
        later = np.searchsorted(written, series.written, "right")
        flags: Flags = lowest_from[later] > series.step
        return flags


def _lowest_from(step: Float64s) -> Float64s:
    """Return the lowest step from each row on, and infinity after the last one."""
    return np.append(np.minimum.accumulate(step[::-1])[::-1], np.inf)
