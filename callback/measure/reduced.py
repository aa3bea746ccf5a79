"""What is on the host after a step, whoever has reduced it, and what does the reducing."""

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
    """What of ``K`` parameters is on the host after a step, whoever has reduced it.

    Attributes:
        rows: ``[len(ROW_VALUES), rows]``. A row is whatever part of a parameter.
        first_rows: Index of each parameter's first row, int64 ``[K]``.
        row_elements: Elements of each row without its padding, int64 ``[rows]``.
        padding: How many elements of the parameter's rows are padding, int64 ``[K]``.
        total: From :func:`.parameter_sums.add_up`.
        exact: Sums over all elements of the parameters that are sampled, by row value.
        numbers: Step counts, then the coefficients, float64 ``[1 + len(COEFFICIENTS), K]``.
        dead_row_fraction: See :class:`.parameter_sums.ParameterSums`, ``[K]``; likewise the next.
        idle_row_fraction: See there.
        counts: Of all quantities, or None.
        sampled_squares: :data:`.sampling_error.SQUARES` of the panel's rows of the parameters that
            are sampled, ``[len(SQUARES), rows]``, where ``rows`` are other parts; else None.
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
    """A way to reduce the tensors of a step: :class:`.in_blocks.BlockReduction`, or a kernel.

    A kernel may turn out not to fit, at either call: then it is done with, and the reduction in
    blocks goes on from what was kept.
    """

    def keep(self, weights: Sequence[Tensor], moments: Mapping[str, Sources]) -> bool:
        """Keep weights, and some moments, as they are before a step.

        Args:
            weights: One a parameter.
            moments: By "exp_avg" and "exp_avg_sq", one a parameter or None.

        Returns:
            Whether :meth:`reduce` can be asked about the step.
        """

    def reduce(self, step: StepTensors) -> Reduced | None:
        """Reduce the step since :meth:`keep`. Waits for the device once.

        Returns:
            None if the step has to be reduced in blocks, which have what was kept by then.
        """
