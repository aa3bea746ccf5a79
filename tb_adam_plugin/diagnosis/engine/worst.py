"""What is worst: the point that a finding tells of, and the value of several groups at a record.

A finding compares with a threshold, so that only points that hold are looked at, and a number says
more in a sentence than infinity. A cell of the tab's heat map stands for what was logged in a few
steps, healthy or not, and shows first of all what is no number:
:func:`tb_adam_plugin.reading.thinning.worst_of_columns`.
"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Flags, Float32s, Float64s


def worst_point(
    holds: Flags, value: Float64s | Float32s, *, lowest_is_worst: bool = False
) -> tuple[int, ...]:
    """Return where a value is worst among the points that hold, the first of several.

    Args:
        holds: bool, of the shape of ``value``; somewhere True.
        value: What is compared. Where there is a number, it says more than infinity or NaN;
            otherwise what is no number is worst.
        lowest_is_worst: Whether small values are.

    Returns:
        An index for each axis.
    """
    at = np.flatnonzero(holds)
    badness = -value[holds] if lowest_is_worst else value[holds]
    finite = np.isfinite(badness)
    if finite.any():
        at, badness = at[finite], badness[finite]
    worst = at[np.argmax(np.where(np.isnan(badness), np.inf, badness))]
    return tuple(int(i) for i in np.unravel_index(worst, holds.shape))


def worst_of_row(values: Float64s | Float32s) -> Float64s:
    """The largest value of each row that is known, float64 ``[rows]``; NaN where none is.

    Args:
        values: ``[rows, columns]``.
    """
    if not values.shape[1]:
        return np.full(len(values), np.nan)
    worst: Float64s = np.fmax.reduce(values, axis=1).astype(np.float64)
    return worst
