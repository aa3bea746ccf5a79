"""The command ``adam-debug``.

Exit codes: 0 if all went well; 1 if ``--fail-on`` was given and a run has a finding of that
severity or a worse one; 2 if the command was not understood or the folder cannot be read.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence

from tb_adam_plugin import __version__
from tb_adam_plugin.commands import demo, diagnose, export
from tb_adam_plugin.commands.exit_codes import refuse, warn
from tb_adam_plugin.run_data import load_runs
from tb_adam_plugin.schema import FormatError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may know fewer letters than names do
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        code = _run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, as head, has seen enough
        # What is left must not be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _run(options: argparse.Namespace) -> int:
    command: Callable[..., int] = options.command
    if options.trains:
        return command(options)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        try:
            runs = load_runs(options.logdir)
        except (OSError, FormatError) as error:
            return refuse(str(error))
    told = {message.text for run in runs for message in run.messages}  # beside what was found
    for warning in said:
        if str(warning.message) not in told:
            warn(str(warning.message))
    if not runs:
        return refuse(f"no run of Adam Debug in {options.logdir}")
    return command(runs, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="adam-debug", description="Read what AdamDebugCallback has recorded."
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.set_defaults(trains=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (diagnose, export, demo):
        command.add_to(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
