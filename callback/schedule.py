"""When a step is recorded."""

from __future__ import annotations

from dataclasses import dataclass

# About so many records a run, if it is not shorter than that.
_RECORDS_OF_A_RUN = 200
# Where the length of a run is not known, it is taken to be just over: 200 records of the first 200
# steps, of the first 400 ..., down to one in 50.
_INTERVALS = (1, 2, 5, 10, 20, 50)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Steps 1, 2, 4, 8 ..., every multiple of an interval, and the last one where it is known.

    The first steps decide whether a learning rate is too high, so they are looked at closely.

    Attributes:
        every_n_steps: The interval, at least 1; None where it grows with the run.
        total_steps: The number of the run's last step, or None.
    """

    every_n_steps: int | None
    total_steps: int | None = None

    def interval(self, step: int, start: int = 0) -> int:
        """Return the interval at a step.

        Args:
            step: Its number.
            start: How many steps had been taken when the first one was looked at: a resumed run
                begins as densely as a new one.
        """
        if self.every_n_steps is not None:
            return self.every_n_steps
        taken = step - start
        return next((n for n in _INTERVALS if taken <= n * _RECORDS_OF_A_RUN), _INTERVALS[-1])

    def records(self, after: int, until: int, start: int = 0) -> float:
        """Return about how many records there are to be of the steps ``after`` + 1 to ``until``.

        Args:
            after: A number of a step.
            until: A later one.
            start: As in :meth:`interval`.
        """
        if self.every_n_steps is not None:
            return (until - after) / self.every_n_steps
        found, low = 0.0, after
        for interval in _INTERVALS:
            high = max(low, min(until, start + interval * _RECORDS_OF_A_RUN))
            found += (high - low) / interval
            low = high
        return found + (until - low) / _INTERVALS[-1]

    def is_due(self, step: int, stretch: int = 1, start: int = 0) -> bool:
        """Whether to record this step, counted from 1.

        Args:
            step: Its number.
            stretch: How many times longer than wanted the interval is to be.
            start: As in :meth:`interval`.
        """
        return (
            step % (self.interval(step, start) * stretch) == 0
            or step & (step - 1) == 0
            or step == self.total_steps
        )


def choose(every_n_steps: int | None, total_steps: int | None) -> Schedule:
    """Build a schedule from what the user said.

    Args:
        every_n_steps: The interval; None for 100 to 200 records a run where ``total_steps`` is
            known, and every step of a run of up to 200; else for one that grows from 1 to 50.
        total_steps: How many steps the run will have, or None.
    """
    if every_n_steps is None and total_steps is not None:
        every_n_steps = -(-total_steps // _RECORDS_OF_A_RUN)
    return Schedule(every_n_steps, total_steps)
