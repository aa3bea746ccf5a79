"""Whether the rows without a gradient are the same at each record."""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Flags, Float32s, Indices
from tb_adam_plugin.schema.catalogue import IDLE_RECORDS, IDLE_STEPS

from .signals import Signals

IDLE = "idle_row_fraction"


def knows_rows(signals: Signals, parameters: Indices) -> Flags:
    """Which parameters have records of this, bool ``[parameters]``; older runs have none."""
    is_known: Flags = ~np.isnan(signals.values(IDLE, parameters))
    return np.asarray(is_known.any(axis=0))


def same_rows(signals: Signals, parameters: Indices, limits: Float32s) -> Flags:
    """Records at which more than a share of the rows have had no gradient for a whole window.

    A record also counts for the earlier ones in its window: idle rows had no gradient at these
    either.

    Args:
        signals: The run.
        parameters: The parameters to check.
        limits: The share, ``[parameters]``.

    Returns:
        bool ``[records, parameters]``; True throughout for a parameter without such records.
    """
    step = signals.run.step
    idle = signals.values(IDLE, parameters) > limits
    # The first record of each record's window.
    by_steps = np.searchsorted(step, step - IDLE_STEPS, side="right")
    first = np.minimum(by_steps, np.maximum(np.arange(step.size) - IDLE_RECORDS + 1, 0))
    ends = np.zeros((step.size + 1, len(parameters)), np.int64)
    np.add.at(ends, first, idle)
    ends[1:] -= idle
    spoken_for: Flags = np.cumsum(ends, axis=0)[:-1] > 0
    return spoken_for | ~knows_rows(signals, parameters)


def most_idle(signals: Signals, parameters: Indices, first: float, last: float) -> Float32s:
    """The largest share of idle rows from one step to another, ``[parameters]``; NaN if unknown."""
    step = signals.run.step
    inside = signals.values(IDLE, parameters)[(step >= first) & (step <= last)]
    most: Float32s = np.fmax.reduce(inside, axis=0, initial=np.nan)
    return most
