"""Windows of a few steps: the unit in which consecutive records are counted.

A run must be judged the same whether every step or every fifth step is recorded. So records within
:data:`.thresholds.WINDOW_STEPS` count as one; if they are further apart, each is a separate window.
"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Flags, Float64s, Indices

from . import thresholds


def window_of(step: Float64s) -> Indices:
    """The window of each record, ``[records]``: counted from 0, skipping empty windows."""
    numbers = np.ceil(step / thresholds.WINDOW_STEPS)
    return np.cumsum(np.diff(numbers, prepend=numbers[:1]) != 0)


def count_windows(step: Float64s, chosen: Flags) -> int:
    """Number of windows that contain one of some records.

    Args:
        step: float64 ``[records]``, ascending.
        chosen: bool ``[records]``.
    """
    return int(np.unique(window_of(step)[chosen]).size)
