"""The findings of a run."""

from __future__ import annotations

from tb_adam_plugin.diagnosis.diagnose import Diagnosis, diagnose
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun
from tb_adam_plugin.diagnosis.rule import Finding


def found(run: RecordedRun) -> dict[str, Finding]:
    """The findings of a run, the first of each rule."""
    result: dict[str, Finding] = {}
    for finding in diagnose(run).findings:
        result.setdefault(finding.rule, finding)
    return result


def not_evaluated(diagnosis: Diagnosis) -> dict[str, str]:
    return {rule.rule: rule.reason for rule in diagnosis.not_evaluated}
