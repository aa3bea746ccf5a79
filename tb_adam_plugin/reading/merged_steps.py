"""Merges series of several layouts, or of several parts of a run, onto one axis of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tb_adam_plugin.arrays import Float64s, Indices
from tb_adam_plugin.reading.records import Series, last_of_each_step


def merge_steps(
    series: Sequence[Series], parts: Sequence[str] = ()
) -> tuple[Float64s, Float64s, list[tuple[Indices, Indices]]]:
    """Merge series of several layouts onto one axis; of equal steps, the latest wall time wins.

    Args:
        series: One for each layout.
        parts: The part of the run that each of them belongs to, if it has several: equal steps of
            different parts complement one another.

    Returns:
        The steps and wall times of the axis and, for each series, the rows that it contributes and
        their positions on the axis.
    """
    if not series:
        return np.empty(0), np.empty(0), []
    if len(set(parts)) > 1:
        return _merge_parts(series, parts)
    if len(series) == 1:
        rows = np.arange(series[0].step.size)
        return series[0].step, series[0].wall_time, [(rows, rows)]
    step = np.concatenate([s.step for s in series])
    wall_time = np.concatenate([s.wall_time for s in series])
    by_time = np.argsort(wall_time, kind="stable")
    chosen = by_time[last_of_each_step(step[by_time])]
    ends = np.cumsum([s.step.size for s in series])
    # Positions of all series on the axis at once: there may be thousands.
    owner = np.searchsorted(ends, chosen, "right")
    of_each = np.split(
        np.argsort(owner, kind="stable"), np.cumsum(np.bincount(owner, minlength=ends.size))[:-1]
    )
    placements = [
        (chosen[positions] - (end - s.step.size), positions)
        for s, end, positions in zip(series, ends.tolist(), of_each, strict=True)
    ]
    return step[chosen], wall_time[chosen], placements


def _merge_parts(
    series: Sequence[Series], parts: Sequence[str]
) -> tuple[Float64s, Float64s, list[tuple[Indices, Indices]]]:
    placements: dict[int, tuple[Indices, Float64s]] = {}
    axes = []
    members_of: dict[str, list[int]] = {}
    for i, part in enumerate(parts):
        members_of.setdefault(part, []).append(i)
    for members in members_of.values():
        step, wall_time, own = merge_steps([series[i] for i in members])
        axes.append((step, wall_time))
        placements |= {i: (rows, step[at]) for i, (rows, at) in zip(members, own, strict=True)}
    joined = np.unique(np.concatenate([step for step, _ in axes]))
    latest = np.full(joined.shape, -np.inf)
    for step, wall_time in axes:
        at = np.searchsorted(joined, step)
        latest[at] = np.fmax(latest[at], wall_time)
    placed = [(rows, np.searchsorted(joined, at)) for _, (rows, at) in sorted(placements.items())]
    return joined, latest, placed


def rows_of(names: Sequence[str], among: Sequence[str]) -> Indices:
    """Return the positions of names among others, which must contain them."""
    place = {name: row for row, name in enumerate(among)}
    return np.array([place[name] for name in names], np.intp)


def common_rows(names: Sequence[str], place: Mapping[str, int]) -> tuple[Indices, Indices]:
    """Return which of some names are wanted, and their positions.

    Args:
        names: Any names.
        place: Position of each wanted name.
    """
    found = [(row, place[name]) for row, name in enumerate(names) if name in place]
    rows, places = np.array(found, np.intp).reshape(-1, 2).T
    return rows, places
