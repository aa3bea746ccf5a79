"""Rows and records on their way to the event file. Lives until the file is closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tb_adam_plugin import schema

from .event_log import EventLog
from .run_claims import RunClaim
from .step_event import Histograms
from .step_rows import StepRows, StepScalars
from .writer_thread import EarlierWriteError


class NoLog:
    """The log of a process for which another one writes, or that has not started writing."""

    dropped_records = 0
    seconds_on_thread = 0.0

    def __init__(self, location: str = "(another process writes)") -> None:
        """Set who writes, or where."""
        self.location = location

    def write(self, *_: object) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Recorder:
    """The callback's output. It does not refer to the callback, so it can outlive it."""

    def __init__(self, log: EventLog | NoLog, claim: RunClaim | None = None) -> None:
        """Write to ``log``, and release its folder on close."""
        self.log = log
        self._claim = claim
        self.rows = StepScalars()
        self._failed_writes = 0

    @property
    def replaces_records(self) -> bool:
        """Whether an earlier training left records in this folder."""
        return self._claim is not None and self._claim.holds_records

    @property
    def seconds_on_thread(self) -> float:
        """Processor time that another thread has spent on what was written."""
        return self.log.seconds_on_thread

    def end_step(self, step: int, wall_time: float, **columns: object) -> None:
        """Add the row of a step; see :meth:`.step_rows.StepScalars.add_row`."""
        self.rows.add_row(
            step=step,
            wall_time=wall_time,
            dropped_records=self.log.dropped_records + self._failed_writes,
            **columns,  # type: ignore[arg-type]
        )

    def write(
        self,
        rows: StepRows,
        tensors: Sequence[schema.TaggedTensor] = (),
        scalars: Mapping[str, float] = {},
        histograms: Histograms | None = None,
    ) -> None:
        """Write rows and, with them, a record of the last row's step.

        Args:
            rows: From :attr:`rows`; if empty, nothing is written.
            tensors: Tensors of the record.
            scalars: Ordinary scalars by tag.
            histograms: Histograms of the record.

        Raises:
            OSError: If the log cannot be written. The record is counted as dropped, unless the
                error is about an earlier one.
        """
        if not len(rows.table):
            return
        last = dict(zip(rows.columns.names, rows.table[-1].tolist(), strict=True))
        steps = schema.steps_tensor(rows.columns, rows.table)
        try:
            self.log.write(
                int(last["step"]), last["wall_time"], [steps, *tensors], scalars, histograms
            )
        except OSError as error:
            self._failed_writes += not isinstance(error, EarlierWriteError)
            raise
        if self._claim is not None:
            self._claim.is_used = True

    def close(self) -> None:
        """Write what is waiting and close the log. Calling it again does nothing."""
        try:
            self.write(self.rows.take())
        finally:
            try:
                self.log.close()
            finally:
                if self._claim is not None:
                    self._claim.release()
