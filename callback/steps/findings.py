"""What the rules find while training goes on, on its way to the user."""

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
    """Applies the rules to what is written, and hands out what is new after the step."""

    def __init__(self, total_steps: int | None, reaction: Reaction, notices: Notices) -> None:
        """Start without findings.

        Args:
            total_steps: How many steps the run will have, if that is known.
            reaction: A function that is called with each, or "warn" of errors and warnings.
            notices: Warn.
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
            rows: Of the steps since the last call.
            record: Of the last of them, if it has one.
            parameters: Of the record.
            step: Its number.
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
        """Hand out what is new; outside of what is contained, so that a user can end training.

        Raises:
            Exception: What the user's function raises.
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
