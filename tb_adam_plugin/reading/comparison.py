"""Compares two runs: a statistic of the same parameter at the same point. Pure NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tb_adam_plugin.arrays import Float64s


@dataclass(frozen=True, slots=True)
class Positioned:
    """A statistic of all parameters of a run, on an axis.

    Attributes:
        parameters: Names of the columns of ``values``.
        position: float64 ``[steps]``, ascending: step, seconds since the start, or wall time.
        values: float32 ``[steps, parameters]``.
        logged: bool ``[steps, parameters]``, or None if everything was logged.
    """

    parameters: Sequence[str]
    position: Float64s
    values: npt.NDArray[np.float32]
    logged: npt.NDArray[np.bool_] | None


def compare(
    run: Positioned, reference: Positioned, *, difference: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Divide a run's values by those of a reference, or subtract them.

    A point of the run is compared with the reference's last logged one at or before it. There is
    nothing to compare beyond the reference's end, before its start, for parameters that it does not
    have, and where its value is not finite or, for a ratio, zero.

    Args:
        run: The run to compare.
        reference: The run to compare it with.
        difference: Whether to subtract instead of dividing: for values that may be negative.

    Returns:
        float32 ``[steps, parameters]`` for the run, and whether there was something to compare. The
        ratio of two zeros is 1.
    """
    found = np.searchsorted(reference.position, run.position, "right") - 1
    known = found >= 0
    if reference.position.size:
        known &= run.position <= reference.position[-1]
    place = {name: column for column, name in enumerate(reference.parameters)}
    columns = np.array([place.get(name, -1) for name in run.parameters], np.intp)
    logged = known[:, None] & (columns >= 0)[None, :]
    if not logged.any():
        return np.full(run.values.shape, np.nan, np.float32), logged
    cells = np.ix_(np.maximum(found, 0), np.maximum(columns, 0))
    other = reference.values[cells]
    if reference.logged is not None:
        logged &= reference.logged[cells]
    if run.logged is not None:
        logged &= run.logged
    logged &= np.isfinite(other)
    with np.errstate(all="ignore"):
        if difference:
            compared = run.values - other
        else:
            both_zero = (run.values == 0) & (other == 0)
            logged &= both_zero | (other != 0)
            compared = np.where(both_zero, 1, run.values / other)
    return np.where(logged, compared, np.nan).astype(np.float32), logged
