"""Which folder the commands read, and what they call a run."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tb_adam_plugin.languages.sentences import say
from tb_adam_plugin.run_data import Run
from tb_adam_plugin.schema import RUN_FOLDER

# Where most people write, and where no folder is given the first place to look.
USUAL_FOLDER = "runs"
LOGDIR_HELP = say(
    "folder with the runs; default: ./{usual}, or the current folder without it", usual=USUAL_FOLDER
)


def default_folder() -> str:
    """Return the folder that is read where none is given."""
    return USUAL_FOLDER if os.path.isdir(USUAL_FOLDER) else os.curdir


def run_at(path: str, runs: Sequence[Run], logdir: str) -> Run | None:
    """Return the run whose folder a path is; None if it is that of none."""
    below = os.path.relpath(os.path.abspath(path), os.path.abspath(logdir)).replace(os.sep, "/")
    below = below.removesuffix(f"/{RUN_FOLDER}") or os.curdir
    return next((run for run in runs if run.name == below), None)


def shown_name(run: Run, logdir: str) -> str:
    """Return its name; the folder as the user gave it where the run lies in that itself."""
    return logdir if run.name == "." else run.name
