"""Windows of a few steps: what is counted where records in a row are.

A run of which every step is recorded and the same one of which every fifth is are to be judged
alike. So records within :data:`.thresholds.WINDOW_STEPS` count as one; where they are further
apart, each is a window of its own.
"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Flags, Float64s, Indices

from . import thresholds


def window_of(step: Float64s) -> Indices:
    """The window of each record, ``[records]``: counted from 0, without those that have none."""
    numbers = np.ceil(step / thresholds.WINDOW_STEPS)
    return np.cumsum(np.diff(numbers, prepend=numbers[:1]) != 0)


def count_windows(step: Float64s, chosen: Flags) -> int:
    """How many windows have one of some records.

    Args:
        step: float64 ``[records]``, ascending.
        chosen: bool ``[records]``.
    """
    return int(np.unique(window_of(step)[chosen]).size)
