"""``adam-debug compare``: how runs differ, which did better, and which value of a sweep won."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence

from tb_adam_plugin.commands.exit_codes import refuse
from tb_adam_plugin.commands.language import language, padded, spoken, width_of, wrapped
from tb_adam_plugin.commands.progress import Progress
from tb_adam_plugin.commands.run_names import LOGDIR_HELP, run_at, shown_name
from tb_adam_plugin.comparison import words
from tb_adam_plugin.comparison.compare import Comparison, compare
from tb_adam_plugin.languages.sentences import say
from tb_adam_plugin.run_data import Run
from tb_adam_plugin.serving.comparison_answers import comparison_fields

_TEXT_WIDTH = 100


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "compare",
        help=spoken(
            say("compare runs: settings, losses, sweeps, and the tensors that differ first")
        ),
        description=spoken(
            say(
                "Show which settings differ, which run did better beyond noise and from which "
                "step on, which value of a sweep won, and in which tensors statistics differ first."
            )
        ),
        epilog=spoken(
            say(
                "Exit codes: 0 done; 2 the folder cannot be read, or a RUN is unknown or ambiguous."
            )
        ),
    )
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="*",
        help=spoken(
            say(
                "a run's name as printed by diagnose, its last part, or the run's folder; default: "
                "all runs below LOGDIR"
            )
        ),
    )
    parser.add_argument("--logdir", metavar="LOGDIR", help=spoken(LOGDIR_HELP))
    parser.add_argument(
        "--json", action="store_true", help=spoken(say("print JSON; default: text"))
    )
    parser.set_defaults(command=compare_runs)


def compare_runs(runs: Sequence[Run], options: argparse.Namespace) -> int:
    """Print a comparison, and return the exit code."""
    named = {shown_name(run, options.logdir): run for run in runs}
    chosen: dict[str, Run] = {}
    for wanted in options.runs or named:
        fits = _fitting(wanted, runs, named, options.logdir)
        if not fits:
            return refuse(say("no run {run}; runs: {names}", run=wanted, names=", ".join(named)))
        if len(fits) > 1:
            return refuse(
                say(
                    "{run} is ambiguous, it matches {names}: give the full name",
                    run=wanted,
                    names=", ".join(fits),
                )
            )
        chosen[fits[0]] = named[fits[0]]
    if len(chosen) < 2:
        return refuse(say("comparing needs at least two runs, found one"))
    with Progress().on(say("comparing {count} runs …", count=len(chosen))):
        found = compare({name: run.recorded for name, run in chosen.items()})
    if options.json:
        print(json.dumps(comparison_fields(found, language()), indent=2, allow_nan=False))
    else:
        _print(found)
    return 0


def _fitting(wanted: str, runs: Sequence[Run], named: Mapping[str, Run], logdir: str) -> list[str]:
    """Return the runs that a user may mean: by name, by the end of the name, or by folder."""
    if wanted in named:
        return [wanted]
    fits = [name for name in named if name.endswith(f"/{wanted.strip('/')}")]
    run = None if fits else run_at(wanted, runs, logdir)
    return fits if run is None else [shown_name(run, logdir)]


def _print(found: Comparison) -> None:
    _print_losses(found)
    _print_settings(found)
    if found.sweep is not None:
        _print_wrapped(words.about_sweep(found.sweep), "")
        print()
    for pair in found.pairs:
        text = words.verdict(pair, found)
        _print_wrapped(text or say("{best} and {other}", best=pair.best, other=pair.other), "")
        if pair.parted:
            _print_wrapped(words.about_partings(pair), "  ")
        if pair.partings:
            print(f"  {spoken(say('statistics differ first at:'))}")
        for parting in pair.partings:
            _print_wrapped(words.about_parting(parting, pair), "    ")

    rest = next((pair for pair in found.pairs if not pair.parted), None)
    if rest is not None:
        _print_wrapped(words.about_partings(rest), "")


def _print_losses(found: Comparison) -> None:
    is_common = any(
        loss.common != loss.final for loss in found.losses if loss.common == loss.common
    )
    common = [say("loss up to step {step}", step=f"{found.common_end:,.0f}")] if is_common else []
    table: list[list[str]] = [[say("run"), say("last step"), say("final loss"), *common]]
    for loss in sorted(found.losses, key=lambda loss: (loss.common != loss.common, loss.common)):
        up_to = [words.shown_loss(loss.common)] if is_common else []
        shown = [loss.run, f"{loss.last_step:,.0f}", words.shown_loss(loss.final)]
        table.append([*shown, *up_to, words.about_loss(loss)])
    _print_table(table)
    _print_wrapped(words.about_losses(found), "")
    print()


def _print_settings(found: Comparison) -> None:
    if not found.settings:
        print(spoken(say("No recorded setting differs.")) + "\n")
        return
    print(spoken(say("Settings that differ:")))
    by_run = [
        [say("run"), *(setting.label for setting in found.settings)],
        *([run, *(s.values[i] for s in found.settings)] for i, run in enumerate(found.runs)),
    ]
    by_setting = [[*row] for row in zip(*by_run, strict=True)]
    fitting = [table for table in (by_setting, by_run) if sum(_widths(table)) <= _TEXT_WIDTH]
    if fitting:
        _print_table(fitting[0])
    else:
        for setting in found.settings:
            print(f"  {spoken(setting.label)}")
            _print_table([[f"  {r}", v] for r, v in zip(found.runs, setting.values, strict=True)])
    print()


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    columns = max(map(len, rows))
    return [
        2 + max(width_of(spoken(row[column])) for row in rows if column < len(row))
        for column in range(columns)
    ]


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = _widths(rows)
    for row in rows:
        cells = (padded(spoken(cell), width) for cell, width in zip(row, widths, strict=False))
        print(f"  {''.join(cells)}".rstrip())


def _print_wrapped(text: str, indent: str) -> None:
    for line in wrapped(spoken(text), _TEXT_WIDTH - len(indent), "  "):
        print(indent + line)
