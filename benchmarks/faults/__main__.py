"""Train what is missing, diagnose it, and print how often the diagnosis is right.

    PYTHONPATH=benchmarks python -m faults --half tuning
    PYTHONPATH=benchmarks python -m faults --half reporting --replay --write results.md

An interrupted run is taken up where it ended: every recording is kept in ``--cache``.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
from pathlib import Path

from .cases import HALVES, Case, cases_of
from .diagnosed_runs import DiagnosedRun, best_losses, diagnose_run
from .recordings import record_missing, wanted_runs
from .replay import replay_advice
from .report import report

_say = functools.partial(print, file=sys.stderr, flush=True)


def main() -> None:
    """Read the options, and do it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--half", choices=HALVES, action="append", help="default: both")
    parser.add_argument(
        "--only", default="", help="only cases whose name, task/what/seed, has this in it"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes that train")
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir(), "adam_debug_faults")
    )
    parser.add_argument("--recorded", action="store_true", help="only runs that are recorded")
    parser.add_argument("--train", action="store_true", help="train what is missing, and end")
    parser.add_argument("--list", action="store_true", help="say which runs there are, and end")
    parser.add_argument("--replay", action="store_true", help="train again with what is advised")
    parser.add_argument("--findings", action="store_true", help="print what is found in every run")
    parser.add_argument("--write", type=Path, help="also write the report to this file")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")

    texts = []
    for half in options.half or HALVES:
        cases = [case for case in cases_of(half) if options.only in case.name]
        if options.list:
            print("\n".join(case.name for case in cases))
            continue
        if not cases:
            parser.error(f"no case of the {half} half has {options.only!r} in its name")
        if options.train:
            record_missing(wanted_runs(cases, options.cache), options.jobs, _say)
            continue
        runs = _train_and_diagnose(cases, options)
        if options.findings:
            _print_findings(runs)
        replayed = (
            replay_advice(runs, options.cache, options.jobs, _say) if options.replay else None
        )
        texts.append(report(half, runs, replayed))
        print(texts[-1])
    if options.write is not None:
        options.write.write_text("\n".join(texts), encoding="utf-8")


def _train_and_diagnose(cases: list[Case], options: argparse.Namespace) -> list[DiagnosedRun]:
    runs = wanted_runs(cases, options.cache)
    if options.recorded:
        runs = [run for run in runs if run.is_recorded]
    failed = record_missing(runs, options.jobs, _say)
    recorded = [run for run in runs if run.case.name not in failed]
    best = best_losses(recorded)
    return [diagnose_run(run, best[run.case.task.name]) for run in recorded]


def _print_findings(runs: list[DiagnosedRun]) -> None:
    for run in runs:
        print(f"{run.case.name}: P {run.progress:.2f}, rank {run.rank or '-'}")
        for finding in run.findings:
            print(f"  {finding.severity} {finding.rule} from step {finding.first_step:.0f}")


if __name__ == "__main__":
    main()
