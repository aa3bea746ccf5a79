"""Which batches were saved, so that a finding can name the file."""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.schema import batch_file

from .signals import Signals


def nearest_saved(signals: Signals, step: float, first: float, last: float) -> str:
    """Say where the batch of a step is, or else the nearest one that was saved between two steps.

    Args:
        signals: The run.
        step: Whose batch is looked for.
        first: First step of the finding.
        last: Its last one.
    """
    saved = signals.column("saved_batch")
    saved = saved[(saved >= first) & (saved <= last)]
    if not saved.size or (saved == step).any():
        return where_saved(signals, step)
    nearest = int(saved[np.argmin(np.abs(saved - step))])
    return (
        f" It was not saved; of the others the nearest that was, of step {nearest:,}, is in "
        f"{batch_file(nearest)}, beside the event file."
    )


def where_saved(signals: Signals, step: float) -> str:
    """Say where the batch of a step is, as one sentence after others; "" if it was not saved."""
    if not (signals.column("saved_batch") == step).any():
        return ""
    return f" It is saved in {batch_file(int(step))}, beside the event file."
