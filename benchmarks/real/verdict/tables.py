"""The tables, as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from faults.verdict.confusion import Share
from faults.verdict.report import listed

from real.verdict.judged import JudgedRun, Recorded

Runs = Sequence[JudgedRun]


def report(runs: Runs) -> str:
    """Report the outcomes and findings of some runs."""
    columns: dict[str, Runs] = {
        half: [run for run in runs if run.case.half == half] for half in ("tuning", "reporting")
    }
    columns["both"] = runs
    parts = [
        "## Summary\n",
        side_by_side(columns),
        "## By family\n",
        _by("family", runs, lambda run: run.case.family.name),
        "## By kind of fault\n",
        _by("fault", [r for r in runs if r.case.kind.is_fault], lambda run: run.case.kind.name),
        "## Kinds of healthy training with an alarm\n",
        listed(_alarmed_kinds(runs)),
        "## Every run\n",
        every_run(runs),
    ]
    return "\n".join(parts)


def side_by_side(columns: Mapping[str, Runs]) -> str:
    """Return the counts of several sets of runs, by the title of their column."""
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for title, count in _ROWS:
        lines.append(f"| {title} | {' | '.join(count(runs) for runs in columns.values())} |")
    return "\n".join(lines) + "\n"


def every_run(runs: Runs) -> str:
    """Return a line for each run: the harm, whether it was named, and all findings."""
    lines = [
        "| run | after | harm | counts from | named | compass | records | findings |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        compass = "; ".join(_compass(recorded) for recorded in run.recorded)
        records = ", ".join(str(recorded.records) for recorded in run.recorded)
        found = "; ".join(_findings(recorded) for recorded in run.recorded)
        lines.append(
            f"| {run.case.name} | {run.outcome.after:.3f} | {run.harm:+.3f} | {run.least_harm:.3f} "
            f"| {verdict_of(run)} | {compass} | {records} | {found} |"
        )
    return "\n".join(lines) + "\n"


def verdict_of(run: JudgedRun) -> str:
    """Describe in a word what the rules did with a run."""
    if run.is_healthy:
        return "ALARM" if run.alarms else "quiet"
    harmed = "" if run.is_harmed else "no harm, "
    if run.rank is None:
        return f"{harmed}not named" if not run.is_harmed else "NOT NAMED"
    how = "" if run.is_named_by_alarm else " as a question"
    return f"{harmed}{'first' if run.rank == 1 else f'place {run.rank}'}{how}"


def _compass(recorded: Recorded) -> str:
    text = "none" if recorded.reading is None else recorded.reading.full_text
    return f"{text} (at odds)" if recorded.is_at_odds else text


def _findings(recorded: Recorded) -> str:
    return (
        ", ".join(
            f"{f.rule}{'?' if f.severity == 'info' else ''} {f.first_step:.0f}-{f.last_step:.0f}"
            for f in recorded.findings
        )
        or "nothing"
    )


def _by(title: str, runs: Runs, key: Callable[[JudgedRun], str]) -> str:
    groups: dict[str, list[JudgedRun]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    lines = [
        f"| {title} | runs | harmed | named | first | healthy with an alarm | questions | "
        "compass right |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, members in groups.items():
        counted, healthy = _counted(members), _healthy(members)
        lines.append(
            f"| {name} | {len(members)} | {len(counted)} | {_named(counted)} | {_first(counted)} | "
            f"{Share(sum(bool(r.alarms) for r in healthy), len(healthy))} | "
            f"{_questions(members)} | {_right(members)} |"
        )
    return "\n".join(lines) + "\n"


def _alarmed_kinds(runs: Runs) -> Iterable[str]:
    groups: dict[str, list[JudgedRun]] = {}
    for run in _healthy(runs):
        groups.setdefault(f"{run.case.family.name}, {run.case.kind.name}", []).append(run)
    for name, members in groups.items():
        alarmed = [run for run in members if run.alarms]
        if alarmed:
            rules = sorted({alarm.rule for run in alarmed for alarm in run.alarms})
            yield f"{name}: {len(alarmed)} of {len(members)}: {', '.join(rules)}"


def _counted(runs: Runs) -> Runs:
    return [run for run in runs if run.is_counted]


def _healthy(runs: Runs) -> Runs:
    return [run for run in runs if run.is_healthy]


def _named(runs: Runs) -> Share:
    return Share(sum(run.rank is not None for run in runs), len(runs))


def _by_alarm(runs: Runs) -> Share:
    return Share(sum(run.is_named_by_alarm for run in runs), len(runs))


def _first(runs: Runs) -> Share:
    return Share(sum(run.rank == 1 for run in runs), len(runs))


def _questions(runs: Runs) -> str:
    healthy = _healthy(runs)
    return f"{sum(run.questions for run in healthy) / len(healthy):.2f}" if healthy else ""


def _right(runs: Runs) -> Share:
    told = [run.is_compass_right for run in runs if run.is_compass_right is not None]
    return Share(sum(told), len(told))


def _percent(share: Share) -> str:
    return f"{share} ({100 * share.count / share.total:.1f} %)" if share.total else "0/0"


def _alarmed(runs: Runs) -> str:
    healthy = _healthy(runs)
    return _percent(Share(sum(bool(run.alarms) for run in healthy), len(healthy)))


def _kinds_above_a_tenth(runs: Runs) -> str:
    groups: dict[tuple[str, str], list[JudgedRun]] = {}
    for run in _healthy(runs):
        groups.setdefault((run.case.family.name, run.case.kind.name), []).append(run)
    above = sum(
        10 * sum(bool(run.alarms) for run in members) > len(members) for members in groups.values()
    )
    return str(Share(above, len(groups)))


def _records(runs: Runs) -> str:
    counts = sorted(recorded.records for run in runs for recorded in run.recorded)
    return f"{counts[0]}, {statistics.median(counts):.0f}, {counts[-1]}" if counts else ""


_ROWS: tuple[tuple[str, Callable[[Runs], str]], ...] = (
    ("runs: with a fault, healthy", lambda r: (
        f"{sum(run.case.kind.is_fault for run in r)}, {len(_healthy(r))}"
    )),
    ("records: least, median, most", _records),
    ("faults that did harm, named", lambda r: _percent(_named(_counted(r)))),
    ("with an alarm", lambda r: _percent(_by_alarm(_counted(r)))),
    ("named first", lambda r: _percent(_first(_counted(r)))),
    ("healthy runs with an alarm", _alarmed),
    ("healthy kinds with an alarm in more than a tenth of their runs", _kinds_above_a_tenth),
    ("questions a healthy run", _questions),
    ("compass within half a decade or silent", lambda r: _percent(_right(r))),
    ("silent, of all", lambda r: _percent(Share(sum(x.is_compass_silent for x in r), len(r)))),
    ("compass at odds with a finding", lambda r: _percent(
        Share(sum(run.is_at_odds for run in r), len(r))
    )),
)  # fmt: skip
