"""The worst value: the point that a finding reports, and the worst of several groups.

A finding compares with a threshold, so it only considers points that hold, and prefers a number to
infinity, because it says more in a sentence. A cell of the tab's heat map represents everything
logged in a few steps, healthy or not, and shows non-finite values first:
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
        holds: bool, same shape as ``value``; True somewhere.
        value: The compared value. If there is a finite one, it takes precedence over infinity and
            NaN.
        lowest_is_worst: Whether small values are the worst.

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
    """The largest known value of each row, float64 ``[rows]``; NaN if there is none.

    Args:
        values: ``[rows, columns]``.
    """
    if not values.shape[1]:
        return np.full(len(values), np.nan)
    worst: Float64s = np.fmax.reduce(values, axis=1).astype(np.float64)
    return worst
