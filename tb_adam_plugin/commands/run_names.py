"""What the commands call a run."""

from __future__ import annotations

from tb_adam_plugin.run_data import Run


def shown_name(run: Run, logdir: str) -> str:
    """Return its name; the folder as the user gave it where the run lies in that itself."""
    return logdir if run.name == "." else run.name
