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

from tb_adam_plugin.arrays import Flags
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
        self.rows = [series.only(self._of_rows(series, rows)) for series in rows]
        if len(self.rows) == 1:
            self._step, self._written = self.rows[0].step, self.rows[0].written
            return
        step = np.concatenate([np.empty(0), *(series.step for series in self.rows)])
        written = np.concatenate([np.empty(0), *(series.written for series in self.rows)])
        order = np.lexsort((written, step))
        self._step, self._written = step[order], written[order]

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

    def _of_rows(self, series: Series, all_rows: Sequence[Series]) -> Flags:
        kept = ~(series.written <= self._ended)
        for other in all_rows:
            known = np.isfinite(other.written)
            if other is not series and known.any():
                step, written = other.step[known], other.written[known]
                order = np.argsort(written, kind="stable")
                lowest_from = np.minimum.accumulate(step[order][::-1])[::-1]
                later = np.searchsorted(written[order], series.written, "right")
                kept &= np.append(lowest_from, np.inf)[later] > series.step
        return kept
