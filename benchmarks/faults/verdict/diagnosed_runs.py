"""The result of a run, and the findings in its event file by the product's own reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from faults.runs.cases import Case
from faults.runs.fault import Fault
from faults.runs.training import Outcome
from faults.verdict.recordings import Wanted
from faults.verdict.thinned import of_records, thin
from tb_adam_plugin.diagnosis.compass import Reading
from tb_adam_plugin.diagnosis.diagnose import diagnose
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun
from tb_adam_plugin.diagnosis.rule import Finding
from tb_adam_plugin.run_data import load_runs

# A run that makes less than this share of the best run's progress in its task was harmed.
UNHARMED = 0.9


@dataclass(frozen=True)
class DiagnosedRun:
    """A run and its findings.

    Attributes:
        case: The trained case.
        progress: (L0 - L) / (L0 - L_best), with L0 and L the losses before and after, and L_best
            the lowest loss that any run of the task reached with its usual number of examples;
            minus infinity if L is not finite.
        findings: In display order.
        steps_until_named: From the start of the fault to the record at which a right rule first
            fires; None if none does.
        reading: The compass' reading at the end of the run; None without one.
        records: Number of recorded steps.
    """

    case: Case
    progress: float
    findings: tuple[Finding, ...]
    steps_until_named: float | None
    reading: Reading | None = None
    records: int = 0

    @property
    def is_harmed(self) -> bool:
        """Whether training suffered."""
        return not self.progress >= UNHARMED

    @property
    def rules(self) -> tuple[str, ...]:
        """Ids of the rules that name the fault; empty for a control."""
        return self.case.planted.rules if isinstance(self.case.planted, Fault) else ()

    @property
    def rank(self) -> int | None:
        """The position of the first finding that names the fault, counted from 1; None without."""
        return rank_of(self.rules, self.case.begins, self.findings)

    @property
    def is_named_by_alarm(self) -> bool:
        """Whether a finding that names the fault is a warning or an error, not a question."""
        return rank_of(self.rules, self.case.begins, self.alarms) is not None

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """The findings that are warnings or errors."""
        return tuple(f for f in self.findings if f.severity != "info")

    @property
    def early_alarms(self) -> tuple[Finding, ...]:
        """Alarms that are over before the fault starts."""
        return tuple(f for f in self.alarms if f.last_step <= self.case.begins)


def rank_of(rules: Sequence[str], begins: float, findings: Sequence[Finding]) -> int | None:
    """Return the position of the first finding of some rules, counted from 1.

    Args:
        rules: Ids of the rules.
        begins: The number of steps before the fault appears; earlier findings do not count.
        findings: In order.
    """
    for rank, finding in enumerate(findings, start=1):
        if finding.rule in rules and finding.first_step >= begins:
            return rank
    return None


def progress_of(outcome: Outcome, best_loss: float) -> float:
    """Return the share of the way to the best loss that a run covered."""
    if not np.isfinite(outcome.final_loss):
        return -np.inf
    return (outcome.initial_loss - outcome.final_loss) / (outcome.initial_loss - best_loss)


def best_losses(runs: Sequence[Wanted]) -> Mapping[str, float]:
    """Return the lowest final loss of each task, by its name.

    A run that sees more than the usual examples, in more steps or larger batches, only counts if
    there is no other: its loss does not show how well the others used theirs.
    """
    best: dict[str, tuple[bool, float]] = {}
    for run in runs:
        task, settings = run.case.task, run.case.settings
        examples = settings.steps * settings.batch_size * settings.accumulated_batches
        reached = examples > task.steps * task.batch_size, run.outcome().final_loss
        best[task.name] = min(best.get(task.name, reached), reached)
    return {name: loss for name, (_, loss) in best.items()}


def diagnose_run(run: Wanted, best_loss: float, keep_every: int = 1) -> DiagnosedRun:
    """Read a run's event file and apply the rules.

    Args:
        run: The run.
        best_loss: Best loss of its task.
        keep_every: Factor by which to lengthen the interval between records.
    """
    (stored,) = load_runs(run.folder)
    case, diagnosis = run.case, stored.diagnosis
    if keep_every > 1:
        diagnosis = diagnose(thin(diagnosis.signals.run, keep_every, case.resumed_at))
    compass, recorded = diagnosis.compass, diagnosis.signals.run
    diagnosed = DiagnosedRun(
        case,
        progress_of(run.outcome(), best_loss),
        diagnosis.findings,
        None,
        None if compass is None else compass.run,
        recorded.step.size,
    )
    if diagnosed.rank is None:
        return diagnosed
    named_at = _step_of_first_firing(recorded, diagnosed.rules, case.begins)
    return replace(diagnosed, steps_until_named=named_at - case.begins)


def _step_of_first_firing(run: RecordedRun, rules: Sequence[str], begins: float) -> float:
    """Return the record at which the rules would have fired during training."""
    # Assumes that what has fired does not become silent again.
    first, last = 0, run.step.size - 1
    while first < last:
        middle = (first + last) // 2
        findings = diagnose(cut_after(run, float(run.step[middle]))).findings
        if rank_of(rules, begins, findings) is None:
            first = middle + 1
        else:
            last = middle
    return float(run.step[first])


def cut_after(run: RecordedRun, step: float) -> RecordedRun:
    """Return a run as it was after this step had been recorded."""
    steps = run.every_step["step"] <= step if run.every_step else slice(0)
    return replace(
        of_records(run, run.step <= step),
        every_step={name: values[steps] for name, values in run.every_step.items()},
        layouts=tuple(layout for layout in run.layouts if layout[0] <= step),
    )
