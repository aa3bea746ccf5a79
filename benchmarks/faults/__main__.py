"""Train what is missing, diagnose it, and print how often the diagnosis is right.

    PYTHONPATH=benchmarks python -m faults --half tuning
    PYTHONPATH=benchmarks python -m faults --half reporting --replay --write results.md
    PYTHONPATH=benchmarks python -m faults --compare

An interrupted run continues where it ended: every recording is kept in ``--cache``.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from faults.runs.cases import HALVES, Case, cases_of
from faults.runs.ways_to_record import WAYS, Way, interval_of
from faults.tasks.task import Half
from faults.verdict.confusion import false_alarms
from faults.verdict.diagnosed_runs import DiagnosedRun, best_losses, diagnose_run
from faults.verdict.recordings import Wanted, record_missing, wanted_runs
from faults.verdict.replay import replay_advice
from faults.verdict.report import described, listed, report
from faults.verdict.side_by_side import common, differences, side_by_side

_say = functools.partial(print, file=sys.stderr, flush=True)


def main() -> None:
    """Read the options, and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--half", choices=HALVES, action="append", help="default: both")
    parser.add_argument(
        "--recorded",
        choices=WAYS,
        default=WAYS[0],
        help="as users do, with total_steps alone (default), or at every 5th step",
    )
    parser.add_argument(
        "--only", default="", help="only cases whose name, task/what/seed, has this in it"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes that train")
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir(), "adam_debug_faults")
    )
    parser.add_argument(
        "--no-training",
        action="store_true",
        help="only runs that are there, whatever code recorded them",
    )
    parser.add_argument("--train", action="store_true", help="train what is missing, and end")
    parser.add_argument("--list", action="store_true", help="say which runs there are, and end")
    parser.add_argument("--replay", action="store_true", help="train again with what is advised")
    parser.add_argument("--findings", action="store_true", help="print what is found in every run")
    parser.add_argument(
        "--compare", action="store_true", help="the ways to record side by side, nothing else"
    )
    parser.add_argument(
        "--keep-every",
        type=int,
        action="append",
        metavar="N",
        help="as if the interval between records had been N times longer; several side by side",
    )
    parser.add_argument("--write", type=Path, help="also write the report to this file")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    if any(n < 1 for n in options.keep_every or ()):
        parser.error("--keep-every must be at least 1")

    halves: list[Half] = options.half or list(HALVES)
    cases = {half: [c for c in cases_of(half) if options.only in c.name] for half in halves}
    for half, found in cases.items():
        if not found:
            parser.error(f"no case of the {half} half has {options.only!r} in its name")
    if options.list:
        print("\n".join(case.name for found in cases.values() for case in found))
        return
    if options.train:
        for found in cases.values():
            way: Way = "default" if options.compare else options.recorded
            record_missing(wanted_runs(found, options.cache, way), options.jobs, _say)
            if options.compare:
                missing = wanted_runs(_with_gaps(found), options.cache, "every-5")
                record_missing(missing, options.jobs, _say)
        return
    if options.compare or options.keep_every:
        text = _compare(cases, options) if options.compare else _thinned(cases, options)
        print(text)
    else:
        texts = [_report(half, found, options) for half, found in cases.items()]
        text = "\n".join(texts)
    if options.write is not None:
        options.write.write_text(text, encoding="utf-8")


def _report(half: Half, cases: list[Case], options: argparse.Namespace) -> str:
    runs = _diagnosed(_recorded(cases, options.recorded, options))
    if options.findings:
        _print_findings(runs)
    replayed = (
        replay_advice(runs, options.cache, options.recorded, options.jobs, _say)
        if options.replay
        else None
    )
    text = report(half, runs, replayed)
    print(text)
    return text


def _compare(cases: dict[Half, list[Case]], options: argparse.Namespace) -> str:
    columns: dict[str, Sequence[DiagnosedRun]] = {}
    both: dict[Way, list[DiagnosedRun]] = {way: [] for way in WAYS}
    parts = []
    for half, found in cases.items():
        by_default = _recorded(found, "default", options)
        with_gaps = {case.name for case in _with_gaps(found)}
        dense = [run for run in by_default if run.case.name not in with_gaps]
        others = _recorded(_with_gaps(found), "every-5", options)
        # Both train alike, so harm in one is harm in the other.
        best = best_losses([*by_default, *others])
        default, every_5 = common(
            _diagnosed(by_default, best), [*_diagnosed(dense, best, 5), *_diagnosed(others, best)]
        )
        for way, diagnosed in zip(WAYS, (default, every_5), strict=True):
            columns[f"{half}, {way}"] = diagnosed
            both[way] += diagnosed
        parts.append(f"### The {half} half: healthy runs with an alarm, {WAYS[0]}\n")
        parts.append(listed(described(run) for run in false_alarms(default)))
        parts.append(f"### The {half} half: {WAYS[0]} against {WAYS[1]}\n")
        parts.append(listed(differences(default, every_5)))
    if len(cases) > 1:
        columns |= {f"both, {way}": runs for way, runs in both.items()}
    return "\n".join([side_by_side(columns), *parts])


def _with_gaps(cases: list[Case]) -> list[Case]:
    """Return the cases for which not every step is recorded by default.

    For the others, every fifth step is among the recorded ones, and needs no training.
    """
    return [case for case in cases if interval_of("default", case.settings.steps) > 1]


def _thinned(cases: dict[Half, list[Case]], options: argparse.Namespace) -> str:
    runs = [run for found in cases.values() for run in _recorded(found, options.recorded, options)]
    best = best_losses(runs)
    columns = {f"1 record of {n}": _diagnosed(runs, best, n) for n in options.keep_every}
    return side_by_side(columns)


def _recorded(cases: list[Case], way: Way, options: argparse.Namespace) -> list[Wanted]:
    runs = wanted_runs(cases, options.cache, way)
    if not options.no_training:
        failed = record_missing(runs, options.jobs, _say)
        return [run for run in runs if run.case.name not in failed]
    runs = [run for run in runs if run.is_trained]
    old = sum(not run.is_recorded for run in runs)
    if old:
        _say(f"{old} of {len(runs)} runs, {way}, were recorded by other code")
    return runs


def _diagnosed(
    runs: list[Wanted], best: Mapping[str, float] | None = None, keep_every: int = 1
) -> list[DiagnosedRun]:
    best = best or best_losses(runs)
    return [diagnose_run(run, best[run.case.task.name], keep_every) for run in runs]


def _print_findings(runs: list[DiagnosedRun]) -> None:
    for run in runs:
        print(f"{run.case.name}: P {run.progress:.2f}, rank {run.rank or '-'}")
        for finding in run.findings:
            print(f"  {finding.severity} {finding.rule} from step {finding.first_step:.0f}")


if __name__ == "__main__":
    main()
