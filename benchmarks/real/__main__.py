"""Train missing runs with the default settings, and print their diagnosis.

    PYTHONPATH=benchmarks python -m real --half tuning --train
    PYTHONPATH=benchmarks python -m real --only language_model/ --train --nice 19
    PYTHONPATH=benchmarks python -m real --write results.md

Every run is trained in a separate process and kept in ``--cache``: existing ones are not trained
again, and an interrupted run leaves nothing.
"""

from __future__ import annotations

import argparse
import functools
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from real.recipe.settings import HALVES
from real.recordings.cases import Case, all_cases, case_named
from real.recordings.keeping import Advised, record
from real.recordings.queue import Queue
from real.verdict.judged import judge
from real.verdict.replay import replay_advice, replay_table
from real.verdict.tables import report, side_by_side

_say = functools.partial(print, file=sys.stderr, flush=True)


def main() -> int:
    """Read the options, and run."""
    options = _options()
    # A requested exit unwinds, so nothing of an unfinished run is left.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.one:
        return _train_one(options)
    cases = [
        case
        for case in all_cases()
        if case.half in (options.half or HALVES)
        and (not options.only or any(part in case.name for part in options.only))
    ]
    if not cases:
        print("no run has that in its name; --list names them", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(case.name for case in cases))
        return 0
    queue = Queue(options.cache, options.jobs, options.nice, _say)
    if not options.no_training and queue.train_missing(cases):
        return 1
    if options.train:
        return 0
    text = _report(cases, queue, options)
    print(text)
    if options.write is not None:
        options.write.write_text(text, encoding="utf-8")
    return 0


def _report(cases: Sequence[Case], queue: Queue, options: argparse.Namespace) -> str:
    if options.keep_every:
        return side_by_side(
            {f"1 record of {n}": judge(cases, options.cache, n) for n in options.keep_every}
        )
    runs = judge(cases, options.cache)
    text = report(runs)
    if options.replay:
        text += "\n" + replay_table(replay_advice(runs, queue))
    return text


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--half", choices=HALVES, action="append", help="default: both")
    parser.add_argument(
        "--only", action="append", help="only runs whose name has this in it; several are added up"
    )
    parser.add_argument("--list", action="store_true", help="say which runs there are, and end")
    parser.add_argument("--train", action="store_true", help="train what is missing, and end")
    parser.add_argument("--no-training", action="store_true", help="judge what is there")
    parser.add_argument(
        "--replay", action="store_true", help="train harmed runs again with what is advised"
    )
    parser.add_argument(
        "--keep-every",
        type=int,
        action="append",
        metavar="N",
        help="as if the interval between records had been N times longer; several side by side",
    )
    parser.add_argument("--write", type=Path, help="also write the report to this file")
    parser.add_argument("--jobs", type=int, default=1, help="runs that are trained at a time")
    parser.add_argument("--nice", type=int, default=0, help="niceness of these processes")
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir(), "adam_debug_real")
    )
    parser.add_argument("--one", metavar="NAME", help="train this run here, whatever is there")
    parser.add_argument("--with", metavar="FIELD=VALUE", help="with this setting, for --one")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    return options


def _train_one(options: argparse.Namespace) -> int:
    os.nice(options.nice)
    torch.set_num_threads(1)
    change = getattr(options, "with")
    advised = Advised.parse(change) if change else None
    outcome = record(case_named(options.one), options.cache, advised)
    print(f"{options.one}: {outcome.before:.4f} -> {outcome.after:.4f}, {outcome.seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
