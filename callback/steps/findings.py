"""Passes findings to the user while training runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from tb_adam_plugin.diagnosis.rule import Finding

from ..write.step_rows import StepRows
from .followed_parameters import FollowedParameters
from .live_diagnosis import LiveDiagnosis
from .notices import Notices
from .own_time import wall_time
from .parameter_records import StepRecord

Reaction = Literal["warn"] | Callable[[Finding], object]


class Findings:
    """Applies the rules to what is written, and reports new findings after the step."""

    def __init__(self, total_steps: int | None, reaction: Reaction, notices: Notices) -> None:
        """Start without findings.

        Args:
            total_steps: How many steps the run will take, if known.
            reaction: A function to call with each finding, or "warn" to warn of errors and
                warnings.
            notices: Issue the warnings.
        """
        self._diagnosis = LiveDiagnosis(total_steps)
        self._reaction = reaction
        self._notices = notices
        self._new: list[Finding] = []

    def look_at(
        self,
        rows: StepRows,
        record: StepRecord | None,
        parameters: FollowedParameters,
        step: int,
    ) -> None:
        """Look at what is written.

        Args:
            rows: Rows of the steps since the last call.
            record: Record of the last of these steps, if any.
            parameters: The recorded parameters.
            step: The step number.
        """
        self._diagnosis.add_rows(rows)
        layout = parameters.records.layout
        if record is not None and layout is not None:
            self._new += self._diagnosis.add_record(
                layout,
                step,
                wall_time(),
                record.statistics,
                parameters.state.hyperparameter_names,
                record.hyperparameters,
            )

    def hand_out(self) -> None:
        """Report new findings. Failures are not contained here, so a user can end training.

        Raises:
            Exception: Whatever the user's function raises.
        """
        findings, self._new = self._new, []
        for finding in findings:
            if callable(self._reaction):
                self._reaction(finding)
            elif finding.severity != "info":
                self._notices.warn_once(
                    f"{finding.title} (step {finding.first_step:.0f}). {finding.text} "
                    f"{finding.advice}".rstrip(),
                    f"finding {finding.rule} {finding.severity} {finding.first_step:.0f}",
                )
