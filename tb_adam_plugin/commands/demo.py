"""``adam-debug demo``: small trainings with one fault each, and with its fix."""

from __future__ import annotations

import argparse
import importlib
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from tb_adam_plugin.commands.diagnose import heading
from tb_adam_plugin.commands.exit_codes import refuse
from tb_adam_plugin.commands.language import spoken
from tb_adam_plugin.languages.sentences import known, reason_of, say
from tb_adam_plugin.run_data import load_runs

FOLDER = "runs/adam_debug_demo"


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "demo",
        help=spoken(say("train small runs with one fault each, and with its fix")),
        description=spoken(
            say(
                "Train small runs with one fault each, and again with the fix, and print "
                "what the rules find. All of them together take a minute or two; needs torch."
            )
        ),
        epilog=spoken(
            say(
                "Exit codes: 0 done; 2 torch is missing, a NAME is unknown, or the folder "
                "cannot be written."
            )
        ),
    )
    parser.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        help=spoken(
            say(
                "a fault to train; default: all of them. A path before the names is taken as LOGDIR"
            )
        ),
    )
    parser.add_argument(
        "--logdir",
        metavar="LOGDIR",
        help=spoken(say("folder for the runs; default: {folder}", folder=FOLDER)),
    )
    parser.add_argument(
        "--list", action="store_true", help=spoken(say("list the faults without training"))
    )
    parser.set_defaults(command=demonstrate, reads_runs=False)


def demonstrate(options: argparse.Namespace) -> int:
    """Train the requested demonstrations, report the results, and return the exit code."""
    try:
        # Only this command needs the training side, and torch.
        demonstrations = importlib.import_module("tb_adam_plugin.callback.demo.demonstrations")
    except ImportError as error:
        return refuse(
            say("the demonstrations need torch, which cannot be imported: {error}", error=error)
        )
    if options.list:
        for theme, shown in demonstrations.THEMES.items():
            print(spoken(theme))
            for demonstration in shown:
                print(f"  {demonstration.name:<27}  {spoken(demonstration.title)}")
        return 0
    known = {demonstration.name: demonstration for demonstration in demonstrations.DEMONSTRATIONS}
    folder, names = _folder_and_names(options, known)
    unknown = [name for name in names if name not in known]
    if unknown:
        named = ", ".join(unknown)
        return refuse(
            say("unknown fault {names}: adam-debug demo --list shows the names", names=named)
        )
    log_dir = Path(folder)
    try:
        for name in names:
            if (log_dir / name).exists() and any((log_dir / name).iterdir()):
                return refuse(
                    say(
                        "{folder} is not empty: choose another with --logdir", folder=log_dir / name
                    )
                )
        for name in names:
            _train_both(demonstrations, known[name], log_dir / name)
    except OSError as error:
        return refuse(reason_of(error))
    print("\n" + spoken(say("See them with: tensorboard --logdir {folder}", folder=log_dir)))
    return 0


def _folder_and_names(
    options: argparse.Namespace, known: Collection[str]
) -> tuple[str, Sequence[str]]:
    """Return where to train, and what. A path may precede the names, as given by --logdir."""
    folder, names = options.logdir, options.names
    is_path = names and names[0] not in known and Path(names[0]).name != names[0]
    if folder is None and is_path:
        folder, names = names[0], names[1:]
    return folder or FOLDER, [*dict.fromkeys(names or known)]


def _train_both(demonstrations: Any, demonstration: Any, folder: Path) -> None:
    """Train with the fault and with the fix, and report the result."""
    with warnings.catch_warnings():  # some faults cause warnings, intentionally
        warnings.simplefilter("ignore", UserWarning)
        losses = demonstrations.train_both(demonstration, folder)
    print(spoken(say("{title}: {text}", title=known(demonstration.title), text=folder)))
    faulty = next(run for run in load_runs(folder) if run.name.startswith("fault"))
    for finding in faulty.findings():
        if finding.consequence_of is None:
            print(heading(finding))
    fix = say(
        "the fix: {change}; loss {before} → {after}",
        change=demonstration.change,
        before=f"{losses[0]:.3g}",
        after=f"{losses[1]:.3g}",
    )
    print(f"  {spoken(fix)}")
