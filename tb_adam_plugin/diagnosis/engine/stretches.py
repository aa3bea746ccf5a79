"""Finds where a condition holds for long enough, in stretches of windows of records, or steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tb_adam_plugin.arrays import Flags, Float32s, Float64s, Indices

from . import thresholds
from .rule import Condition, Persistence
from .windows import window_of
from .worst import worst_point


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive points at which a condition holds.

    Attributes:
        first: Index of its first point.
        last: Index of its last point.
        worst: Index of its worst point.
        columns: Columns in which it holds, ``[n]``; empty for the run as a whole.
        value: Value at the worst point.
        points: Number of points at which it holds.
    """

    first: int
    last: int
    worst: int
    columns: Indices
    value: float
    points: int


def find_stretches(
    condition: Condition, persistence: Persistence, gap: float, most: int
) -> list[Stretch]:
    """Return the stretches in which a condition holds.

    Args:
        condition: Where it holds.
        persistence: How long it must hold, in each column separately.
        gap: Stretches that are at most this many steps apart are merged.
        most: If there are more stretches, they are merged into one.
    """
    single = condition.holds.ndim == 1
    holds = condition.holds[:, None] if single else condition.holds
    value = condition.value[:, None] if single else condition.value
    columns = np.flatnonzero(holds.any(axis=0))
    if not columns.size:
        return []
    if columns.size < holds.shape[1]:
        holds, value = holds[:, columns], value[:, columns]
    kept_at = _lasting_points(holds, value, condition, persistence)
    points = np.flatnonzero(kept_at.any(axis=1))
    if not points.size:
        return []
    between = np.diff(condition.step[points])
    if not condition.every_step:  # a record in a window that holds need not hold itself
        gap = max(gap, thresholds.WINDOW_STEPS)
    breaks = np.flatnonzero((between > gap) & (np.diff(points) > 1))
    if len(breaks) + 1 > most:
        breaks = breaks[:0]
    found = []
    for part in np.split(points, breaks + 1):
        inside = slice(int(part[0]), int(part[-1]) + 1)
        kept = kept_at[inside]
        row, column = worst_point(kept, value[inside], lowest_is_worst=condition.lowest_is_worst)
        found.append(
            Stretch(
                inside.start,
                inside.stop - 1,
                inside.start + row,
                np.empty(0, np.intp) if single else columns[kept.any(axis=0)],
                float(value[inside][row, column]),
                int(kept.any(axis=1).sum()),
            )
        )
    return found


def course_of(condition: Condition, stretch: Stretch) -> Float64s:
    """Return the compared values along a stretch, float64 ``[n, 2]``: steps, and the worst values.

    For a long one, some points including the worst; without points whose value is unknown.
    """
    few = np.linspace(stretch.first, stretch.last, thresholds.MOST_POINTS_SHOWN).astype(np.intp)
    points = np.union1d(few, stretch.worst)
    value = condition.value[points]
    if value.ndim == 2:
        columns = value[:, stretch.columns]
        worst = np.fmin if condition.lowest_is_worst else np.fmax
        value = worst.reduce(columns, axis=1)
    course: Float64s = np.column_stack([condition.step[points], value]).astype(np.float64)
    known: Float64s = course[~np.isnan(value) | (points == stretch.worst)]
    return known


def lasting(condition: Condition, persistence: Persistence) -> Flags:
    """At which points a condition holds as part of a stretch that is long enough.

    Returns:
        bool, same shape as ``condition.holds``.
    """
    single = condition.holds.ndim == 1
    holds = condition.holds[:, None] if single else condition.holds
    value = condition.value[:, None] if single else condition.value
    found = _lasting_points(holds, value, condition, persistence)
    return found.reshape(condition.holds.shape)


def _lasting_points(
    holds: Flags, value: Float64s | Float32s, condition: Condition, persistence: Persistence
) -> Flags:
    if condition.every_step:
        return _lasting(holds, condition.step, condition.step, persistence)
    known = ~np.isnan(value) | holds
    return holds & _lasting_windows(holds, known, condition.step, persistence)


def _lasting_windows(holds: Flags, known: Flags, step: Float64s, persistence: Persistence) -> Flags:
    """Which records are in enough consecutive windows that hold.

    A window holds if most of its known records do; in a tie, the last of them decides.

    Args:
        holds: bool ``[records, columns]``.
        known: Whether the value is known, bool ``[records, columns]``.
        step: float64 ``[records]``, ascending.
        persistence: Number of windows, and number of steps.

    Returns:
        bool ``[records, columns]``.
    """
    if persistence.points <= 1:
        return holds
    window = window_of(step)
    if not window.size or window[-1] == window.size - 1:  # each record is a window
        return _lasting(holds, step, step, persistence)
    first = np.flatnonzero(np.diff(window, prepend=-1))
    last = np.append(first[1:], window.size) - 1
    held = np.add.reduceat((holds & known).astype(np.int32), first, axis=0)
    counted = np.add.reduceat(known.astype(np.int32), first, axis=0)
    # Twice a majority is more than all; a tie is broken by the last record.
    most = (2 * held + holds[last]) > counted
    return _lasting(most & (counted > 0), step[first], step[last], persistence)[window]


def _lasting(holds: Flags, first: Float64s, last: Float64s, persistence: Persistence) -> Flags:
    """Which points belong to a run of points that is long enough.

    Args:
        holds: bool ``[points, columns]``.
        first: The first step of each point, float64 ``[points]``.
        last: The last step of each point.
        persistence: Number of points, and number of steps.

    Returns:
        bool ``[points, columns]``.
    """
    lasting = in_a_row(holds, persistence.points)
    n, points = len(holds), max(1, persistence.points)
    if n < points or persistence.steps <= 0 or not lasting.any():
        return lasting
    shortest = (last[points - 1 :] - first[: n - points + 1]).min(initial=np.inf)
    if shortest >= persistence.steps:
        return lasting
    index = np.arange(n, dtype=np.int32)[:, None]
    start = np.maximum.accumulate(np.where(lasting, np.int32(0), index + 1), axis=0)
    end = np.minimum.accumulate(np.where(lasting, np.int32(n - 1), index - 1)[::-1], axis=0)[::-1]
    span = last[np.maximum(end, 0)] - first[np.minimum(start, n - 1)]
    return lasting & (span >= persistence.steps)


def in_a_row(holds: Flags, points: int) -> Flags:
    """Flags in runs of at least ``points``: morphological opening along the first axis."""
    if points > len(holds):
        return np.zeros(holds.shape, bool)
    ends, length = holds, 1  # ends of runs of this many points
    while length < points:
        shift = min(length, points - length)
        ends = ends.copy()
        ends[shift:] &= ends[:-shift].copy()
        ends[:shift] = False
        length += shift
    opened, length = ends, 1
    while length < points:
        shift = min(length, points - length)
        opened = opened.copy()
        opened[:-shift] |= opened[shift:].copy()
        length += shift
    return opened
