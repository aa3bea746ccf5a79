"""The same runs recorded in two ways: findings in one and not in the other."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from faults.verdict import confusion
from faults.verdict.compass_table import count_needles
from faults.verdict.confusion import ALARMING, Share
from faults.verdict.diagnosed_runs import DiagnosedRun

# Rules that read a setting, a count, or something that holds at every step: their findings do not
# depend on the amount of recorded statistics, so a few records suffice.
EXACT = frozenset(
    (
        "lr_jump", "lr_decayed_early", "beta1_too_high", "eps_rounds_to_zero", "nonfinite",
        "not_in_optimizer", "frozen", "no_gradient", "state_reset", "state_type_changed",
        "step_not_counted", "stale_gradient",
    )
)  # fmt: skip

Runs = Sequence[DiagnosedRun]


def side_by_side(columns: Mapping[str, Runs]) -> str:
    """Return the table of several sets of runs.

    Args:
        columns: The runs by the title of their column.
    """
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for title, count in _ROWS:
        lines.append(f"| {title} | {' | '.join(count(runs) for runs in columns.values())} |")
    return "\n".join(lines) + "\n"


def differences(first: Runs, second: Runs) -> list[str]:
    """Return a line for each run in which the ways to record make a significant difference.

    Args:
        first: Runs recorded in one way.
        second: The same runs, recorded in another way.
    """
    lines = []
    others = {run.case.name: run for run in second}
    for run in first:
        other = others.get(run.case.name)
        if other is not None and _verdict(run) != _verdict(other):
            lines.append(
                f"`{run.case.name}`, P {run.progress:.2f}: {_verdict(run)} against "
                f"{_verdict(other)}; {_findings(run)} against {_findings(other)}"
            )
    return lines


def common(first: Runs, second: Runs) -> tuple[Runs, Runs]:
    """Return the runs that both have."""
    names = {run.case.name for run in first} & {run.case.name for run in second}
    return (
        [run for run in first if run.case.name in names],
        [run for run in second if run.case.name in names],
    )


def _verdict(run: DiagnosedRun) -> str:
    if not run.rules:
        alarms = sorted({finding.rule for finding in run.alarms})
        return f"alarm ({', '.join(alarms)})" if alarms else "quiet"
    if run.rank is None:
        return "not named"
    how = "an alarm" if run.is_named_by_alarm else "a question"
    return f"named by {how}{', first' if run.rank == 1 else ''}"


def _findings(run: DiagnosedRun) -> str:
    return ", ".join(f"{f.rule} ({f.severity})" for f in run.findings) or "nothing"


# --- the rows -------------------------------------------------------------------------------------


def _percent(share: Share) -> str:
    return f"{share} ({100 * share.count / share.total:.1f} %)" if share.total else "0/0"


def _named(runs: Runs) -> Share:
    return Share(sum(run.rank is not None for run in runs), len(runs))


def _with_threshold(runs: Runs) -> Runs:
    return [run for run in confusion.claimed_and_harmed(runs) if not set(run.rules) & EXACT]


def _questions(runs: Runs) -> Runs:
    harmed = [run for run in confusion.faulty_runs(runs) if run.is_harmed and run.rules]
    return [run for run in harmed if not set(run.rules) & ALARMING]


def _healthy(runs: Runs, constant: bool | None = None) -> Runs:
    return [
        run
        for run in confusion.healthy_runs(runs)
        if constant is None or (run.case.settings.schedule == "constant") == constant
    ]


def _needles(runs: Runs) -> str:
    count = count_needles(runs)
    if not runs:
        return "0/0"
    return (
        f"{_percent(count.near_or_silent)}: {count.near} near, {count.silent} silent, "
        f"{count.too_low} low, {count.too_high} high"
    )


def _records(runs: Runs) -> str:
    counts = sorted(run.records for run in runs)
    return f"{counts[0]}, {statistics.median(counts):.0f}, {counts[-1]}" if counts else ""


_ROWS: tuple[tuple[str, Callable[[Runs], str]], ...] = (
    ("runs: faulty, mild, healthy", lambda r: (
        f"{len(confusion.faulty_runs(r))}, {len(confusion.mild_runs(r))}, {len(_healthy(r))}"
    )),
    ("records: least, median, most", _records),
    ("harmful faults named", lambda r: _percent(confusion.totals(r).named)),
    ("with an alarm", lambda r: _percent(confusion.totals(r).named_by_alarm)),
    ("named first", lambda r: _percent(confusion.totals(r).first)),
    ("of those with a threshold named", lambda r: _percent(_named(_with_threshold(r)))),
    ("faults that are asked about, named", lambda r: _percent(_named(_questions(r)))),
    ("healthy runs with an alarm", lambda r: _percent(confusion.totals(r).false_alarms)),
    ("compass near or silent, healthy runs", lambda r: _needles(_healthy(r))),
    ("with a constant learning rate", lambda r: _needles(_healthy(r, True))),
    ("with a schedule", lambda r: _needles(_healthy(r, False))),
)  # fmt: skip
