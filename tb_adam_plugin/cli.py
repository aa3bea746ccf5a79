"""The command ``adam-debug``.

Exit codes: 0 on success; 1 if ``--fail-on`` was given and a run has a finding of that or a higher
severity; 2 if the command was not understood or the folder cannot be read.

The language is that of ``--lang``, else of the environment variable ``ADAM_DEBUG_LANG``, else of
the locale, else English.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence

from tb_adam_plugin import __version__
from tb_adam_plugin.commands import compare, demo, diagnose, explain, export
from tb_adam_plugin.commands.exit_codes import refuse, warn
from tb_adam_plugin.commands.language import VARIABLE, preferred, speaking, spoken
from tb_adam_plugin.commands.parser import Parser
from tb_adam_plugin.commands.progress import Progress
from tb_adam_plugin.commands.run_names import default_folder
from tb_adam_plugin.languages.catalogues import LANGUAGES
from tb_adam_plugin.languages.sentences import reason_of, say
from tb_adam_plugin.run_data import Run, load_runs
from tb_adam_plugin.schema import FormatError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may lack characters of names
            stream.reconfigure(errors="backslashreplace")
    with speaking(_asked_for(arguments)):  # help is given while the line is read
        options = _parser().parse_args(arguments)
    try:
        with speaking(options.lang or preferred(os.environ)):
            code = _run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # a reader such as head has seen enough
        # The rest must not be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _run(options: argparse.Namespace) -> int:
    command: Callable[..., int] = options.command
    if not options.reads_runs:
        return command(options)
    if options.logdir is None:
        options.logdir = default_folder()
        warn(say("no folder given: reading {folder}", folder=os.path.abspath(options.logdir)))
    try:
        with Progress().on(say("reading {folder} …", folder=options.logdir)):
            runs, warned = _load(options.logdir)
    except (OSError, FormatError) as error:
        return refuse(reason_of(error))
    for warning in warned:
        warn(reason_of(warning) if isinstance(warning, Warning) else warning)
    if not runs:
        folder = os.path.abspath(options.logdir)
        return refuse(say("no Adam Debug run in {folder}", folder=folder))
    return command(runs, options)


def _load(folder: str) -> tuple[list[Run], list[Warning | str]]:
    """Return the runs below a folder, and the warnings about them."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        runs = load_runs(folder)
        told = {message.text for run in runs for message in run.messages}  # beside the findings
    return runs, [w.message for w in said if str(w.message) not in told]


def _asked_for(arguments: Sequence[str] | None) -> str:
    """Return the language of a command line that is not understood yet, the last one it names."""
    reader = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    reader.add_argument("--lang", nargs="?")
    try:
        asked = reader.parse_known_args(arguments)[0].lang
    except argparse.ArgumentError:
        asked = None
    return asked if asked in LANGUAGES else preferred(os.environ)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="adam-debug", description=spoken(say("Read what AdamDebugCallback has recorded."))
    )
    parser.add_argument(
        "--version",
        action="version",
        version=__version__,
        help=spoken(say("show the version and exit")),
    )
    parser.set_defaults(reads_runs=True)
    _add_language(parser, None)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (diagnose, compare, explain, export, demo):
        command.add_to(commands)
    for subparser in commands.choices.values():
        _add_language(subparser, argparse.SUPPRESS)  # keeps the value given before the command
    return parser


def _add_language(parser: argparse.ArgumentParser, default: str | None) -> None:
    """Add the language option, before or after the command."""
    parser.add_argument(
        "--lang",
        choices=LANGUAGES,
        default=default,
        help=spoken(
            say(
                "output language; default: {variable}, else that of the locale, else en",
                variable=VARIABLE,
            )
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
