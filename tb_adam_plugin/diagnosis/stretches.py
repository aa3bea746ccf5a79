"""Where a condition holds for long enough, in stretches of points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .recorded_run import Flags, Float64s, Indices
from .rule import Condition, Persistence


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring points at which a condition holds.

    Attributes:
        first: Index of its first point.
        last: Index of its last point.
        worst: Index of its worst point.
        columns: Columns in which it holds, ``[n]``; empty for the run as a whole.
        value: At the worst point.
        points: At how many points it holds.
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
        persistence: For how long it must, in each column by itself.
        gap: Stretches that are at most so many steps apart are one.
        most: If there are more stretches, they are one.
    """
    single = condition.holds.ndim == 1
    holds = condition.holds[:, None] if single else condition.holds
    value = condition.value[:, None] if single else condition.value
    columns = np.flatnonzero(holds.any(axis=0))
    if not columns.size:
        return []
    if columns.size < holds.shape[1]:
        holds, value = holds[:, columns], value[:, columns]
    lasting = _lasting(holds, condition.step, persistence)
    points = np.flatnonzero(lasting.any(axis=1))
    if not points.size:
        return []
    breaks = np.flatnonzero((np.diff(condition.step[points]) > gap) & (np.diff(points) > 1))
    if len(breaks) + 1 > most:
        breaks = breaks[:0]
    found = []
    for part in np.split(points, breaks + 1):
        inside = slice(int(part[0]), int(part[-1]) + 1)
        kept = lasting[inside]
        badness = -value[inside] if condition.lowest_is_worst else value[inside]
        badness = np.where(np.isnan(badness), np.inf, badness)  # what is no number is worst
        # A number says more than infinity, where there is one.
        finite = kept & np.isfinite(value[inside])
        worst = np.where(finite if finite.any() else kept, badness, -np.inf)
        row, column = np.unravel_index(int(np.argmax(worst)), worst.shape)
        found.append(
            Stretch(
                inside.start,
                inside.stop - 1,
                inside.start + int(row),
                np.empty(0, np.intp) if single else columns[kept.any(axis=0)],
                float(value[inside][row, column]),
                int(kept.any(axis=1).sum()),
            )
        )
    return found


def _lasting(holds: Flags, step: Float64s, persistence: Persistence) -> Flags:
    """Which points belong to a run of points that is long enough, bool ``[points, columns]``."""
    lasting = in_a_row(holds, persistence.points)
    n, points = len(holds), max(1, persistence.points)
    if n < points or persistence.steps <= 0 or not lasting.any():
        return lasting
    shortest = (step[points - 1 :] - step[: n - points + 1]).min(initial=np.inf)
    if shortest >= persistence.steps:
        return lasting
    index = np.arange(n, dtype=np.int32)[:, None]
    first = np.maximum.accumulate(np.where(lasting, np.int32(0), index + 1), axis=0)
    last = np.minimum.accumulate(np.where(lasting, np.int32(n - 1), index - 1)[::-1], axis=0)[::-1]
    span = step[np.maximum(last, 0)] - step[np.minimum(first, n - 1)]
    return lasting & (span >= persistence.steps)


def in_a_row(holds: Flags, points: int) -> Flags:
    """Which flags belong to so many in a row: morphological opening along the first axis."""
    if points > len(holds):
        return np.zeros(holds.shape, bool)
    ends, length = holds, 1  # ends of runs of so many points
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
