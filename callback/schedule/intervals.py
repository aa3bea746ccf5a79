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
        every_n_steps: The interval, at least 1; None where it follows from the length of the run.
        total_steps: How many steps the run will have, or None.
    """

    every_n_steps: int | None
    total_steps: int | None = None

    def last_step(self, start: int = 0) -> int | None:
        """Return the number of the last step, if it is known.

        Args:
            start: How many steps had been taken when the first one was looked at. Where the run is
                over by then, ``total_steps`` is taken for the steps of this session.
        """
        if self.total_steps is None or self.total_steps > start:
            return self.total_steps
        return start + self.total_steps

    def interval(self, step: int, start: int = 0) -> int:
        """Return the interval at a step.

        Args:
            step: Its number.
            start: How many steps had been taken when the first one was looked at: a resumed run
                begins as densely as a new one.
        """
        if self.every_n_steps is not None:
            return self.every_n_steps
        last, taken = self.last_step(start), step - start
        if last is not None:
            return -(-(last - start) // _RECORDS_OF_A_RUN)
        return next((n for n in _INTERVALS if taken <= n * _RECORDS_OF_A_RUN), _INTERVALS[-1])

    def records(self, after: int, until: int, start: int = 0) -> float:
        """Return about how many records there are to be of the steps ``after`` + 1 to ``until``.

        Args:
            after: A number of a step.
            until: A later one.
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
            step: Its number.
            stretch: How many times longer than wanted the interval is to be.
            start: As in :meth:`interval`.
        """
        return (
            step % (self.interval(step, start) * stretch) == 0
            or step & (step - 1) == 0
            or (step - start) & (step - start - 1) == 0
            or step == self.last_step(start)
        )


def choose(every_n_steps: int | None, total_steps: int | None) -> Schedule:
    """Build a schedule from what the user said.

    Args:
        every_n_steps: The interval; None for 100 to 200 records a run where ``total_steps`` is
            known, and every step of a run of up to 200; else for one that grows from 1 to 50.
        total_steps: How many steps the run will have, or None.
    """
    return Schedule(every_n_steps, total_steps)
