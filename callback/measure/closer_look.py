"""A second look at tensors whose sums are unusual."""

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
    """Reread the tensors whose sums are unusual.

    A sum is unusual if it is not finite, because an element is not or because float32 squares
    overflow, or if it is small enough for squares to underflow. Non-finite elements are counted; if
    all elements turn out to be finite, ``exact`` gets the sum in float64.

    Args:
        tensors: The step's tensors.
        total: From :func:`.parameter_sums.add_up`.
        exact: Sums over all elements, by row value; corrected in place.

    Returns:
        Number of non-finite elements of weight, gradient, exp_avg and exp_avg_sq, ``[K]``.
    """
    nonfinite = np.zeros(len(tensors["weight"]))
    for quantity, name, largest in (
        ("gradient", "g²", "max|g|"),
        ("exp_avg", "m²", "max|m|"),
        ("exp_avg_sq", "v", "max v"),
        # The maximum is NaN if any element is, and only the weights before the step were read
        # whole.
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
    """Count non-finite elements; if there are none and it is wanted, return Σx² in float64."""
    if isinstance(source, KeptGradient):
        return source.nonfinite, None if source.nonfinite else source.squares
    if isinstance(source, Factored):  # already squares
        return sum(int(norms.nonfinite(part)) for part in source.parts(norms.CHUNK)), None
    tensor = read(source)
    if tensor.is_sparse:
        tensor = tensor.values()
    count = int(norms.nonfinite(tensor))
    if count or not adds_squares:
        return count, None
    return 0, float(norms.squares_in_double(tensor))
