"""``adam-debug export``: recorded statistics as a file."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tb_adam_plugin.commands.exit_codes import refuse
from tb_adam_plugin.commands.language import spoken
from tb_adam_plugin.commands.run_names import LOGDIR_HELP, shown_name
from tb_adam_plugin.languages.sentences import reason_of, say
from tb_adam_plugin.run_data import Run
from tb_adam_plugin.untrusted_text import cell_text, printable


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "export",
        help=spoken(say("write recorded statistics to a file")),
        description=spoken(say("Write every statistic of every run below LOGDIR to one file.")),
        epilog=spoken(
            say("Exit codes: 0 done; 2 the folder cannot be read or the file cannot be written.")
        ),
    )
    parser.add_argument("logdir", metavar="LOGDIR", nargs="?", help=spoken(LOGDIR_HELP))
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument(
        "--csv",
        metavar="OUT",
        help=spoken(say("one row for each run, step and parameter, all statistics")),
    )
    form.add_argument(
        "--npz",
        metavar="OUT",
        help=spoken(say("arrays RUN/step, RUN/parameters and RUN/STATISTIC [steps, parameters]")),
    )
    parser.set_defaults(command=export)


def export(runs: Sequence[Run], options: argparse.Namespace) -> int:
    """Write the requested file, and return the exit code."""
    try:
        if options.csv is not None:
            _write_csv(Path(options.csv), runs, options.logdir)
        else:
            _write_npz(Path(options.npz), runs)
    except OSError as error:
        return refuse(reason_of(error))
    return 0


def _write_csv(path: Path, runs: Sequence[Run], logdir: str) -> None:
    names = list(dict.fromkeys(name for run in runs for name in run.statistics))
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "step", "parameter", *map(cell_text, names)])
        for run in runs:
            shown = cell_text(shown_name(run, logdir))
            known = {name: run.statistic(name) for name in run.statistics}
            for record, step in enumerate(run.steps.tolist()):
                for column, parameter in enumerate(run.parameters):
                    cells = [
                        _cell(float(known[name][record, column])) if name in known else ""
                        for name in names
                    ]
                    writer.writerow([shown, step, cell_text(parameter.name), *cells])


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.8g}"


def _write_npz(path: Path, runs: Sequence[Run]) -> None:
    arrays: dict[str, Any] = {}
    for run in runs:
        folder = printable(run.name)
        arrays[f"{folder}/step"] = run.steps
        arrays[f"{folder}/parameters"] = np.array([p.name for p in run.parameters])
        for name in run.statistics:
            arrays[f"{folder}/{printable(name)}"] = run.statistic(name)
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
