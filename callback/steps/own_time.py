"""Measures the training time that the callback takes, for the rows and for the budget.

Work of the writer thread counts as if it had been done within the step, for as long as it kept a
processor busy: training stands still for it if it uses all processors, and while the thread holds
the GIL. Time that the thread waits for a disk does not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..schedule.overhead import OverheadBudget
from .followed_parameters import FollowedParameters


class OwnTime:
    """Measures the hooks around each step, and the callback's other work."""

    def __init__(
        self,
        parameters: FollowedParameters,
        budget: OverheadBudget,
        *,
        is_shared: bool,
        on_thread: Callable[[], float],
    ) -> None:
        """Start before the first step.

        Args:
            parameters: Tell whether there is a device to wait for.
            budget: Receives the measured times.
            is_shared: Whether the callback waits for other processes.
            on_thread: Returns how many seconds the writer thread has been busy with records so far.
        """
        self._parameters = parameters
        self._budget = budget
        self._is_shared = is_shared
        self._entered = self._entered_busy = 0.0
        self._before_step = 0.0
        self._busy_before_step = 0.0
        self._between_steps = 0.0
        self._since_row = 0.0
        self._last_step_ended: float | None = None
        self._on_thread = on_thread
        self._on_thread_in_rows = self._on_thread_in_budget = 0.0

    @property
    def has_seen_a_step(self) -> bool:
        """Whether a step has ended yet."""
        return self._last_step_ended is not None

    def busy(self) -> float:
        """Return seconds as the budget counts them: thread time, unless there is a wait.

        On a busy machine, a record can take many times as long; with thread time, none is lost to
        that.
        """
        waits = self._parameters.is_on_device or self._is_shared
        return time.perf_counter() if waits else time.thread_time()

    def enter_hook(self) -> None:
        """Start timing the hook before a step, or the one after it."""
        self._entered, self._entered_busy = time.perf_counter(), self.busy()

    def leave_hook_before_step(self) -> None:
        """Count the time of the hook before a step."""
        self._before_step = time.perf_counter() - self._entered
        self._since_row += self._before_step
        self._busy_before_step = self.busy() - self._entered_busy

    def add_between_steps(self, busy_since: float) -> None:
        """Count the time since ``busy_since``, from :meth:`busy`, as work outside the step."""
        self._between_steps += self.busy() - busy_since

    def add_norm(self, busy_since: float) -> None:
        """Count the time since ``busy_since`` as computing a gradient norm."""
        self._budget.add_norm(self.busy() - busy_since)

    def milliseconds_of_row(self) -> float:
        """Return the callback's time since the last :meth:`end_row`."""
        before, self._on_thread_in_rows = self._on_thread_in_rows, self._on_thread()
        on_thread = self._on_thread_in_rows - before
        return (self._since_row + time.perf_counter() - self._entered + on_thread) * 1e3

    def end_row(self) -> float:
        """Start counting for the next row; return the current time, for :meth:`add_writing`."""
        self._since_row = 0.0
        return time.perf_counter()

    def add_writing(self, since: float) -> None:
        """Count the time since ``since`` for the next row, because this one is already written."""
        self._since_row += time.perf_counter() - since

    def skip_step(self) -> None:
        """Count the hook before a skipped step."""
        self._budget.add_outside(self._busy_before_step)

    def end_step(self, step: int, *, recorded: bool, asked_for: bool) -> None:
        """Report a step's duration and the callback's share of it to the budget.

        The writer thread's time since the last record is charged to this one, which will take as
        long.

        Args:
            step: The step number.
            recorded: Whether it has a record.
            asked_for: See :meth:`..schedule.overhead.OverheadBudget.add_own`.
        """
        now = time.perf_counter()
        own = self._before_step + now - self._entered
        outside, self._between_steps = self._between_steps, 0.0
        self._budget.add_outside(outside)
        if self._last_step_ended is not None:
            self._budget.add_training(max(0.0, now - self._last_step_ended - own - outside))
        self._last_step_ended = now
        busy = self._busy_before_step + self.busy() - self._entered_busy
        if recorded:
            before, self._on_thread_in_budget = self._on_thread_in_budget, self._on_thread()
            busy += self._on_thread_in_budget - before
        self._budget.add_own(step, busy, recorded=recorded, asked_for=asked_for)


def thread_time() -> float:
    """Return this thread's running time in seconds."""
    return time.thread_time()


def wall_time() -> float:
    """Return the seconds since the epoch."""
    return time.time()
