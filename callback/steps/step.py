"""One step of a single process."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..probes import uncounted_steps
from ..probes.gain_ratio import GainRatio
from ..probes.stale_gradients import StaleGradients
from ..read.norms import Squares
from ..schedule.gradient_history import GradientHistory
from ..write.step_rows import Scalar
from .agenda import Agenda
from .failures import GAIN, NORMS, RECORDS, STALE, STEPS, Containment
from .followed_parameters import FollowedParameters
from .notices import Notices
from .own_time import OwnTime
from .parameter_records import StepRecord
from .step_output import StepOutput
from .step_start import StepStart


class StepTools(NamedTuple):
    """The parts that a step uses.

    Attributes:
        agenda: Decides what to record.
        parameters: The optimizer's parameters.
        start: The work before a step.
        output: Writes a step's row and record.
        own_time: Measures the callback's own time.
        failures: Contains failures.
        notices: Receive observations.
    """

    agenda: Agenda
    parameters: FollowedParameters
    start: StepStart
    output: StepOutput
    own_time: OwnTime
    failures: Containment
    notices: Notices


class Step:
    """Records the step of a single process, or of one that does not depend on the others.

    Attributes:
        stale_gradients: Detects a missing ``zero_grad()``.
    """

    def __init__(self, tools: StepTools, gain: GainRatio | None) -> None:
        """Start before the first step.

        Args:
            tools: The parts that a step uses.
            gain: Evaluates the loss before and after a step; or None.
        """
        self._agenda = tools.agenda
        self._parameters = tools.parameters
        self._start = tools.start
        self._output = tools.output
        self._time = tools.own_time
        self._failures = tools.failures
        self._notices = tools.notices
        self._gain = gain
        self._gradient_came_before = False
        self._rescaling: Scalar = float("nan")
        self._left: Scalar = 0.0
        self.stale_gradients = StaleGradients()
        if gain is not None:
            # Changes to the gradient must be known from the first step on.
            self.stale_gradients.measures_rescaling = True
            watched = tools.parameters.records.parameters.watched
            self.stale_gradients.guess([w.parameter for w in watched])
            gain.watch_gradients(self._optimized())
            self._start.after_closure = self._look_at_gradients
        self._skipped_in_a_row = 0
        self._record: StepRecord | None = None
        self._norm: Scalar = float("nan")

    def begin_step(self) -> None:
        """Do the work before a step."""
        self._start.begin()
        self._rescaling, self._left = float("nan"), 0.0
        if self._parameters.overwrites_gradients:
            self._failures.run(STALE, "looking for stale gradients", self._measure_rescaling)
        gain = self._gain
        if gain is not None and self._start.is_due:
            self._failures.run(GAIN, "evaluating loss_closure", lambda: self._begin_gain(gain))

    def end_step(self) -> None:
        """Record a completed step."""
        self._failures.run(STEPS, "recording a step", self._end)
        gain = self._gain
        if gain is not None:
            gain.forget()  # also of a failed or skipped step
            self._failures.run(GAIN, "preparing for loss_closure", lambda: self._prepare_gain(gain))

    def close(self) -> None:
        """Stop watching."""
        self.stale_gradients.close()
        if self._gain is not None:
            self._gain.close()

    def release(self) -> None:
        """Keep nothing of the training alive."""
        self._gain = None

    def _end(self) -> None:
        optimizer, count = self._parameters.optimizer, self._agenda.count
        skipped = uncounted_steps.scaler_flag(optimizer)
        if skipped is not None and (
            self._start.is_recording or uncounted_steps.is_on_host(skipped)
        ):
            if bool(skipped):
                self._skip()
                return
            self._skipped_in_a_row = 0
            skipped = None
        if self._start.had_no_state and uncounted_steps.is_phantom(optimizer):
            return
        count.number += 1
        self._record = None
        # Before the record, which synchronizes with the device once.
        self._failures.run(STALE, "looking for stale gradients", self._add_stale_gradients)
        if self._start.is_recording:
            self._failures.run(RECORDS, "recording a step", self._measure)
        self._find_norm(skipped)
        self._failures.run(STALE, "looking for stale gradients", self._watch_stale_gradients)
        gain = self._gain
        if gain is not None:
            self._failures.run(GAIN, "evaluating loss_closure", lambda: self._end_gain(gain))
        record, self._record = self._record, None
        self._output.end_step(self._start, record, self._norm, skipped)
        self._agenda.adapt(recorded=record is not None)
        self.stale_gradients.measures_rescaling = self._wants_rescaling()

    def _skip(self) -> None:
        self._time.skip_step()
        self._output.recorder.rows.skip_step()
        self._output.batches.skip_step()
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row == uncounted_steps.MOST_SKIPPED_IN_A_ROW:
            self._notices.warn_once(
                f"the gradient scaler has skipped {self._skipped_in_a_row} steps in a row because "
                "gradients are not finite: nothing is trained",
                kind="skipped",
            )

    @torch.no_grad()
    def _measure(self) -> None:
        step, rows = self._agenda.count.number, self._output.recorder.rows
        rows.send()
        self._record = self._parameters.records.after_step(
            self._agenda.wants_histograms(step), rows.upcoming_number("loss"), step
        )
        self._agenda.catches_up = False

    def _find_norm(self, skipped: Tensor | None) -> None:
        """Compute the gradient norm, if it is already known or there is time for it.

        At other steps, look at the norm that was passed to :meth:`record`, if any.

        Args:
            skipped: On a device, whether the step was skipped because gradients are not finite.
        """
        self._norm = float("nan")
        history = self._agenda.history
        if history is None:
            return
        is_recorded = self._record is not None
        if not (is_recorded or self._agenda.wants_norm(self._agenda.count.number)):
            self._look_at_given_norm(history, skipped)
            return
        since = self._time.busy()
        self._failures.run(
            NORMS, "computing the gradient norm", lambda: self._add_norms(history, skipped)
        )
        if not is_recorded:
            self._time.add_norm(since)

    @torch.no_grad()
    def _add_norms(self, history: GradientHistory, skipped: Tensor | None) -> None:
        """Compute the norm of all gradients, and keep each parameter's for a while."""
        record, norms, cleared = self._record, self._parameters.norms, self._start.cleared
        if cleared.are_unknown:
            self._notices.warn_once(
                f"{type(self._parameters.optimizer).__name__} sets gradients to zero in place, or "
                "frees their memory, within step(): their statistics are not known. Call "
                "zero_grad() after step() instead, or with set_to_none=True"
            )
        is_whole = record is not None and len(record.statistics) == norms.parameters
        if record is not None and is_whole and not cleared.are_unknown:
            squares: Squares = record.squared_gradients
            present = tuple(record.has_gradient.tolist())
        elif self._start.squares is not None and self._has_squares_of_step:
            squares, present = self._start.squares
        elif cleared.are_unknown:
            self._norm = float("nan")
            return
        else:
            squares, present = norms.squares()
        if any(present):
            before_clip = self._output.recorder.rows.upcoming("gradient_norm_before_clip")
            number = self._agenda.count.number
            self._norm = history.add(number, squares, present, skipped, before_clip)
        else:
            self._norm = 0.0

    @property
    def _has_squares_of_step(self) -> bool:
        """Whether those read before the step are those of the gradients that it used."""
        cleared = self._start.cleared
        return self._parameters.overwrites_gradients or (
            cleared.are_unknown or cleared.are_unchanged
        )

    @torch.no_grad()
    def _look_at_given_norm(self, history: GradientHistory, skipped: Tensor | None) -> None:
        given = self._output.recorder.rows.upcoming("gradient_norm_before_clip")
        history.look_at_given(self._agenda.count.number, given, skipped)

    def _add_stale_gradients(self) -> None:
        overwritten = self._parameters.overwrites_gradients
        rescaling = self.stale_gradients.take_rescaling(is_overwritten=overwritten)
        self._rescaling = float("nan") if rescaling is None else rescaling
        ratio, rows = self.stale_gradients.take(), self._output.recorder.rows
        self._left = 0.0 if ratio is None else ratio
        if ratio is not None:
            rows.add("stale_gradient_ratio", ratio)
            rows.add("gradient_rescaling", self._rescaling)
        leftover = self.stale_gradients.take_leftover()
        if leftover is not None:
            rows.add("leftover_gradient_ratio", leftover)

    def _watch_stale_gradients(self) -> None:
        rows, unknown = self._output.recorder.rows, float("nan")
        if self._record is not None and self.stale_gradients.wants_parameter:
            watched = [w.parameter for w in self._parameters.records.parameters.watched]
            if self.stale_gradients.watch(watched, self._record.squared_gradients):
                # Columns from the first use on, because columns should rarely change.
                rows.add("stale_gradient_ratio", unknown)
                rows.add("gradient_rescaling", unknown)

    def _wants_rescaling(self) -> bool:
        """Whether the next step is recorded."""
        return self._agenda.is_due(self._agenda.count.number + 1)

    def _measure_rescaling(self) -> None:
        """Measure what the step may overwrite: its closure may compute the first gradients."""
        self._gradient_came_before = self.stale_gradients.gradient_has_come
        self.stale_gradients.measure_rescaling()

    def _look_at_gradients(self) -> None:
        """Look at the gradients that the step's closure computed, if they are its first ones."""
        gain = self._gain
        if gain is None or self._gradient_came_before:
            return
        self._failures.run(STALE, "looking for stale gradients", self._measure_rescaling)
        self._failures.run(GAIN, "evaluating loss_closure", gain.keep_gradients)

    def _begin_gain(self, gain: GainRatio) -> None:
        overwrites = self._parameters.state.overwrites_gradient
        gain.before_step(
            [
                (parameter, overwrites(group))
                for group in self._parameters.optimizer.param_groups
                for parameter in group["params"]
            ]
        )

    def _end_gain(self, gain: GainRatio) -> None:
        rows = self._output.recorder.rows
        before_clip = rows.upcoming("gradient_norm_before_clip")
        ratio = gain.after_step(before_clip, self._rescaling, self._left)
        if ratio is not None:
            rows.add("gain_ratio", ratio)

    def _prepare_gain(self, gain: GainRatio) -> None:
        if self._agenda.is_due(self._agenda.count.number + 1):
            gain.remember_random_state()
            gain.watch_gradients(self._optimized())

    def _optimized(self) -> list[Tensor]:
        groups = self._parameters.optimizer.param_groups
        return [parameter for group in groups for parameter in group["params"]]
