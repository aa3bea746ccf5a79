"""The command ``adam-debug``.

Exit codes: 0 if all went well; 1 if ``--fail-on`` was given and a run has a finding of that
severity or a worse one; 2 if the command was not understood or the folder cannot be read.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import importlib
import io
import json
import math
import sys
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tb_adam_plugin import __version__
from tb_adam_plugin.diagnosis.engine.wording import number
from tb_adam_plugin.diagnosis.rule import SEVERITIES, Finding
from tb_adam_plugin.run_data import Run, load_runs
from tb_adam_plugin.schema import FormatError
from tb_adam_plugin.serving.views import compass_fields, finding_fields
from tb_adam_plugin.untrusted_text import cell_text, printable

_FAILED = 1
_UNUSABLE = 2
_TEXT_WIDTH = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may know fewer letters than names do
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    command: Callable[..., int] = options.command
    if options.trains:
        return command(options)
    try:
        runs = load_runs(options.logdir)
    except (OSError, FormatError) as error:
        return _refuse(str(error))
    if not runs:
        return _refuse(f"no run of Adam Debug in {options.logdir}")
    try:
        code = command(runs, options)
    except BrokenPipeError:  # the reader, as head, has seen enough
        sys.stderr.close()
        return 0
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="adam-debug", description="Read what AdamDebugCallback has recorded."
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.set_defaults(trains=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    diagnose = commands.add_parser(
        "diagnose",
        help="say what is wrong in recorded runs, and what to change",
        description="Apply the rules to every run below LOGDIR.",
        epilog="Exit codes: 0 done; 1 --fail-on was given and there is such a finding; "
        "2 the folder cannot be read, holds no run, or the command was not understood.",
    )
    diagnose.add_argument("logdir", metavar="LOGDIR")
    diagnose.add_argument("--json", action="store_true", help="print JSON instead of a table")
    diagnose.add_argument(
        "--fail-on",
        choices=SEVERITIES[:2],
        help="exit with 1 if a run has a finding of this severity or a worse one",
    )
    diagnose.set_defaults(command=_diagnose)
    export = commands.add_parser(
        "export",
        help="write recorded statistics to a file",
        description="Write every statistic of every run below LOGDIR to one file.",
        epilog="Exit codes: 0 done; 2 the folder cannot be read or the file cannot be written.",
    )
    export.add_argument("logdir", metavar="LOGDIR")
    form = export.add_mutually_exclusive_group(required=True)
    form.add_argument(
        "--csv", metavar="OUT", help="one row for each run, step and parameter, all statistics"
    )
    form.add_argument(
        "--npz",
        metavar="OUT",
        help="arrays RUN/step, RUN/parameters and RUN/STATISTIC [steps, parameters]",
    )
    export.set_defaults(command=_export)
    demo = commands.add_parser(
        "demo",
        help="train small runs with one fault each, and with its fix",
        description="Train small runs with one fault each, and again with the fix, and say what "
        "the rules find in them. All of them take a minute or two; needs torch.",
        epilog="Exit codes: 0 done; 2 torch is missing, a NAME is unknown, or the folder cannot be "
        "written.",
    )
    demo.add_argument("logdir", metavar="LOGDIR", nargs="?", default="runs/adam_debug_demo")
    demo.add_argument("names", metavar="NAME", nargs="*", help="a fault; all of them by default")
    demo.add_argument("--list", action="store_true", help="name the faults, and train nothing")
    demo.set_defaults(command=_demonstrate, trains=True)
    return parser


def _refuse(reason: str) -> int:
    print(f"adam-debug: {printable(reason)}", file=sys.stderr)
    return _UNUSABLE


# --- diagnose -----------------------------------------------------------------------------------


def _diagnose(runs: Sequence[Run], options: argparse.Namespace) -> int:
    if options.json:
        _print_json(runs)
    else:
        for run in runs:
            _print_table(run, options.logdir if run.name == "." else run.name)
    found = {finding.severity for run in runs for finding in run.findings()}
    if options.fail_on is None:
        return 0
    worst = SEVERITIES[: SEVERITIES.index(options.fail_on) + 1]
    return _FAILED if found & set(worst) else 0


def _print_json(runs: Sequence[Run]) -> None:
    described = [
        {
            "run": run.name,
            "findings": [finding_fields(run.name, finding) for finding in run.findings()],
            "not_evaluated": [dataclasses.asdict(rule) for rule in run.diagnosis.not_evaluated],
            "compass": compass_fields(run.diagnosis.compass) if run.diagnosis.compass else None,
            "recording": run.diagnosis.recording,
        }
        for run in runs
    ]
    print(json.dumps({"runs": described}, indent=2, allow_nan=False))


def _print_table(run: Run, name: str) -> None:
    findings = run.findings()
    counts = [
        f"{n} {severity}{'s' if n > 1 and severity != 'info' else ''}"
        for severity in SEVERITIES
        if (n := sum(finding.severity == severity for finding in findings))
    ]
    print(f"{printable(name)}: {', '.join(counts) or 'nothing found'}")
    for line in textwrap.wrap(run.diagnosis.recording, _TEXT_WIDTH - 2):
        print(f"  {line}")
    if run.diagnosis.compass is not None:
        reading, gain = run.diagnosis.compass.run, run.diagnosis.compass.gain
        cosine = f" (cosine {number(reading.cosine)})" if math.isfinite(reading.cosine) else ""
        why = f": {reading.why}" if reading.why else ""
        print(f"  learning rate: {reading.text}{cosine}{why}")
        if gain is not None:
            print(f"  by the gain ratio: {gain.text} ({number(gain.gain_ratio)})")
    titles = {finding.rule: finding.title for finding in reversed(findings)}
    for finding in findings:
        print(f"  {finding.severity:<7}  {_when(finding):<16}  {finding.title}")
        for text in (
            finding.text,
            finding.advice and f"→ {finding.advice}",
            _cause(finding, titles),
        ):
            for line in textwrap.wrap(printable(text), _TEXT_WIDTH - 11):
                print(f"           {line}")
    skipped = run.diagnosis.not_evaluated
    if skipped:
        print("  not evaluated:")
        by_reason: dict[str, list[str]] = {}
        for rule in skipped:
            by_reason.setdefault(rule.reason, []).append(rule.rule)
        for reason, rules in by_reason.items():
            text = printable(f"{', '.join(rules)} ({reason})")
            for line in textwrap.wrap(text, _TEXT_WIDTH - 4, subsequent_indent="  "):
                print(f"    {line}")


def _when(finding: Finding) -> str:
    first, last = f"{finding.first_step:.0f}", f"{finding.last_step:.0f}"
    return f"step {first}" if first == last else f"steps {first}-{last}"


def _cause(finding: Finding, titles: Mapping[str, str]) -> str:
    cause = finding.consequence_of
    return f"a consequence of “{titles.get(cause, cause)}”" if cause else ""


# --- demo ---------------------------------------------------------------------------------------


def _demonstrate(options: argparse.Namespace) -> int:
    try:
        # Only this command needs the training side, and torch.
        demonstrations = importlib.import_module("tb_adam_plugin.callback.demo.demonstrations")
    except ImportError as error:
        return _refuse(f"the demonstrations need torch, which cannot be imported: {error}")
    if options.list:
        for theme, shown in demonstrations.THEMES.items():
            print(theme)
            for demonstration in shown:
                print(f"  {demonstration.name:<27}  {demonstration.title}")
        return 0
    known = {demonstration.name: demonstration for demonstration in demonstrations.DEMONSTRATIONS}
    unknown = [name for name in options.names if name not in known]
    if unknown:
        return _refuse(f"no fault is called {', '.join(unknown)}: adam-debug demo --list")
    log_dir = Path(options.logdir)
    if log_dir.exists() and any(log_dir.iterdir()):
        return _refuse(f"{log_dir} is not empty: name a folder that is new or empty")
    try:
        for name in dict.fromkeys(options.names or known):
            _train_both(demonstrations, known[name], log_dir / name)
    except OSError as error:
        return _refuse(str(error))
    print(f"\nSee them with: tensorboard --logdir {log_dir}")
    return 0


def _train_both(demonstrations: Any, demonstration: Any, folder: Path) -> None:
    """Train with the fault and with the fix, and say what became of it."""
    with warnings.catch_warnings():  # some faults are warned of, and that is the point
        warnings.simplefilter("ignore", UserWarning)
        losses = demonstrations.train_both(demonstration, folder)
    print(f"{demonstration.title}: {folder}")
    faulty = next(run for run in load_runs(folder) if run.name.startswith("fault"))
    for finding in faulty.findings():
        if finding.consequence_of is None and finding.severity != "info":
            print(f"  {finding.severity:<7}  {_when(finding):<16}  {finding.title}")
    print(f"  the fix: {demonstration.change}; loss {losses[0]:.3g} → {losses[1]:.3g}")


# --- export -------------------------------------------------------------------------------------


def _export(runs: Sequence[Run], options: argparse.Namespace) -> int:
    try:
        if options.csv is not None:
            _write_csv(Path(options.csv), runs)
        else:
            _write_npz(Path(options.npz), runs)
    except OSError as error:
        return _refuse(str(error))
    return 0


def _write_csv(path: Path, runs: Sequence[Run]) -> None:
    names = list(dict.fromkeys(name for run in runs for name in run.statistics))
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "step", "parameter", *map(cell_text, names)])
        for run in runs:
            known = {name: run.statistic(name) for name in run.statistics}
            for record, step in enumerate(run.steps.tolist()):
                for column, parameter in enumerate(run.parameters):
                    cells = [
                        _cell(float(known[name][record, column])) if name in known else ""
                        for name in names
                    ]
                    writer.writerow([cell_text(run.name), step, cell_text(parameter.name), *cells])


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


if __name__ == "__main__":
    sys.exit(main())
