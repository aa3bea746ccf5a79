"""Combines the measurements of one step from several processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import SupportsFloat

import numpy as np
import numpy.typing as npt

from ..measure.measurement import Measured, Measurement, Sums, finished
from ..optimizer_state.base import OptimizerState
from ..ranks.ranks import Ranks
from ..ranks.shard_sums import PackedReader, ShardSums, check_intact, joined
from .current_layout import CurrentLayout, StorageOfParameters, other_keys


class SharedMeasurements:
    """Keeps a step's sums until all processes have measured it.

    Attributes:
        is_changed: Whether the optimizer's state tensors have changed here.
    """

    def __init__(self, layout: CurrentLayout, shard_sums: Sequence[ShardSums]) -> None:
        """Start without a step.

        Args:
            layout: The current layout.
            shard_sums: Pack the sums of each measurement.
        """
        self.is_changed = True
        self._layout = layout
        self._shard_sums = shard_sums
        self._sums: list[Sums] = []
        self._storage: StorageOfParameters = []
        self._step = 0

    def measure(
        self,
        measurements: Sequence[Measurement],
        with_histograms: bool,
        loss: SupportsFloat,
        step: int,
    ) -> None:
        """Measure this process's part of a step.

        Args:
            measurements: Measurements that have read the state before the step.
            with_histograms: Whether to count histograms.
            loss: The loss of the step, if known.
            step: The step number.
        """
        states = [measurement.states() for measurement in measurements]
        self._step = step
        self._storage = [storage for part in states for storage in part.storage]
        self.is_changed = self._layout.is_another(self._storage)
        others = other_keys(self._storage)
        self._sums = [
            measurement.sums(with_histograms, others, of_measurement, loss, step)
            for measurement, of_measurement in zip(measurements, states, strict=True)
        ]

    def squares(self) -> tuple[list[npt.NDArray[np.float64]], list[npt.NDArray[np.bool_]]]:
        """Return Σg² of the part here, and which parameters have a gradient, by measurement."""
        of = [sums.of for sums in self._sums]
        return [sums.exact["g²"] for sums in of], [sums.has_gradient for sums in of]

    def share(self, ranks: Ranks, is_changed: bool, state: OptimizerState) -> list[Measured] | None:
        """Combine the measurements of all processes; all of them must call this.

        Args:
            ranks: The processes.
            is_changed: Whether :attr:`is_changed` is set in any of them.
            state: The optimizer's adapter.

        Returns:
            The combined measurements, in the first process; None in the others, and in all of them
            if the parameters have changed since the measurement.
        """
        if not self._sums:
            return None
        layout = self._layout
        if is_changed:
            layout.agree(state, self._storage, ranks)
        layout.keep(self._storage)
        here = [q.name for q in layout.quantities(other_keys(self._storage))]
        everywhere = [q.name for q in layout.quantities()]
        parts = list(zip(self._shard_sums, self._sums, strict=True))
        of_all = ranks.reduce(joined([part.pack(sums, here, everywhere) for part, sums in parts]))
        if not ranks.is_first:
            return None
        check_intact(of_all, ranks.size)
        reader = PackedReader(of_all)
        measured = []
        for part, sums in parts:
            measured.append(finished(*part.unpack(reader, sums, len(everywhere), self._step)))
        return measured
