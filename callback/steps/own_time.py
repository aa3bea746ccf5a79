"""What the callback takes of the training time, as the rows say it and as the budget counts it.

What a thread packs and writes while training goes on counts as if it had been done within the step,
for as long as it kept a processor busy: where there are no more processors than the training uses,
and while the thread holds the GIL, training stands still for it. That a disk is waited for on that
thread costs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..schedule.overhead import OverheadBudget
from .followed_parameters import FollowedParameters


class OwnTime:
    """Measures the hooks around each step, and what the callback does besides."""

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
            parameters: Whose device may be waited for.
            budget: Is told.
            is_shared: Whether other processes are waited for.
            on_thread: Says how many seconds another thread has been busy with records so far.
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
        """Whether a step has ended."""
        return self._last_step_ended is not None

    def busy(self) -> float:
        """Return seconds as the budget counts them: of the thread, where nothing is waited for.

        So a busy machine, on which a record takes many times as long, takes no records away.
        """
        waits = self._parameters.is_on_device or self._is_shared
        return time.perf_counter() if waits else time.thread_time()

    def enter_hook(self) -> None:
        """Start to measure the hook before a step, or the one after it."""
        self._entered, self._entered_busy = time.perf_counter(), self.busy()

    def leave_hook_before_step(self) -> None:
        """Count what the hook before a step took."""
        self._before_step = time.perf_counter() - self._entered
        self._since_row += self._before_step
        self._busy_before_step = self.busy() - self._entered_busy

    def add_between_steps(self, busy_since: float) -> None:
        """Count what has been done since then besides the step, as :meth:`busy` tells the time."""
        self._between_steps += self.busy() - busy_since

    def add_norm(self, busy_since: float) -> None:
        """Say that what has been done since then was computing a gradient norm."""
        self._budget.add_norm(self.busy() - busy_since)

    def milliseconds_of_row(self) -> float:
        """Return what the callback took since the last :meth:`end_row`."""
        before, self._on_thread_in_rows = self._on_thread_in_rows, self._on_thread()
        on_thread = self._on_thread_in_rows - before
        return (self._since_row + time.perf_counter() - self._entered + on_thread) * 1e3

    def end_row(self) -> float:
        """Count for the next row from now on; return now, for :meth:`add_writing`."""
        self._since_row = 0.0
        return time.perf_counter()

    def add_writing(self, since: float) -> None:
        """Count what has been done since then for the next row: this one is written."""
        self._since_row += time.perf_counter() - since

    def skip_step(self) -> None:
        """Count the hook before a step that is left out."""
        self._budget.add_outside(self._busy_before_step)

    def end_step(self, step: int, *, recorded: bool, asked_for: bool) -> None:
        """Tell the budget what a step took, and what the callback took of it.

        What a thread has taken since the last record counts for this one, which will take as much.

        Args:
            step: Its number.
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
    """Return the seconds that this thread has run."""
    return time.thread_time()


def wall_time() -> float:
    """Return the seconds since the epoch."""
    return time.time()
