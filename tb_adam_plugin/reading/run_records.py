"""The records of a run, its layouts joined, of which only those are read that are asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tb_adam_plugin.arrays import Float32s
from tb_adam_plugin.reading.joined_layouts import JoinedLayout
from tb_adam_plugin.reading.merged_steps import merge_steps, rows_of
from tb_adam_plugin.reading.records import Series


class RunRecords:
    """Records as they were when this was made: what is written later is not among them.

    Attributes:
        step: Of the records, float64 ``[records]``, ascending.
        wall_time: Seconds since the epoch, float64 ``[records]``.
    """

    def __init__(self, layout: JoinedLayout, logs: Sequence[Series], homes: Sequence[str]) -> None:
        """Put the layouts of a run onto one axis; no statistic is read yet.

        Args:
            layout: Of the run.
            logs: The records of each of its layouts, with ``rows``.
            homes: Which part of the run each of them is in.
        """
        self._layout = layout
        self._logs = logs
        self.step, self.wall_time, self._placements = merge_steps(logs, homes)
        names = [parameter.name for parameter in layout.parameters]
        self._columns = [
            rows_of([p.name for p in part.parameters], names) for part in layout.layouts.values()
        ]

    def read(self, names: Sequence[str], start: int, stop: int) -> Float32s:
        """Read some statistics of neighbouring records.

        Args:
            names: Of the statistics.
            start: The first record.
            stop: The one after the last.

        Returns:
            float32 ``[names, records, parameters]``; NaN where it was not recorded.

        Raises:
            UnreadableError: If they cannot be read.
        """
        if len(self._logs) == 1:
            every = self._logs[0].rows
            assert every is not None
            return every.take(names, np.arange(start, stop))
        shape = len(names), stop - start, len(self._layout.parameters)
        values = np.full(shape, np.nan, np.float32)
        parts = zip(
            self._layout.layouts.values(), self._logs, self._placements, self._columns, strict=True
        )
        for part, series, (rows, positions), columns in parts:
            here = np.flatnonzero((positions >= start) & (positions < stop))
            has = [name in part.statistics for name in names]
            had = np.flatnonzero(np.array(has, bool))
            if not here.size or not had.size:
                continue
            here = here[np.argsort(rows[here])]
            assert series.rows is not None
            read = series.rows.take([names[i] for i in had.tolist()], rows[here])
            values[np.ix_(had, positions[here] - start, columns)] = read
        return values
