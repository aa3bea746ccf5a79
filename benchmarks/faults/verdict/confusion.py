"""Counts how often a fault is named, and how often a healthy run gets a finding."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from faults.runs.fault import Fault
from faults.verdict.diagnosed_runs import DiagnosedRun
from tb_adam_plugin.diagnosis.rules.registry import RULES

# Ids of the rules that can do more than ask.
ALARMING = {rule.id for rule in RULES if rule.severity != "info"}


@dataclass(frozen=True)
class Share:
    """A count and its total."""

    count: int
    total: int

    def __str__(self) -> str:
        """Format as "12/13"."""
        return f"{self.count}/{self.total}"


@dataclass(frozen=True)
class FaultRow:
    """The results of the runs with one kind of fault.

    Attributes:
        kind: Kind of fault.
        runs: Number of runs.
        harmed: Number of runs that trained worse because of it.
        named: Number of runs in which a right rule fired.
        named_when_harmed: The same among the harmed ones.
        first_when_harmed: Number of these in which it came first.
        steps_until_named: Median over the runs in which it was named; None without any.
        others: Other rules that raised an alarm, with the number of runs.
    """

    kind: str
    runs: int
    harmed: int
    named: Share
    named_when_harmed: Share
    first_when_harmed: Share
    steps_until_named: float | None
    others: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class RuleRow:
    """How well one rule did.

    Attributes:
        rule: Its id.
        severities: Severities of its findings, most frequent first.
        named: Among the harmed runs whose fault it names, those in which it or an equivalent rule
            fired.
        named_by_alarm: The same, with a warning or an error rather than a question.
        first: Those in which it came first.
        false_alarms: Healthy runs in which it raised an alarm.
        questions: Healthy runs in which it asked.
    """

    rule: str
    severities: tuple[str, ...]
    named: Share
    named_by_alarm: Share
    first: Share
    false_alarms: Share
    questions: Share


def fault_row(kind: str, runs: Sequence[DiagnosedRun]) -> FaultRow:
    """Count the runs with one kind of fault."""
    harmed = [run for run in runs if run.is_harmed]
    steps = [run.steps_until_named for run in runs if run.steps_until_named is not None]
    others = Counter(rule for run in runs for rule in {f.rule for f in run.alarms} - set(run.rules))
    return FaultRow(
        kind,
        len(runs),
        len(harmed),
        _named(runs),
        _named(harmed),
        _first(harmed),
        statistics.median(steps) if steps else None,
        tuple(others.most_common()),
    )


def fault_rows(runs: Iterable[DiagnosedRun]) -> list[FaultRow]:
    """Count the runs of each kind of fault, in the order of their first occurrence."""
    return [fault_row(kind, members) for kind, members in _by_kind(runs).items()]


def rule_rows(runs: Sequence[DiagnosedRun]) -> list[RuleRow]:
    """Count for each rule that names a fault, or that raised an alarm in a healthy run."""
    healthy = healthy_runs(runs)
    harmed = [run for run in faulty_runs(runs) if run.is_harmed]
    rules = dict.fromkeys(run.rules[0] for run in faulty_runs(runs) if run.rules)
    rules.update(dict.fromkeys(f.rule for run in healthy for f in run.alarms))
    rows = []
    for rule in rules:
        planted = [run for run in harmed if run.rules[:1] == (rule,)]
        alarmed = sum(any(f.rule == rule for f in run.alarms) for run in healthy)
        fired = sum(any(f.rule == rule for f in run.findings) for run in healthy)
        severities = Counter(f.severity for run in runs for f in run.findings if f.rule == rule)
        rows.append(
            RuleRow(
                rule,
                tuple(severity for severity, _ in severities.most_common()),
                _named(planted),
                _named_by_alarm(planted),
                _first(planted),
                Share(alarmed, len(healthy)),
                Share(fired - alarmed, len(healthy)),
            )
        )
    return rows


def healthy_runs(runs: Iterable[DiagnosedRun]) -> list[DiagnosedRun]:
    """Return the controls."""
    return [run for run in runs if not isinstance(run.case.planted, Fault)]


def faulty_runs(runs: Iterable[DiagnosedRun]) -> list[DiagnosedRun]:
    """Return the runs with a counted fault."""
    return [run for run in runs if isinstance(run.case.planted, Fault) and run.case.planted.counted]


def mild_runs(runs: Iterable[DiagnosedRun]) -> list[DiagnosedRun]:
    """Return the runs with a mild deviation, which has separate rows and is in no total."""
    return [
        run for run in runs if isinstance(run.case.planted, Fault) and not run.case.planted.counted
    ]


def claimed_and_harmed(runs: Iterable[DiagnosedRun]) -> list[DiagnosedRun]:
    """Return the runs harmed by a fault for which a rule raises an alarm."""
    return [run for run in faulty_runs(runs) if run.is_harmed and set(run.rules) & ALARMING]


def false_alarms(runs: Iterable[DiagnosedRun]) -> list[DiagnosedRun]:
    """Return the healthy runs with any warning or error."""
    return [run for run in healthy_runs(runs) if run.alarms]


def missed(runs: Iterable[DiagnosedRun]) -> list[DiagnosedRun]:
    """Return the harmed runs in which no right rule fired, or another came first.

    This includes runs whose rules only ask.
    """
    return [run for run in faulty_runs(runs) if run.rules and run.is_harmed and run.rank != 1]


@dataclass(frozen=True)
class Totals:
    """How well all rules did.

    Attributes:
        named: Harmful faults with an alarming rule that were named.
        named_by_alarm: Those named with a warning or an error rather than a question.
        first: Those whose rule came first.
        false_alarms: Healthy runs with an alarm.
    """

    named: Share
    named_by_alarm: Share
    first: Share
    false_alarms: Share


def totals(runs: Sequence[DiagnosedRun]) -> Totals:
    """Count over all runs."""
    harmed = claimed_and_harmed(runs)
    false = Share(len(false_alarms(runs)), len(healthy_runs(runs)))
    return Totals(_named(harmed), _named_by_alarm(harmed), _first(harmed), false)


def _named(runs: Sequence[DiagnosedRun]) -> Share:
    return Share(sum(run.rank is not None for run in runs), len(runs))


def _named_by_alarm(runs: Sequence[DiagnosedRun]) -> Share:
    return Share(sum(run.is_named_by_alarm for run in runs), len(runs))


def _first(runs: Sequence[DiagnosedRun]) -> Share:
    return Share(sum(run.rank == 1 for run in runs), len(runs))


def _by_kind(runs: Iterable[DiagnosedRun]) -> dict[str, list[DiagnosedRun]]:
    kinds: dict[str, list[DiagnosedRun]] = {}
    for run in runs:
        if isinstance(run.case.planted, Fault):
            kinds.setdefault(run.case.planted.kind, []).append(run)
    return kinds
