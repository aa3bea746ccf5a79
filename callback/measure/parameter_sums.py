"""The sums over whole parameters, on the host: the inputs of a step's formulas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from tb_adam_plugin.arrays import Flags, Float64s

from .row_value_table import POSITION, ROW_VALUES, TINY
from .sampling_error import SampledRows

# Positions of the row values, by how they are combined.
_COMBINED = tuple(
    (combine, np.array([i for i, value in enumerate(ROW_VALUES) if value.combined_by == name]))
    for name, combine in (("sum", np.add), ("maximum", np.maximum))
)


@dataclass(frozen=True, slots=True)
class ParameterSums:
    """The inputs of :func:`.formulas.finish` for ``K`` parameters, on the host.

    Attributes:
        total: From :func:`add_up`.
        gradient_fourth_powers: From :func:`gradient_fourth_powers`.
        dead_row_fraction: Share of rows along the first dimension without gradient, ``[K]``; NaN
            for a parameter with fewer than two dimensions, whose rows are its elements.
        idle_row_fraction: Share of the rows that had no gradient in any of the last records,
            ``[K]``; see :meth:`.row_ages.RowAges.idle_fractions`.
        loss: Loss of this step; NaN if unknown.
        elements: Number of elements of the whole parameter, ``[K]``.
        elements_read: How many of them the rows hold, ``[K]``.
        padding: Number of padding elements in the parameter's rows, ``[K]``.
        exact: Sums over all elements, for those of ``b²``, ``g²``, ``m²`` and ``v`` that are known:
            float64 ``[K]``, NaN-free if the values are finite.
        nonfinite: Number of non-finite elements of w, g, m and v, over all elements, ``[K]``.
        sampled: The rows of the sampled parameters.
        has_gradient: ``[K]``.
        has_exp_avg: ``[K]``.
        has_exp_avg_sq: ``[K]``.
        knows_update: Whether the requested update is known, ``[K]``.
        state_step: Step count of the state, NaN if it has none, ``[K]``.
        begun: Whether the parameter had a state before the step, ``[K]``.
        coefficients: By name, ``[K]``.
        second_moment_before_is_known: Whether "v before" was measured; if not, it is reconstructed,
            ``[K]``.
        rounds_exp_avg: Whether exp_avg is stored in less than float32, ``[K]``.
        rounds_exp_avg_sq: The same for exp_avg_sq; False for a maximum, which is not rounded,
            ``[K]``.
        halves_exp_avg_sq: Whether exp_avg_sq is stored in a half-precision type, ``[K]``.
    """

    total: Mapping[str, Float64s]
    gradient_fourth_powers: Float64s
    dead_row_fraction: Float64s
    idle_row_fraction: Float64s
    loss: float
    elements: npt.NDArray[np.int64]
    elements_read: npt.NDArray[np.int64]
    padding: npt.NDArray[np.int64]
    exact: Mapping[str, Float64s]
    nonfinite: Float64s
    sampled: SampledRows
    has_gradient: Flags
    has_exp_avg: Flags
    has_exp_avg_sq: Flags
    knows_update: Flags
    state_step: Float64s
    begun: Flags
    coefficients: Mapping[str, Float64s]
    second_moment_before_is_known: Flags
    rounds_exp_avg: Flags
    rounds_exp_avg_sq: Flags
    halves_exp_avg_sq: Flags


# Names of the boolean fields.
FLAGS = tuple(field.name for field in fields(ParameterSums) if field.type == "Flags")


def add_up(rows: npt.NDArray[Any], first_rows: npt.NDArray[np.int64]) -> dict[str, Float64s]:
    """Combine row values into one value per parameter: float64 ``[K]`` by name of the row value.

    Args:
        rows: From :func:`.row_values.row_sums`, on the host.
        first_rows: Index of each parameter's first row, ``[K]``.
    """
    each_has_one = np.array_equal(first_rows, np.arange(rows.shape[1]))
    table = rows.astype(np.float64) if each_has_one else _table(rows, first_rows)
    return {value.name: table[i] for i, value in enumerate(ROW_VALUES)}


def _table(rows: npt.NDArray[Any], first_rows: npt.NDArray[np.int64]) -> Float64s:
    table = np.empty((len(ROW_VALUES), len(first_rows)))
    with np.errstate(all="ignore"):  # inf - inf
        for combine, positions in _COMBINED:
            chosen = rows[positions]
            table[positions] = combine.reduceat(chosen, first_rows, axis=1, dtype=np.float64)
    return table


def gradient_fourth_powers(rows: npt.NDArray[Any], first_rows: npt.NDArray[np.int64]) -> Float64s:
    """Return Σg⁴ of the elements read of each parameter, ``[K]``.

    Args:
        rows: From :func:`.row_values.row_sums`, on the host.
        first_rows: Index of each parameter's first row, ``[K]``.
    """
    unit = np.maximum(rows[POSITION["g²"]].astype(np.float64), TINY)
    with np.errstate(all="ignore"):
        return np.add.reduceat(rows[POSITION["g⁴"]] * unit**2, first_rows)
