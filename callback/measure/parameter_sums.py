"""The sums of whole parameters, on the host: what the formulas of a step are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from tb_adam_plugin.arrays import Flags, Float64s

from .row_value_table import POSITION, ROW_VALUES, TINY
from .sampling_error import SampledRows

# By how they are combined: the positions of the row values.
_COMBINED = tuple(
    (combine, np.array([i for i, value in enumerate(ROW_VALUES) if value.combined_by == name]))
    for name, combine in (("sum", np.add), ("maximum", np.maximum))
)


@dataclass(frozen=True, slots=True)
class ParameterSums:
    """What :func:`.formulas.finish` needs of ``K`` parameters, on the host.

    Attributes:
        total: From :func:`add_up`.
        gradient_fourth_powers: From :func:`gradient_fourth_powers`.
        dead_row_fraction: Share of rows along the first dimension without gradient, ``[K]``; NaN
            for a parameter of less than two dimensions, whose rows are its elements.
        idle_row_fraction: Share of those that had none at any of the last records, ``[K]``; see
            :meth:`.row_ages.RowAges.idle_fractions`.
        loss: Of this step; NaN where it is not known.
        elements: Of the whole parameter, ``[K]``.
        elements_read: How many of them the rows hold, ``[K]``.
        padding: How many elements of the parameter's rows are padding, ``[K]``.
        exact: Sums over all elements, for those of ``b²``, ``g²``, ``m²`` and ``v`` that are known:
            float64 ``[K]``, NaN-free where the values are finite.
        nonfinite: Elements of w, g, m and v that are not finite, over all elements, ``[K]``.
        sampled: The rows that are read of those parameters of which not all is read.
        has_gradient: ``[K]``.
        has_exp_avg: ``[K]``.
        has_exp_avg_sq: ``[K]``.
        knows_update: Whether the requested update is known, ``[K]``.
        state_step: Steps that the state has counted, NaN where it counts none, ``[K]``.
        begun: Whether the parameter had a state before the step, ``[K]``.
        coefficients: By name, ``[K]``.
        second_moment_before_is_known: Whether "v before" was measured; else it is computed back,
            ``[K]``.
        rounds_exp_avg: Whether exp_avg is stored in less than float32, ``[K]``.
        rounds_exp_avg_sq: Likewise; False for a maximum, which is not rounded, ``[K]``.
        halves_exp_avg_sq: Whether it is stored in a half-precision type, ``[K]``.
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


# The names of what is either so or not of a parameter.
FLAGS = tuple(field.name for field in fields(ParameterSums) if field.type == "Flags")


def add_up(rows: npt.NDArray[Any], first_rows: npt.NDArray[np.int64]) -> dict[str, Float64s]:
    """Combine row values into one value a parameter: float64 ``[K]`` by name of the row value.

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
