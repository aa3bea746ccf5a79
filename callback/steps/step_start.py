"""The work before a step, for a single process or several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..probes.cleared_gradients import ClearedGradients
from ..read.norms import Squares
from ..write.output import Recorder
from .agenda import Agenda
from .failures import CLEARED, RECORDS, STEPS, Containment
from .followed_parameters import FollowedParameters
from .notices import Notices


class StepStart:
    """Decides whether a step is recorded, and reads what the step is about to change.

    Attributes:
        is_due: Whether the step is to be recorded.
        is_extra: Whether only a jump of the gradient asks for the record, not the schedules.
        is_recording: Whether the data before the step was read successfully.
        had_no_state: Whether the optimizer had no state before the step.
        squares: Σg² of each parameter and whether it has a gradient, if the step overwrites the
            gradients, or may; else None.
        after_closure: Called whenever a closure has computed gradients that the step overwrites.
        cleared: Holds the gradients of a step that may clear them.
    """

    def __init__(
        self,
        agenda: Agenda,
        parameters: FollowedParameters,
        recorder: Recorder,
        failures: Containment,
        notices: Notices,
    ) -> None:
        """Start before the first step.

        Args:
            agenda: Decides what to record.
            parameters: The parameters to read.
            recorder: May write where an earlier training has left records.
            failures: Contains failures.
            notices: Receive observations.
        """
        self._agenda = agenda
        self._parameters = parameters
        self._recorder = recorder
        self._failures = failures
        self._notices = notices
        self.is_due = self.is_extra = self.is_recording = self.had_no_state = False
        self.squares: tuple[Squares, tuple[bool, ...]] | None = None
        self.after_closure: Callable[[], None] = _nothing
        self.cleared = ClearedGradients()

    def begin(self) -> None:
        """Do the work. Failures only cause warnings, unless they are to be raised."""
        self.is_recording = False
        self._failures.run(STEPS, "reading the step count", self._decide)
        if self.is_due:
            self.is_recording = self._failures.run(
                RECORDS, "reading the state before a step", self._read
            )
        self._hold_gradients()

    @property
    def reads_closures(self) -> bool:
        """Whether :meth:`wrapped` is needed."""
        return self._parameters.overwrites_gradients or self._may_clear

    @property
    def _may_clear(self) -> bool:
        """Whether the step has custom code, and what it overwrites is not read before it."""
        return bool(self._parameters.state.reads_as) and not self._parameters.overwrites_gradients

    def wrapped(self, closure: Callable[[], object]) -> Callable[[], object]:
        """Return a closure that also reads the gradients that the step overwrites.

        It runs within the step: the gradients read earlier are those of the previous step.
        """

        def evaluate() -> object:
            found = closure()
            if self._agenda.enabled:  # the closure may have closed the callback
                self._failures.run(RECORDS, "reading gradients before a step", self._read_again)
                self._hold_gradients()
                if self._parameters.overwrites_gradients:
                    self.after_closure()
            return found

        return evaluate

    def _hold_gradients(self) -> None:
        if self._may_clear:
            self._failures.run(CLEARED, "looking at gradients before a step", self._hold)

    @torch.no_grad()
    def _hold(self) -> None:
        groups = self._parameters.optimizer.param_groups
        self.cleared.hold(parameter for group in groups for parameter in group["params"])

    @torch.no_grad()
    def _read_again(self) -> None:
        self._parameters.forget_gradients()
        if self.is_recording:
            self._parameters.records.keep_gradients()
        if self.squares is not None:
            self.squares = self._parameters.norms.squares()

    @torch.no_grad()
    def _read(self) -> None:
        self._parameters.before_step()

    def _decide(self) -> None:
        agenda, parameters = self._agenda, self._parameters
        parameters.forget_gradients()
        step = agenda.count.read(goes_on=agenda.enabled) + 1
        self.had_no_state = not parameters.optimizer.state
        if step == 1 and self._recorder.replaces_records:
            self._notices.warn_once(
                f"{self._recorder.log.location!r} has records of an earlier training, which this "
                "one replaces from step 1 on. To keep both, give each its own log_dir; to continue "
                "from a checkpoint, also load the optimizer's state, or pass initial_step="
            )
        agenda.budget.begin_at(step)
        self.is_due = agenda.is_due(step)
        self.is_extra = self.is_due and not agenda.is_asked_for(step)
        if parameters.follow_new_ones():
            self.is_due = True
        self.squares = None
        # At records, too: a step that clears gradients leaves none to measure.
        is_wanted = self.is_due and self._may_clear and agenda.history is not None
        if is_wanted or (self.reads_closures and agenda.wants_norm(step)):
            with torch.no_grad():
                self.squares = parameters.norms.squares()


def with_closure(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    wrapped: Callable[[Callable[[], object]], Callable[[], object]],
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Return the arguments of an optimizer's step with its closure wrapped; None without a closure.

    The first of ``args`` is the optimizer itself.
    """
    if len(args) > 1 and callable(args[1]):
        return (args[0], wrapped(args[1]), *args[2:]), kwargs
    closure = kwargs.get("closure")
    return (args, {**kwargs, "closure": wrapped(closure)}) if callable(closure) else None


def _nothing() -> None:
    return None
