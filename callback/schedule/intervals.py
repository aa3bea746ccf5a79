"""When to record a step."""

from __future__ import annotations

from dataclasses import dataclass

# Approximate number of records per run, unless the run is shorter.
_RECORDS_OF_A_RUN = 200
# If the length of a run is unknown, it is assumed to be about to end: 200 records of the first 200
# steps, of the first 400 ..., down to one in 50.
_INTERVALS = (1, 2, 5, 10, 20, 50)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Steps 1, 2, 4, 8 ..., every multiple of an interval, and the last step if it is known.

    The first steps show whether a learning rate is too high, so they are recorded densely.

    Attributes:
        every_n_steps: The interval, at least 1; None if it follows from the length of the run.
        total_steps: How many steps the run will take, or None.
    """

    every_n_steps: int | None
    total_steps: int | None = None

    def last_step(self, start: int = 0) -> int | None:
        """Return the number of the last step, if known.

        Args:
            start: Number of steps taken before recording started. If the run should already be over
                by then, ``total_steps`` is taken as the number of steps of this session.
        """
        if self.total_steps is None or self.total_steps > start:
            return self.total_steps
        return start + self.total_steps

    def interval(self, step: int, start: int = 0) -> int:
        """Return the interval at a step.

        Args:
            step: The step number.
            start: Number of steps taken before recording started: a resumed run starts as densely
                as a new one.
        """
        if self.every_n_steps is not None:
            return self.every_n_steps
        last, taken = self.last_step(start), step - start
        if last is not None:
            return -(-(last - start) // _RECORDS_OF_A_RUN)
        return next((n for n in _INTERVALS if taken <= n * _RECORDS_OF_A_RUN), _INTERVALS[-1])

    def records(self, after: int, until: int, start: int = 0) -> float:
        """Return the approximate number of records scheduled for steps ``after`` + 1 to ``until``.

        Args:
            after: A step number.
            until: A later step number.
            start: As in :meth:`interval`.
        """
        if self.every_n_steps is not None or self.total_steps is not None:
            return (until - after) / self.interval(until, start)
        found, low = 0.0, after
        for interval in _INTERVALS:
            high = max(low, min(until, start + interval * _RECORDS_OF_A_RUN))
            found += (high - low) / interval
            low = high
        return found + (until - low) / _INTERVALS[-1]

    def is_due(self, step: int, stretch: int = 1, start: int = 0) -> bool:
        """Whether to record this step, counted from 1.

        Args:
            step: The step number.
            stretch: Factor by which to lengthen the interval.
            start: As in :meth:`interval`.
        """
        return (
            step % (self.interval(step, start) * stretch) == 0
            or step & (step - 1) == 0
            or (step - start) & (step - start - 1) == 0
            or step == self.last_step(start)
        )


def choose(every_n_steps: int | None, total_steps: int | None) -> Schedule:
    """Build a schedule from the user's arguments.

    Args:
        every_n_steps: The interval. None means 100 to 200 records per run if ``total_steps`` is
            known, and every step of a run of up to 200; otherwise an interval that grows from 1 to
            50.
        total_steps: How many steps the run will take, or None.
    """
    return Schedule(every_n_steps, total_steps)
