"""The outcome of each run, and the findings in its recording."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from faults.verdict.compass_table import NEAR
from faults.verdict.diagnosed_runs import rank_of
from faults.verdict.thinned import thin

from real.recipe.kinds import HEALTHY
from real.recordings.cases import Case
from real.recordings.keeping import RECORDING, Outcome, folder_of, is_recorded
from tb_adam_plugin.diagnosis.compass import Reading
from tb_adam_plugin.diagnosis.diagnose import Diagnosis, diagnose
from tb_adam_plugin.diagnosis.rule import Finding
from tb_adam_plugin.diagnosis.rules.registry import RULES
from tb_adam_plugin.run_data import load_runs

# Smaller differences from the healthy runs do no harm, whatever the spread of these: in nats, in
# accuracy, and as a share of the return or of the distance.
LEAST_HARM = {"nats": 0.03, "accuracy": 0.015, "return": 0.15, "distance": 0.25}
_TIMES_SPREAD = 2.0
_MOVES = {rule.id: rule.moves_lr for rule in RULES}


@dataclass(frozen=True)
class Baseline:
    """The healthy runs of a family and half.

    Attributes:
        median: Median measure after training.
        spread: Largest minus smallest measure.
    """

    median: float
    spread: float


@dataclass(frozen=True)
class Recorded:
    """The results for one recording: a run with two optimizers has two.

    Attributes:
        findings: In display order.
        reading: The compass' reading; None without one.
        records: Number of recorded steps.
    """

    findings: tuple[Finding, ...]
    reading: Reading | None
    records: int

    @property
    def factor(self) -> float:
        """Learning rate over the best one, from the compass; NaN without a reading."""
        return math.nan if self.reading is None else self.reading.factor

    @property
    def is_at_odds(self) -> bool:
        """Whether the compass contradicts a finding."""
        moves = {_MOVES[finding.rule] for finding in self.findings} - {""}
        if not self.factor > 0:
            return False
        return ("down" in moves and self.factor < NEAR) or (
            "up" in moves and self.factor > 1 / NEAR
        )


@dataclass(frozen=True)
class JudgedRun:
    """A run, the harm that was done, and the findings.

    Attributes:
        case: The trained case.
        outcome: Its outcome.
        harm: How much worse it is than the healthy runs, in the unit of the measure; NaN without
            any of these.
        least_harm: How much worse it has to be to count.
        recorded: Its recordings, that of the first optimizer first.
    """

    case: Case
    outcome: Outcome
    harm: float
    least_harm: float
    recorded: tuple[Recorded, ...]

    @property
    def is_harmed(self) -> bool:
        """Whether it is worse by more than the spread of healthy runs."""
        return not self.harm <= self.least_harm

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is planted, or only what is a fault by its harm, and did none."""
        kind = self.case.kind
        return not kind.is_fault or (kind.by_its_harm and not self.is_harmed)

    @property
    def is_counted(self) -> bool:
        """Whether there is a harmful fault, which has to be named."""
        return self.case.kind.is_fault and self.is_harmed

    @property
    def rank(self) -> int | None:
        """The position of the first finding that names the fault, counted from 1; None without."""
        ranks = [self._rank(recorded.findings) for recorded in self.recorded]
        return min((rank for rank in ranks if rank is not None), default=None)

    @property
    def is_named_by_alarm(self) -> bool:
        """Whether a warning or an error names the fault."""
        return any(self._rank(alarms_of(r)) is not None for r in self.recorded)

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """Warnings and errors of all recordings."""
        return tuple(alarm for recorded in self.recorded for alarm in alarms_of(recorded))

    @property
    def questions(self) -> int:
        """Number of findings that only ask."""
        return sum(len(r.findings) for r in self.recorded) - len(self.alarms)

    @property
    def is_at_odds(self) -> bool:
        """Whether the compass contradicts a finding of the same recording."""
        return any(recorded.is_at_odds for recorded in self.recorded)

    @property
    def true_factor(self) -> float | None:
        """Learning rate over the recipe's; None if something else was planted, too."""
        kind = self.case.kind
        if not kind.is_fault:
            return 1.0
        usual = self.case.family.settings_of(self.case.half)
        alike = {**self.case.settings.as_json(), "learning_rate": usual.learning_rate}
        if alike != usual.as_json() or not self.case.settings.learning_rate > 0:
            return None
        factor = self.case.settings.learning_rate / usual.learning_rate
        # A harmless one is as suitable as the recipe's.
        return factor if self.is_harmed else None

    @property
    def is_compass_right(self) -> bool | None:
        """Whether it is within half a decade or silent; None if the truth is unknown."""
        truth = self.true_factor
        if truth is None:
            return None
        factors = [r.factor / truth for r in self.recorded if r.factor > 0]
        return all(1 / NEAR <= factor <= NEAR for factor in factors)

    @property
    def is_compass_silent(self) -> bool:
        """Whether it has no reading."""
        return not any(recorded.factor > 0 for recorded in self.recorded)

    def _rank(self, findings: Sequence[Finding]) -> int | None:
        kind = self.case.kind
        return rank_of(kind.rules, int(kind.begins * self.outcome.steps), findings)


def alarms_of(recorded: Recorded) -> tuple[Finding, ...]:
    """Return its warnings and errors."""
    return tuple(finding for finding in recorded.findings if finding.severity != "info")


def baselines(runs: Iterable[tuple[Case, Outcome]]) -> Mapping[tuple[str, str], Baseline]:
    """Return the baselines by family and half.

    These are the healthy runs of the recipe itself; if each kind has a different optimizer, all of
    them.
    """
    values: dict[tuple[str, str], list[float]] = {}
    for case, outcome in runs:
        has_recipe = HEALTHY in case.family.kinds
        if case.kind == HEALTHY or not (has_recipe or case.kind.is_fault):
            values.setdefault((outcome.family, outcome.half), []).append(outcome.after)
    return {
        key: Baseline(statistics.median(found), max(found) - min(found))
        for key, found in values.items()
    }


def harm_of(outcome: Outcome, baseline: Baseline | None) -> tuple[float, float]:
    """Return how much worse a run is than healthy ones, and the threshold for harm."""
    least = LEAST_HARM[outcome.measure]
    if baseline is None:
        return math.nan, least
    if outcome.measure in ("return", "distance"):
        least *= abs(baseline.median)
    worse = outcome.after - baseline.median
    if outcome.measure in ("accuracy", "return"):
        worse = -worse
    return worse, max(least, _TIMES_SPREAD * baseline.spread)


def judge(cases: Sequence[Case], cache: Path, keep_every: int = 1) -> list[JudgedRun]:
    """Read the existing recordings, and apply the rules.

    Args:
        cases: All requested runs.
        cache: Folder of the recordings.
        keep_every: Factor by which to lengthen the interval between records.
    """
    there = [case for case in cases if is_recorded(case, cache)]
    outcomes = {case.name: Outcome.load(folder_of(case, cache)) for case in there}
    of_healthy = baselines((case, outcomes[case.name]) for case in there)
    return [
        JudgedRun(
            case,
            outcomes[case.name],
            *harm_of(outcomes[case.name], of_healthy.get((case.family.name, case.half))),
            _read(folder_of(case, cache) / RECORDING, keep_every),
        )
        for case in there
    ]


def _read(folder: Path, keep_every: int) -> tuple[Recorded, ...]:
    return tuple(_recorded(run.diagnosis, keep_every) for run in load_runs(folder))


def _recorded(diagnosis: Diagnosis, keep_every: int) -> Recorded:
    if keep_every > 1:
        diagnosis = diagnose(thin(diagnosis.signals.run, keep_every))
    compass = diagnosis.compass
    return Recorded(
        diagnosis.findings,
        None if compass is None else compass.run,
        diagnosis.signals.run.step.size,
    )
