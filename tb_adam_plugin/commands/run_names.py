"""Which folder the commands read, and what they call a run."""

from __future__ import annotations

import os

from tb_adam_plugin.run_data import Run

# Where most people write, and where no folder is given the first place to look.
USUAL_FOLDER = "runs"
LOGDIR_HELP = f"folder with the runs; default: ./{USUAL_FOLDER}, or the current folder without it"


def default_folder() -> str:
    """Return the folder that is read where none is given."""
    return USUAL_FOLDER if os.path.isdir(USUAL_FOLDER) else os.curdir


def shown_name(run: Run, logdir: str) -> str:
    """Return its name; the folder as the user gave it where the run lies in that itself."""
    return logdir if run.name == "." else run.name
