"""Medians, averages and sums over records, and over the steps between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tb_adam_plugin.arrays import Float32s, Float64s, Indices

from .windows import window_of


def median(values: Float32s | Float64s) -> Float64s:
    """Median of each row without NaN; NaN if there is no other value."""
    if not values.size:
        return np.full(len(values), np.nan)
    ordered = np.sort(values, axis=1)  # NaN last
    known = (~np.isnan(ordered)).sum(axis=1)
    rows = np.arange(len(ordered))
    low = ordered[rows, np.maximum(known - 1, 0) // 2].astype(np.float64)
    high = ordered[rows, np.minimum(known // 2, values.shape[1] - 1)].astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.where(known > 0, (low + high) / 2, np.nan)


def median_of_all(values: Float32s | Float64s) -> float:
    """Median of all values without NaN; NaN if there is no other value."""
    return float(median(values.reshape(1, -1))[0])


def recent_median(
    step: Float64s,
    values: Float32s | Float64s,
    windows: int,
    at: Indices | None = None,
    least: int | None = None,
) -> Float64s:
    """Median of the records in the last windows, see :mod:`.windows`, up to each of some records.

    Args:
        step: float64 ``[records]``, ascending.
        values: ``[records]`` or ``[records, columns]``; NaN is left out.
        windows: Number of windows.
        at: Indices of the records to evaluate; all by default.
        least: Number of windows that must have a value; all by default.

    Returns:
        float64 ``[at]`` or ``[at, columns]``; NaN if there are fewer windows.
    """
    records = np.arange(len(values)) if at is None else at
    if not records.size:
        return np.full((0, *values.shape[1:]), np.nan)
    columns = values.reshape(len(values), -1)
    window = window_of(step)
    first = np.searchsorted(window, window[records] - windows + 1)
    most = int((records - first + 1).max(initial=1))
    place = records[:, None] - np.arange(most)
    inside = place >= first[:, None]
    chosen = np.where(inside[..., None], columns[np.maximum(place, 0)], np.nan)
    # Number of windows with a value; where the last known value is in another window.
    known, within = ~np.isnan(chosen), window[np.maximum(place, 0)]
    seen = np.zeros((records.size, columns.shape[1]), np.intp)
    latest = np.full(seen.shape, -1, np.intp)
    for i in range(most):
        new = known[:, i] & (latest != within[:, i, None])
        seen += new
        latest = np.where(new, within[:, i, None], latest)
    middle = median(chosen.swapaxes(1, 2).reshape(-1, most)).reshape(seen.shape)
    found: Float64s = np.where(seen >= (windows if least is None else least), middle, np.nan)
    return found.reshape(records.size, *values.shape[1:])


def moving_average(values: Float64s, steps: int) -> Float64s:
    """Exponential moving average that skips NaN: float64, same shape as ``values``."""
    known = np.flatnonzero(~np.isnan(values))
    averages = np.full(values.shape, np.nan)
    if not known.size:
        return averages
    # Older values weigh less than a float64 can represent.
    decay = (1 - 1 / steps) ** np.arange(40 * steps)
    found = np.convolve(values[known] - values[known[0]], decay / steps)[: known.size]
    last = np.searchsorted(known, np.arange(values.size), "right") - 1
    averages[last >= 0] = values[known[0]] + found[last[last >= 0]]
    return averages


def sum_over_steps(step: Float64s, value: Float64s | Float32s, steps: int) -> Float64s:
    """Sum of values over the last steps up to each record, float64, same shape as ``value``.

    Args:
        step: float64 ``[records]``, ascending.
        value: At those steps, ``[records]`` or ``[records, columns]``; linearly interpolated
            between them. Non-finite values count as zero.
        steps: Number of steps to sum over.
    """
    if not step.size:
        return np.zeros(value.shape)
    # In closed form: a damaged step number may be any number of steps away.
    known = np.where(np.isfinite(value), value, 0).astype(np.float64)
    gap, rise = _upright(np.diff(step), known), np.diff(known, axis=0)
    sums = np.cumsum(np.concatenate([known[:1], gap * known[:-1] + rise * (gap + 1) / 2]), axis=0)
    slope = np.concatenate([rise / gap, np.zeros_like(known[:1])])
    start = step - steps
    record = np.searchsorted(step, start, "right") - 1
    after = _upright(start - step[record], known)
    before = sums[record] + after * known[record] + slope[record] * after * (after + 1) / 2
    summed: Float64s = sums - np.where(_upright(record, known) >= 0, before, 0.0)
    return summed


def _upright(numbers: npt.NDArray[Any], like: Float64s) -> npt.NDArray[Any]:
    """Add axes to a 1-D array to match the dimensions of another one."""
    return numbers.reshape(-1, *(1,) * (like.ndim - 1))


def median_by_block(values: Float32s, members: list[Indices]) -> Float32s:
    """Median of each row over the columns of each block, float32 ``[records, blocks]``."""
    found = np.empty((len(values), len(members)), np.float32)
    single = np.array([rows.size == 1 for rows in members])
    alone = [int(rows[0]) for rows in members if rows.size == 1]
    found[:, single] = values[:, alone]
    for i in np.flatnonzero(~single):
        found[:, i] = median(values[:, members[i]])
    return found
