"""The row of every optimizer step: of one part of a run, and of all parts together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tb_adam_plugin.reading.answers import NamedRecords
from tb_adam_plugin.reading.merged_steps import common_rows, merge_steps
from tb_adam_plugin.reading.records import Series
from tb_adam_plugin.reading.run import PartSteps


def steps_of_part(
    tags: Sequence[PartSteps], logs: Sequence[Series], names: tuple[str, ...]
) -> NamedRecords:
    """Return the steps of one part of a run.

    Args:
        tags: The part's steps tags.
        logs: The stored series of each tag.
        names: The columns to return; NaN where a tag lacks one.
    """
    step, wall_time, placements = merge_steps(logs)
    values = np.full((len(names), step.size), np.nan)
    place = {name: row for row, name in enumerate(names)}
    for tag, series, (rows, positions) in zip(tags, logs, placements, strict=True):
        if rows.size:
            columns, places = common_rows(tag.columns.names, place)
            values[np.ix_(places, positions)] = series.values[np.ix_(columns, rows)]
    return NamedRecords(step, wall_time, names, values)


def join_steps(parts: Sequence[NamedRecords], names: tuple[str, ...]) -> NamedRecords:
    """Join the steps of the parts of a run.

    Each part has its own gradients, whose squared norms are added if all parts have the step. Other
    columns come from the first part that has them.
    """
    step = np.unique(np.concatenate([part.step for part in parts]))
    wall_time = np.full(step.shape, np.nan)
    values = np.full((len(names), step.size), np.nan)
    squares = np.zeros(step.shape)
    seen = np.zeros(step.shape, np.intp)
    norm = names.index("gradient_norm") if "gradient_norm" in names else None
    for part in parts:
        at = np.searchsorted(step, part.step)
        wall_time[at] = np.fmax(wall_time[at], part.wall_time)
        values[:, at] = np.where(np.isnan(values[:, at]), part.values, values[:, at])
        seen[at] += 1
        if norm is not None:
            with np.errstate(over="ignore"):
                squares[at] += part.values[norm] ** 2
    if norm is not None:
        values[norm] = np.where(seen == len(parts), np.sqrt(squares), np.nan)
    return NamedRecords(step, wall_time, names, values)
