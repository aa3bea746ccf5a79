"""Decides which steps to record, and how: the step count, the schedules and the time budget."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from ..optimizer_state.base import OptimizerState
from ..optimizer_state.registry import adapter_for
from ..schedule.gradient_history import GradientHistory
from ..schedule.intervals import Schedule
from ..schedule.overhead import OverheadBudget

_STEPS_BETWEEN_BUDGETS = 16


class StepCount:
    """The number of steps taken, counted by the optimizer or by the user.

    Attributes:
        number: The count.
        follows_optimizer: Whether the optimizer's own count is used.
        is_exact: Whether the count is known; other processes may not know theirs.
    """

    def __init__(self, state: OptimizerState, initial_step: int | None) -> None:
        """Start.

        Args:
            state: The optimizer's adapter, which reads the optimizer's own count if there is one.
            initial_step: The user's count; None to follow the optimizer's.
        """
        self.number = initial_step or 0
        self.follows_optimizer = initial_step is None
        self.is_exact = not self.follows_optimizer
        self._is_known = not self.follows_optimizer
        self._optimizer = weakref.ref(state.optimizer)
        self._steps_taken: Callable[[], int | None] = state.steps_taken

    def set(self, number: int) -> None:
        """Use the user's count from now on."""
        self.number = number
        self.follows_optimizer = False
        self._is_known = self.is_exact = True

    def read(self, *, goes_on: bool) -> int:
        """Continue from the optimizer's own count, which tells where a resumed run stands.

        Args:
            goes_on: Whether this count advances by itself; if not, the optimizer is asked every
                time.
        """
        if not self._is_known:
            taken = self._steps_taken()
            self.number = self.number if taken is None else taken
            self._is_known = goes_on
            self.is_exact = taken is not None
        return self.number

    def read_anew(self) -> None:
        """Ask the optimizer next time: its count may have changed."""
        self._is_known = not self.follows_optimizer

    def release(self) -> None:
        """Stop keeping the optimizer alive, but still ask it while it lives."""
        reference = self._optimizer

        def steps_taken() -> int | None:
            found = reference()
            return None if found is None else adapter_for(found).steps_taken()

        self._steps_taken = steps_taken


class Agenda:
    """Decides what to record of the coming step.

    Attributes:
        enabled: Whether steps are followed at all.
        count: The step count.
        schedule: Which steps have a record.
        budget: The training time the callback may take, and has taken.
        stretch: Factor by which the interval between records is longer than requested.
        norm_interval: Interval between gradient norms, in steps.
        history: Gradient norms of the last steps; None if they are not wanted.
        catches_up: Whether the next step is recorded regardless of the schedules, like the first
            step and the first one after a checkpoint is loaded.
    """

    def __init__(
        self,
        count: StepCount,
        schedule: Schedule,
        histogram_schedule: Schedule,
        max_overhead: float | None,
        history: GradientHistory | None,
    ) -> None:
        """Start before the first step.

        Args:
            count: The step count.
            schedule: Which steps have a record.
            histogram_schedule: Which records have histograms.
            max_overhead: Largest share of the training time that the callback may take, or None.
            history: Gradient norms of the last steps, or None.
        """
        self.enabled = True
        self.count = count
        self.schedule = schedule
        self._histogram_schedule = histogram_schedule
        # A limit of 1 means no budget, so the recorded steps do not depend on a clock.
        self.budget = OverheadBudget(
            None if max_overhead == 1 else max_overhead, (schedule, histogram_schedule)
        )
        self.stretch = self.norm_interval = 1
        self.history = history
        self.catches_up = True

    def is_due(self, step: int) -> bool:
        """Whether to record a step."""
        return self.is_asked_for(step) or self._looks_closer(step)

    def is_asked_for(self, step: int) -> bool:
        """Whether the schedules ask for a step, rather than a jump of the gradient."""
        due = self.schedule.is_due(step, self.stretch, self.budget.start)
        return due or self._asks_for_histograms(step)

    def wants_histograms(self, step: int) -> bool:
        """Whether a step's record includes histograms."""
        return self._asks_for_histograms(step) or self._looks_closer(step)

    def wants_norm(self, step: int) -> bool:
        """Whether to compute a step's gradient norm, recorded or not."""
        return self.history is not None and step % self.norm_interval == 0

    def adapt(self, *, recorded: bool) -> None:
        """Record less often if the last step took too long, or more often again."""
        step = self.count.number
        if recorded or step % _STEPS_BETWEEN_BUDGETS == 0:
            if recorded:
                self.stretch = self.budget.stretch(step)
            if self.history is not None:
                self.norm_interval = self.budget.norm_interval(step)

    def restart(self) -> None:
        """React to a loaded checkpoint, which changes the optimizer's count."""
        self.count.read_anew()
        self.catches_up = True
        if self.count.follows_optimizer:
            self.budget.begin_anew()

    def release(self) -> None:
        """Keep nothing of the training alive."""
        self.count.release()
        self.history = None

    def _asks_for_histograms(self, step: int) -> bool:
        start = self.budget.start
        return self.catches_up or self._histogram_schedule.is_due(step, self.stretch, start)

    def _looks_closer(self, step: int) -> bool:
        return (
            self.history is not None
            and self.history.wants_detail(step)
            and self.budget.allows_closer_look
        )
