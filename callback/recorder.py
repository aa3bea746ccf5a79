"""Rows and records on their way to the event file. Lives until the file is closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tb_adam_plugin import schema

from .event_log import EventLog
from .step_scalars import StepScalars


class Recorder:
    """The callback's output. It does not know the callback, so that it can outlive it."""

    def __init__(self, log: EventLog) -> None:
        """Write to ``log``."""
        self.log = log
        self.rows = StepScalars()
        self._last_row: tuple[int, float] | None = None
        self._failed_writes = 0

    def end_step(self, step: int, wall_time: float, **columns: object) -> None:
        """Add the row of a step; see :meth:`.step_scalars.StepScalars.add_row`."""
        self._last_row = (step, wall_time)
        self.rows.add_row(
            step=step,
            wall_time=wall_time,
            dropped_records=self.log.dropped_records + self._failed_writes,
            **columns,  # type: ignore[arg-type]
        )

    def write(
        self, tensors: Sequence[schema.TaggedTensor] = (), scalars: Mapping[str, float] = {}
    ) -> int:
        """Write the rows that wait and, with them, a record of the last one's step.

        Returns:
            How many of the rows turned out to be of skipped steps, which are not written.

        Raises:
            OSError: If the log cannot be written. What was to be written is counted as dropped.
        """
        if self._last_row is None:
            return 0
        step, wall_time = self._last_row
        self._last_row = None
        columns, rows, skipped = self.rows.take()
        if len(rows):
            try:
                self.log.write(
                    step - skipped,
                    wall_time,
                    [schema.steps_tensor(columns, rows), *tensors],
                    scalars,
                )
            except OSError:
                self._failed_writes += 1
                raise
        return skipped

    def close(self) -> None:
        """Write what waits and close the log. Calling it again does nothing."""
        try:
            self.write()
        finally:
            self.log.close()
