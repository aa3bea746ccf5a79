"""Norms of the steps around a jump of the gradient, as values of the statistic ``gradient_rms``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tb_adam_plugin.arrays import Float64s, Indices
from tb_adam_plugin.reading.answers import NamedRecords, StatisticRecords
from tb_adam_plugin.reading.merged_steps import merge_steps
from tb_adam_plugin.reading.records import Series
from tb_adam_plugin.schema import Columns, Parameter


def gradient_rms(
    parameters: Sequence[Parameter],
    columns: Sequence[Columns],
    logs: Sequence[Series],
    homes: Sequence[str],
    every: NamedRecords,
) -> StatisticRecords:
    """Return norm / √elements of some parameters.

    Args:
        parameters: The parameters.
        columns: Columns of each gradient norms tag: ``step``, then names of parameters.
        logs: The stored series of each of these tags.
        homes: The part of the run that each of them belongs to.
        every: The row of every step of the run. Its wall time is used where it has the step.

    Returns:
        Not logged where a parameter had no gradient.
    """
    step, wall_time, placements = merge_steps(logs, homes)
    names = [p.name for p in parameters]
    norms = np.full((step.size, len(names)), np.nan)
    for part, series, (rows, positions) in zip(columns, logs, placements, strict=True):
        stored = {name: column for column, name in enumerate(part.names[1:])}
        here = [row for row, name in enumerate(names) if name in stored]
        there = [stored[names[row]] for row in here]
        cells = np.ix_(positions, np.array(here, np.intp))
        norms[cells] = series.values[there][:, rows].T
    at, known = _find(step, every.step)
    wall_time = wall_time.copy()  # the original is kept for the next question
    wall_time[known] = every.wall_time[at[known]]
    # NaN means no gradient, unless the norm of all gradients is not finite either.
    logged = np.isfinite(norms) | np.isinf(norms)
    if "gradient_norm" in every.names:
        everything = every.values[every.names.index("gradient_norm")][at[known]]
        logged[known] |= ~np.isfinite(everything)[:, None] & logged.any(axis=0)
    roots = np.sqrt([max(1, p.elements) for p in parameters])
    with np.errstate(over="ignore"):
        values = (norms / roots).astype(np.float32)
    return StatisticRecords(step, wall_time, values, None if logged.all() else logged)


def _find(wanted: Float64s, among: Float64s) -> tuple[Indices, npt.NDArray[np.bool_]]:
    """Return the positions of values in an ascending array, and whether they are there."""
    if not among.size:
        return np.zeros(wanted.size, np.intp), np.zeros(wanted.size, bool)
    at = np.minimum(np.searchsorted(among, wanted), among.size - 1)
    return at, among[at] == wanted
