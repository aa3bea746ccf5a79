"""The tables, as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from faults.tasks.task import Half
from faults.verdict import confusion
from faults.verdict.compass_table import compass_rows
from faults.verdict.diagnosed_runs import UNHARMED, DiagnosedRun
from faults.verdict.replay import Replay


def report(half: Half, runs: Sequence[DiagnosedRun], replays: Sequence[Replay] | None) -> str:
    """Write the report.

    Args:
        half: Half of the laboratory.
        runs: All diagnosed runs.
        replays: The effect of following the advice; None if it was not followed.
    """
    parts = [
        f"## The {half} half\n",
        _summary(runs),
        "### By fault\n",
        _fault_table(runs),
        "### By rule\n",
        _rule_table(runs),
        "### Healthy runs with an alarm\n",
        listed(described(run) for run in confusion.false_alarms(runs)),
        "### Harmed runs that were not named first\n",
        listed(described(run) for run in confusion.missed(runs)),
    ]
    parts += ["### The compass\n", _compass_table(runs)]
    if replays is not None:
        parts += ["### What following the advice did\n", _replay_table(replays)]
    return "\n".join(parts)


def _summary(runs: Sequence[DiagnosedRun]) -> str:
    totals = confusion.totals(runs)
    healthy = confusion.healthy_runs(runs)
    fast = [run for run in healthy if not run.is_harmed]
    alarmed_fast = confusion.Share(len(confusion.false_alarms(fast)), len(fast))
    early = sum(bool(run.early_alarms) for run in confusion.faulty_runs(runs))
    return (
        f"{len(confusion.faulty_runs(runs))} runs with a fault, {len(healthy)} healthy ones; "
        f"{len(confusion.mild_runs(runs))} with a mild one that is in the table by fault alone. Of "
        f"the faults that harmed and for which a rule raises an alarm, {_percent(totals.named)} "
        f"were named ({totals.named_by_alarm} with an alarm, the others with a question) and "
        f"{_percent(totals.first)} named first. {_percent(totals.false_alarms)} of the healthy "
        f"runs raised an alarm ({alarmed_fast} of those with P of at least {UNHARMED}). In {early} "
        "runs an alarm was over before the fault was there.\n"
    )


def _fault_table(runs: Sequence[DiagnosedRun]) -> str:
    lines = [
        "| fault | runs | harmed | named | of the harmed | first of these | steps | also alarmed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in confusion.fault_rows(runs):
        steps = "" if row.steps_until_named is None else f"{row.steps_until_named:.0f}"
        others = ", ".join(f"{rule} {count}" for rule, count in row.others)
        lines.append(
            f"| {row.kind} | {row.runs} | {row.harmed} | {row.named} | {row.named_when_harmed} | "
            f"{row.first_when_harmed} | {steps} | {others} |"
        )
    return "\n".join(lines) + "\n"


def _rule_table(runs: Sequence[DiagnosedRun]) -> str:
    lines = [
        "| rule | severity | harmed runs named | with an alarm | first | alarms in healthy runs | "
        "questions in healthy runs |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.rule} | {', '.join(row.severities)} | {row.named} | "
        f"{row.named_by_alarm} | {row.first} | {row.false_alarms} | {row.questions} |"
        for row in confusion.rule_rows(runs)
    ]
    return "\n".join(lines) + "\n"


def _compass_table(runs: Sequence[DiagnosedRun]) -> str:
    lines = [
        "| optimizer | learning rate | runs | cosine: median [10 %, 90 %] | read | within √10 |",
        "|---|---|---|---|---|---|",
    ]
    for row in compass_rows(runs):
        low, middle, high = (f"{value:.2f}" for value in row.cosine)
        lines.append(
            f"| {row.optimizer} | {row.factor:g}× | {row.runs} | {middle} [{low}, {high}] | "
            f"{row.told} | {row.near} |"
        )
    return "\n".join(lines) + "\n"


def _replay_table(replays: Sequence[Replay]) -> str:
    if not replays:
        return "No finding named a value.\n"
    counts: dict[str, Counter[str]] = {}
    for replay in replays:
        healthy = not replay.run.rules
        what = f"{replay.finding.rule}{', healthy run' if healthy else ''}"
        counts.setdefault(what, Counter())[replay.verdict] += 1
    lines = ["| advice of | improved | same | worse |", "|---|---|---|---|"]
    for what, verdicts in sorted(counts.items()):
        numbers = (str(verdicts[v]) for v in ("improved", "same", "worse"))
        lines.append(f"| {what} | {' | '.join(numbers)} |")
    lines += ["", "| run | advice | P before | P after |", "|---|---|---|---|"]
    lines += [
        f"| {r.run.case.name} | {r.finding.rule}: {r.field} {r.value:g} | {r.run.progress:.2f} | "
        f"{r.progress:.2f} |"
        for r in replays
    ]
    return "\n".join(lines) + "\n"


def described(run: DiagnosedRun) -> str:
    """Return a run and its findings, in a line."""
    found = ", ".join(f"{f.rule} ({f.severity})" for f in run.findings) or "nothing"
    return f"`{run.case.name}`, P {run.progress:.2f}: {found}"


def listed(items: Iterable[str]) -> str:
    """Return a list, or "None."."""
    return ("\n".join(f"- {item}" for item in items) or "None.") + "\n"


def _percent(share: confusion.Share) -> str:
    return f"{share} ({100 * share.count / share.total:.1f} %)" if share.total else str(share)
