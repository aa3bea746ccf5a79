"""The folder that commands read, and the display names of runs."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tb_adam_plugin.languages.sentences import say
from tb_adam_plugin.run_data import Run
from tb_adam_plugin.schema import RUN_FOLDER

# The usual folder, and the first place to look if none is given.
USUAL_FOLDER = "runs"
LOGDIR_HELP = say(
    "folder with the runs; default: ./{usual}, or the current folder if there is none",
    usual=USUAL_FOLDER,
)


def default_folder() -> str:
    """Return the folder to read if none is given."""
    return USUAL_FOLDER if os.path.isdir(USUAL_FOLDER) else os.curdir


def run_at(path: str, runs: Sequence[Run], logdir: str) -> Run | None:
    """Return the run whose folder a path is, or None."""
    below = os.path.relpath(os.path.abspath(path), os.path.abspath(logdir)).replace(os.sep, "/")
    below = below.removesuffix(f"/{RUN_FOLDER}") or os.curdir
    return next((run for run in runs if run.name == below), None)


def shown_name(run: Run, logdir: str) -> str:
    """Return a run's name; the folder as given by the user if the run is directly in it."""
    return logdir if run.name == "." else run.name
