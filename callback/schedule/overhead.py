"""Keeps the cost of recording below a share of the training time, by recording less often."""

from __future__ import annotations

import math

from .intervals import Schedule

# What a short run may take, whatever its share: without it there would be too few records to show
# anything, and these seconds are not worth saving.
ALLOWANCE_SECONDS = 10.0

# What records after jumps of the gradient may take, in addition to their share.
_SECONDS_OF_LOOKS = 10.0
# If the length of a run is unknown: the part of the allowance that the first steps may use. A run
# that ends early then has its records, too.
_SHARES_OF_ALLOWANCE = ((200, 0.6), (400, 0.8), (1000, 1.0))

_WEIGHT_OF_NEWEST = 0.3
# The cost of steps between records counts first, but records keep this much of the share: otherwise
# a run of very short steps would have none.
_LEAST_SHARE_OF_RECORDS = 0.5
_LONGEST_STRETCH = 2.0**20
# Longest interval between gradient norms, if steps take a fraction of a millisecond.
_RAREST_NORM = 64
# A time longer than usual by this factor is due to the machine: a disk, or other programs.
_MOST_TIMES_USUAL = 5.0


class OverheadBudget:
    """Learns what a record costs and how long a step takes.

    Up to a *horizon*, which is ``total_steps`` or 200, 400 and then 1,000 steps, a run may take
    :data:`ALLOWANCE_SECONDS`, or a part of them, plus ``max_overhead`` of the training time; the
    remainder is spread evenly over the remaining records. After the last horizon only
    ``max_overhead`` counts, and the remaining seconds are spread over as many steps again. If that
    is not enough, records and gradient norms become less frequent.
    """

    def __init__(self, max_overhead: float | None, schedules: tuple[Schedule, ...]) -> None:
        """Start without measurements.

        Args:
            max_overhead: Largest share of the training time that the callback may take; None for no
                limit.
            schedules: The schedules that ask for records.
        """
        self.max_overhead = max_overhead
        self._schedules = schedules
        self._start: int | None = None
        self._horizons: list[tuple[int, float]] = []  # with the seconds allowed up to there
        self._record = _Average(forgets_first=True)  # the first one allocates the memory
        self._step = _Average()
        self._spent = 0.0
        self._spent_on_records = 0.0
        self._spent_on_looks = 0.0
        self._between = _Total()  # steps without a record
        self._norms = _Total()  # part of these steps
        self._norm_interval = 1
        self._trained = 0.0
        self._owed = 0.0  # seconds of unscheduled records, after the horizon

    @property
    def start(self) -> int:
        """Number of steps taken before the first one seen."""
        return self._start or 0

    def begin_at(self, step: int, *, again: bool = False) -> None:
        """Set which step comes first; later calls have no effect unless ``again`` is set.

        Args:
            step: The step number.
            again: Whether an earlier call was mistaken.
        """
        if self._start is not None and not again:
            return
        self._start = step - 1
        last = self._schedules[0].last_step(self._start)
        if last is None:
            self._horizons = [
                (self._start + steps, share * ALLOWANCE_SECONDS)
                for steps, share in _SHARES_OF_ALLOWANCE
            ]
        else:
            self._horizons = [(last, ALLOWANCE_SECONDS)]

    def begin_anew(self) -> None:
        """Treat the next step as the first one: the step count was reset."""
        self._start = None

    @property
    def allows_closer_look(self) -> bool:
        """Whether to record the steps after a jump, regardless of the schedules.

        Longer intervals compensate for them, if jumps are rare. If the gradient keeps jumping,
        these records end once they have taken as much as all others may take.
        """
        if self.max_overhead is None:
            return True
        return self._spent_on_looks <= _SECONDS_OF_LOOKS + self.max_overhead * self._trained

    def interval(self, step: int) -> int:
        """The interval that the schedules request at a step."""
        return min(schedule.interval(step, self.start) for schedule in self._schedules)

    def add_training(self, seconds: float) -> None:
        """Count the duration of a training step, without the callback's share."""
        self._trained += seconds
        self._step.add(seconds)

    def add_outside(self, seconds: float) -> None:
        """Count the callback's time outside of steps."""
        self._spent += seconds

    def add_norm(self, seconds: float) -> None:
        """Report how much of the time in :meth:`add_own` between records the gradient norm took."""
        self._norms.add(seconds)

    def add_own(self, step: int, seconds: float, *, recorded: bool, asked_for: bool = True) -> None:
        """Count the callback's total time for a step.

        Args:
            step: The step number.
            seconds: The total: hooks, norms, a record, writing. A record that takes many times
                longer than usual only counts in part.
            recorded: Whether the step was recorded.
            asked_for: Whether the schedules asked for the record, rather than a jump of the
                gradient.
        """
        if not recorded:
            self._spent += seconds
            self._between.add(seconds)
            return
        if self._record.mean:
            seconds = min(seconds, _MOST_TIMES_USUAL * self._record.mean)
        self._record.add(seconds)
        self._spent += seconds
        self._spent_on_records += seconds
        if not asked_for:
            self._spent_on_looks += seconds
        if step > self._horizons[-1][0]:
            if not asked_for:
                self._owed += seconds
            elif self._owed:
                self._owed = max(0.0, self._owed - seconds)

    def stretch(self, step: int) -> int:
        """Return the factor by which to lengthen the interval between records.

        A power of two, so the steps of a longer interval are among those of a shorter one.

        Args:
            step: The last step.
        """
        if self.max_overhead is None or not self._record.mean or not self._step.mean:
            return 1
        bare, norm = self._bare_and_norm()  # rows are written from time to time
        between = bare + norm / self._norm_interval
        record = max(0.0, self._record.mean - between)
        share = self.max_overhead * self._step.mean
        horizon = self._horizon(step)
        if horizon is not None:
            left = horizon - step
            seconds = self._seconds_left(step)
            shared = self.max_overhead * self._trained + share * left
            seconds = max(
                seconds - min(between * left, (1 - _LEAST_SHARE_OF_RECORDS) * seconds),
                _LEAST_SHARE_OF_RECORDS * shared - self._spent_on_records,
            )
            needed = self._wanted(step, horizon) * record / seconds if seconds > 0 else math.inf
        else:
            share += max(0.0, self._seconds_left(step)) / max(1, step - self.start)
            seconds = max(_LEAST_SHARE_OF_RECORDS * share, share - between)
            needed = record / (seconds * self.interval(step))
            if self._owed:
                needed *= 2  # each interval compensates for one of them
        return _power_of_two(needed, _LONGEST_STRETCH)

    def norm_interval(self, step: int) -> int:
        """Return the interval between gradient norms, in steps between records.

        A power of two: 1 if there is time for all of them.

        Args:
            step: The last step.
        """
        if self.max_overhead is None or not self._step.mean or not self._norms.count:
            return 1
        bare, norm = self._bare_and_norm()
        horizon = self._horizon(step)
        a_step = self.max_overhead * self._step.mean
        if horizon is not None:
            a_step = self._seconds_left(step) / (horizon - step)
            records = self._wanted(step, horizon) / (horizon - step)
        else:
            a_step += max(0.0, self._seconds_left(step)) / max(1, step - self.start)
            records = 1 / self.interval(step)
        kept = min(_LEAST_SHARE_OF_RECORDS * a_step, self._record.mean * records)
        seconds = a_step - kept - bare
        needed = norm / seconds if seconds > 0 else math.inf
        self._norm_interval = _power_of_two(needed, _RAREST_NORM)
        return self._norm_interval

    def _horizon(self, step: int) -> int | None:
        """The first horizon after a step, if there is one."""
        return next((end for end, _ in self._horizons if step < end), None)

    def _wanted(self, step: int, horizon: int) -> float:
        """Number of records that the schedules request up to a horizon."""
        return max(s.records(step, horizon, self.start) for s in self._schedules)

    def _seconds_left(self, step: int) -> float:
        """The time left up to the next horizon, or after the last one the time left now."""
        assert self.max_overhead is not None
        end, allowance = next(
            (one for one in self._horizons if step < one[0]), (step, self._horizons[-1][1])
        )
        time = self._trained + self._step.mean * (end - step)
        return allowance + self.max_overhead * time - self._spent

    def _bare_and_norm(self) -> tuple[float, float]:
        """Durations of a step between records without its gradient norm, and of the norm."""
        norms, between = self._norms, self._between
        bare = max(0.0, between.seconds - norms.seconds) / max(1, between.count)
        return bare, norms.seconds / max(1, norms.count)


def _power_of_two(needed: float, most: float) -> int:
    return 1 if needed <= 1 else 1 << math.ceil(math.log2(min(needed, most)))


class _Total:
    """A sum of seconds, and their count."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.count = 0

    def add(self, seconds: float) -> None:
        self.seconds += seconds
        self.count += 1


class _Average:
    """A running average of seconds that gives the newest the most weight."""

    def __init__(self, *, forgets_first: bool = False) -> None:
        self.mean = 0.0
        self._count = 0
        self._forgets_first = forgets_first

    def add(self, seconds: float) -> None:
        self._count += 1
        if self._count == 1 and self._forgets_first:
            return
        change = seconds - self.mean
        self.mean = seconds if not self.mean else self.mean + _WEIGHT_OF_NEWEST * change
