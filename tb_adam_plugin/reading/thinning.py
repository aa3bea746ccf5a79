"""Reduces logged steps to fewer columns without losing what matters. Pure NumPy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tb_adam_plugin.arrays import Indices

# An update of a thousandth of the weight is the usual sign of a good learning rate. Statistics
# without such a center are judged by the largest magnitude.
RATIO = "update_to_weight_ratio"
MIDDLES = {RATIO: 1e-3}

# Where values are compared in decades, an exact zero counts as one decade off: it stands out among
# healthy values and does not hide a spike.
ZERO_DECADES = 1.0


def column_bounds(steps: int, columns: int) -> tuple[Indices, Indices]:
    """Divide ``steps`` consecutive steps among at most ``columns`` columns.

    Returns:
        First and last index of each column, both inclusive.
    """
    columns = min(steps, columns)
    bounds = np.arange(columns + 1) * steps // max(columns, 1)
    return bounds[:-1], bounds[1:] - 1


def worst_of_columns(
    values: npt.NDArray[np.float32],
    first: Indices,
    last: Indices,
    *,
    middle: float | None = None,
    infinity_is_usual: bool = False,
    logged: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float32]:
    """Return the worst value of every column.

    A non-finite value is worse than any finite one. Among finite ones, the worst is the furthest
    from ``middle`` in decades, where zero counts as :data:`ZERO_DECADES` off, or, without a middle,
    the one with the largest magnitude.

    Args:
        values: ``[steps, series]``.
        first: Index of each column's first step.
        last: Index of each column's last step.
        middle: A positive value that is fine.
        infinity_is_usual: Whether +infinity is harmless, as in the ratio to a weight that is still
            zero; it counts like zero.
        logged: Same shape as ``values``; False where there is no value to consider.

    Returns:
        float32 ``[columns, series]``; NaN where a column has no logged value.
    """
    if logged is not None:
        values = np.where(logged, values, np.float32(np.nan))
    if first.size == values.shape[0]:
        return values
    badness = _badness(values, middle)
    if infinity_is_usual:
        badness[np.isposinf(values)] = 10**ZERO_DECADES
    if logged is not None:
        badness[~logged] = -1
    # Every column as wide as the widest; a narrower one repeats its last step.
    width = int((last - first).max()) + 1
    members = np.minimum(first[:, None] + np.arange(width), last[:, None])
    worst = badness[members].argmax(axis=1)
    found: npt.NDArray[np.float32] = values[first[:, None] + worst, np.arange(values.shape[1])]
    return found


def latest_of_columns(
    values: npt.NDArray[np.float32],
    first: Indices,
    last: Indices,
    *,
    logged: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float32]:
    """Return the last logged value of every column, like :func:`worst_of_columns`."""
    if logged is None:
        return values[last]
    rows = np.where(logged, np.arange(len(values))[:, None], -1)
    at = np.maximum.accumulate(rows, axis=0)[last] if len(values) else rows
    found = values[at, np.arange(values.shape[1])]
    return np.where(at >= first[:, None], found, np.float32(np.nan))


def mean_of_columns(
    values: npt.NDArray[np.float32],
    first: Indices,
    last: Indices,
    *,
    logged: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float32]:
    """Return the arithmetic mean of the logged values of every column; NaN where one is NaN."""
    if not first.size:
        return values
    known = np.ones(values.shape, bool) if logged is None else logged
    counts = np.add.reduceat(known, first, axis=0, dtype=np.int64)
    with np.errstate(invalid="ignore"):
        sums = np.add.reduceat(np.where(known, values, 0).astype(np.float64), first, axis=0)
        return np.asarray(sums / counts, np.float32)


def evenly_spread(steps: int, columns: int) -> Indices:
    """Choose at most ``columns`` of ``steps``, including the first and the last.

    If there is only one column, it is the last step.
    """
    if columns >= steps:
        return np.arange(steps)
    if columns == 1:
        return np.array([steps - 1])
    return np.round(np.linspace(0, steps - 1, columns)).astype(np.intp)


def _badness(values: npt.NDArray[np.float32], middle: float | None) -> npt.NDArray[np.float64]:
    magnitude = np.abs(values, dtype=np.float64)
    finite = np.isfinite(magnitude)
    if middle is not None:
        # Distance in decades sorts values like the larger of v/middle and middle/v.
        zero = magnitude == 0
        with np.errstate(divide="ignore"):
            magnitude = np.maximum(magnitude / middle, middle / magnitude)
        magnitude[zero] = 10**ZERO_DECADES
    magnitude[~finite] = np.inf
    return magnitude
