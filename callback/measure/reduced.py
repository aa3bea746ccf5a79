"""The results of a step on the host, and the interface of whatever reduces it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tb_adam_plugin import schema
from tb_adam_plugin.arrays import Float64s

from .tensors import Sources, StepTensors


class Reduced(NamedTuple):
    """The results of a step of ``K`` parameters on the host.

    Attributes:
        rows: ``[len(ROW_VALUES), rows]``. A row can be any part of a parameter.
        first_rows: Index of each parameter's first row, int64 ``[K]``.
        row_elements: Elements of each row without its padding, int64 ``[rows]``.
        padding: Number of padding elements in each parameter's rows, int64 ``[K]``.
        total: From :func:`.parameter_sums.add_up`.
        exact: Sums over all elements of the sampled parameters, by row value.
        numbers: Step counts, then the coefficients, float64 ``[1 + len(COEFFICIENTS), K]``.
        dead_row_fraction: See :class:`.parameter_sums.ParameterSums`, ``[K]``.
        idle_row_fraction: See :class:`.parameter_sums.ParameterSums`, ``[K]``.
        counts: Histograms of all quantities, or None.
        sampled_squares: :data:`.sampling_error.SQUARES` of the panel's rows of the sampled
            parameters, ``[len(SQUARES), rows]``, if ``rows`` are other parts; else None.
    """

    rows: npt.NDArray[np.floating[Any]]
    first_rows: npt.NDArray[np.int64]
    row_elements: npt.NDArray[np.int64]
    padding: npt.NDArray[np.int64]
    total: Mapping[str, Float64s]
    exact: Mapping[str, Float64s]
    numbers: Float64s
    dead_row_fraction: Float64s
    idle_row_fraction: Float64s
    counts: schema.SparseHistograms | None
    sampled_squares: npt.NDArray[np.floating[Any]] | None = None


class Reduction(Protocol):
    """A way to reduce a step's tensors: :class:`.in_blocks.BlockReduction`, or a kernel.

    Either call may find that a kernel does not fit: then it is discarded, and the reduction in
    blocks continues from its copies.
    """

    def keep(self, weights: Sequence[Tensor], moments: Mapping[str, Sources]) -> bool:
        """Keep weights, and some moments, as they are before a step.

        Args:
            weights: One per parameter.
            moments: By "exp_avg" and "exp_avg_sq", one per parameter, or None.

        Returns:
            Whether :meth:`reduce` can measure the step.
        """

    def reduce(self, step: StepTensors) -> Reduced | None:
        """Reduce the step since :meth:`keep`. Waits for the device once.

        Returns:
            None if the step must be reduced in blocks, which by then have the copies.
        """
