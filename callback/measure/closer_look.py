"""A second look at the tensors whose sums say that something is unusual."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tb_adam_plugin.arrays import Float64s

from ..optimizer_state.factored import Factored
from ..optimizer_state.parameter_state import Source, read
from ..read import norms
from .kept_gradients import KeptGradient
from .tensors import Tensors


def look_closer(
    tensors: Tensors, total: Mapping[str, Float64s], exact: Mapping[str, Float64s]
) -> Float64s:
    """Go once more through the tensors whose sums say that something is unusual.

    A sum that is not finite, because of an element or because float32 squares overflow, or one
    that is so small that squares underflow. The former are counted; where all elements are
    finite after all, ``exact`` gets the sum in float64.

    Args:
        tensors: Of the step.
        total: From :func:`.parameter_sums.add_up`.
        exact: Sums over all elements, by row value; corrected in place.

    Returns:
        How many elements of weight, gradient, exp_avg and exp_avg_sq are not finite, ``[K]``.
    """
    nonfinite = np.zeros(len(tensors["weight"]))
    for quantity, name, largest in (
        ("gradient", "g²", "max|g|"),
        ("exp_avg", "m²", "max|m|"),
        ("exp_avg_sq", "v", "max v"),
        # The largest is NaN where one is, and only the weights before the step were gone through
        # as a whole.
        ("weight", "max|w|", "max|w|"),
    ):
        sums = exact.get(name, total[name])
        unusual = ~np.isfinite(sums)
        if quantity == "weight":
            unusual |= ~np.isfinite(exact["b²"]) | (nonfinite > 0)
        elif quantity != "exp_avg_sq":
            unusual |= (sums < norms.UNDERFLOW) & (total[largest] > 0)
        for i in np.flatnonzero(unusual).tolist():
            source = tensors[quantity][i]
            if source is not None:
                is_square = name in exact and quantity != "exp_avg_sq"
                count, squares = _count(source, is_square)
                nonfinite[i] += count
                if squares is not None:
                    exact[name][i] = squares
    return nonfinite


def _count(source: Source, adds_squares: bool) -> tuple[int, float | None]:
    """Count what is not finite; where all elements are, return Σx² in float64 if it is wanted."""
    if isinstance(source, KeptGradient):
        return source.nonfinite, None if source.nonfinite else source.squares
    if isinstance(source, Factored):  # squares already
        return sum(int(norms.nonfinite(part)) for part in source.parts(norms.CHUNK)), None
    tensor = read(source)
    if tensor.is_sparse:
        tensor = tensor.values()
    count = int(norms.nonfinite(tensor))
    if count or not adds_squares:
        return count, None
    return 0, float(norms.squares_in_double(tensor))
