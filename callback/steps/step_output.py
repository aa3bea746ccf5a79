"""A step's output: a row of scalars, and the records written with it from time to time."""

from __future__ import annotations

import functools
import math
import os
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from tb_adam_plugin import schema

from ..optimizer_state.group_settings import as_number
from ..probes.kept_batches import KeptBatches
from ..write.output import Recorder
from ..write.step_rows import Scalar
from .agenda import Agenda
from .failures import BATCHES, DIAGNOSIS, WRITING, Containment
from .followed_parameters import FollowedParameters
from .own_time import OwnTime, wall_time
from .parameter_records import StepRecord
from .step_start import StepStart

if TYPE_CHECKING:
    from .findings import Findings

# At most this many rows wait in memory for a record.
MOST_WAITING_ROWS = 1000

_RATIO = [statistic.name for statistic in schema.STATISTICS].index("update_to_weight_ratio")


class StepOutput:
    """Adds a row for each step, writes the rows with the next record, and keeps to the budget.

    Attributes:
        recorder: Holds the rows and the event file.
        batches: Batches of the last steps, given by the user.
    """

    def __init__(
        self,
        recorder: Recorder,
        agenda: Agenda,
        parameters: FollowedParameters,
        own_time: OwnTime,
        failures: Containment,
        findings: Findings | None,
        *,
        mirrors_scalars: bool,
    ) -> None:
        """Start without rows.

        Args:
            recorder: Holds the rows and the event file.
            agenda: Holds the step count and the budget.
            parameters: Give access to the optimizer's hyperparameters.
            own_time: Measures the callback's own time.
            failures: Contains failures.
            findings: Diagnose what is written; None for no diagnosis.
            mirrors_scalars: Whether to also write a few numbers as ordinary scalars.
        """
        self.recorder = recorder
        self._agenda = agenda
        self._parameters = parameters
        self._time = own_time
        self._failures = failures
        self._findings = findings
        self._mirrors_scalars = mirrors_scalars
        self.batches = KeptBatches()

    def end_step(
        self, start: StepStart, record: StepRecord | None, norm: Scalar, skipped: Tensor | None
    ) -> None:
        """Add a step's row, and write what is due.

        Args:
            start: The work done before the step.
            record: The step's record, if it has one.
            norm: Norm of all gradients; NaN if it was not computed.
            skipped: On a device, whether the step was skipped; None if it was not.
        """
        self._save_batches()
        self._add_row(norm, skipped)
        now = self._time.end_row()
        rows_wait_too_long = self.recorder.rows.waiting >= MOST_WAITING_ROWS
        history = self._agenda.history
        if start.is_due or rows_wait_too_long or (history is not None and history.is_due):
            self._failures.run(WRITING, "writing a record", lambda: self._write(record, norm))
            self._time.add_writing(now)
        self._time.end_step(
            self._agenda.count.number, recorded=record is not None, asked_for=not start.is_extra
        )

    def hand_out_findings(self) -> None:
        """Report new findings. Failures are not contained; the time counts as between steps."""
        if self._findings is not None:
            since = self._time.busy()
            self._findings.hand_out()
            self._time.add_between_steps(since)

    def flush(self) -> None:
        """Write the waiting rows, and hand them to the operating system."""
        self._write(None, float("nan"))
        self.recorder.log.flush()

    def _save_batches(self) -> None:
        """Save the batches of steps whose gradient jumped."""
        history = self._agenda.history
        self.batches.end_step(self._agenda.count.number)
        for step in () if history is None else history.take_jumps():
            self._failures.run(
                BATCHES, "saving a batch", functools.partial(self._save_batch_of, step)
            )

    def _save_batch_of(self, step: int) -> None:
        location = self.recorder.log.location
        folder = location if os.path.isdir(location) else os.path.dirname(location)
        try:
            is_saved = self.batches.save(step, folder)
        except OSError:
            raise  # the disk will not take another batch either
        except Exception as error:
            if self._failures.raises:
                raise
            what = f"failed while saving a batch ({type(error).__name__}: {error})"
            self._failures.notice(
                f"{what}; the batch of step {step} is left out; training continues",
                f"{BATCHES}: {type(error).__name__}",
            )
            return
        if is_saved:
            self.recorder.rows.add("saved_batch", step)
        elif self.batches.refusal:
            self._failures.notice(
                f"the batch of step {step} was not saved: {self.batches.refusal}",
                f"{BATCHES}: {self.batches.refusal}",
            )

    def _add_row(self, norm: Scalar, skipped: Tensor | None) -> None:
        agenda, rows = self._agenda, self.recorder.rows
        lr = self._parameters.optimizer.param_groups[0].get("lr")
        step = agenda.count.number
        interval = agenda.budget.interval(step)
        last = agenda.schedule.last_step(agenda.budget.start)
        if last is not None:
            rows.add("expected_total_steps", last)
        if agenda.budget.max_overhead is not None:
            rows.add("wanted_every_n_steps", interval)
            rows.add("max_overhead", agenda.budget.max_overhead)
            if agenda.norm_interval > 1:
                rows.add("gradient_norm_every_n_steps", agenda.norm_interval)
        self.recorder.end_step(
            step,
            wall_time(),
            gradient_norm=norm,
            # A scheduler changes the tensor in place.
            lr=lr.detach().clone() if isinstance(lr, Tensor) else as_number(lr),
            callback_milliseconds=self._time.milliseconds_of_row(),
            every_n_steps=interval * agenda.stretch,
            skipped=0.0 if skipped is None else skipped.detach().reshape(()).clone(),
        )

    def _write(self, record: StepRecord | None, norm: Scalar) -> None:
        rows = self.recorder.rows.take()
        # Only now is it known how many steps the device skipped.
        self._agenda.count.number -= rows.skipped
        tensors: list[schema.TaggedTensor] = []
        scalars: dict[str, float] = {}
        if record is not None:
            tensors += record.tensors
            if self._mirrors_scalars:
                scalars = self._mirrored(record, norm)
        history, findings = self._agenda.history, self._findings
        if history is not None:
            history.renumber(rows.skipped)
            around = history.take()
            if around is not None:
                steps, norms = around
                names = self._parameters.names
                tensors.append(schema.gradient_norms_tensor(names, steps, norms[:, : len(names)]))
        if findings is not None:
            self._failures.run(
                DIAGNOSIS,
                "looking for what is wrong",
                lambda: findings.look_at(rows, record, self._parameters, self._agenda.count.number),
            )
        histograms = None if record is None else record.histograms
        self.recorder.write(rows, tensors, scalars, histograms)
        self._failures.forget_failed_writes()

    def _mirrored(self, record: StepRecord, norm: Scalar) -> dict[str, float]:
        """Ordinary scalars, for viewers without the tab."""
        ratios = record.statistics[:, _RATIO]
        ratios = np.sort(ratios[np.isfinite(ratios)])
        scalars = {"gradient_norm": float(norm)}
        if len(ratios):
            middle = ratios[(len(ratios) - 1) // 2 : len(ratios) // 2 + 1]
            scalars["update_to_weight_ratio_median"] = float(middle.mean())
            scalars["update_to_weight_ratio_largest"] = float(ratios[-1])
        for i, group in enumerate(self._parameters.optimizer.param_groups):
            scalars[f"lr/group{i}"] = as_number(group.get("lr"))
        return {
            f"{schema.PLUGIN_NAME}/{name}": value
            for name, value in scalars.items()
            if math.isfinite(value)
        }
