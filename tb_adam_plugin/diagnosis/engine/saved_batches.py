"""Finds saved batches, so findings can name the file."""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.languages.sentences import say
from tb_adam_plugin.schema import batch_file

from .signals import Signals


def nearest_saved(signals: Signals, step: float, first: float, last: float) -> str:
    """Return where the batch of a step is saved, or else the nearest saved one between two steps.

    Args:
        signals: The run.
        step: The step whose batch is wanted.
        first: First step of the finding.
        last: Last step of the finding.
    """
    saved = signals.column("saved_batch")
    saved = saved[(saved >= first) & (saved <= last)]
    if not saved.size or (saved == step).any():
        return where_saved(signals, step)
    nearest = int(saved[np.argmin(np.abs(saved - step))])
    return say(
        "It was not saved; the nearest saved one, of step {step}, is in {file}, next to the "
        "event file.",
        step=f"{nearest:,}",
        file=batch_file(nearest),
    )


def where_saved(signals: Signals, step: float) -> str:
    """Return where the batch of a step is; "" if it was not saved."""
    if not (signals.column("saved_batch") == step).any():
        return ""
    return say("It is saved in {file}, next to the event file.", file=batch_file(int(step)))
