"""The rows of sampled parameters, out of what a step was reduced to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tb_adam_plugin.arrays import Float64s

from ..read.panel import Panel
from ..shards.shards import Sample
from .reduced import Reduced
from .row_value_table import POSITION
from .sampling_error import SQUARES, SampledRows

_POSITIONS = np.array([POSITION[name] for name in SQUARES])


class SampleRows:
    """Finds the rows of a panel's sampled parameters."""

    def __init__(self, panel: Panel, samples: Mapping[int, Sample]) -> None:
        """Find out where they are.

        Args:
            panel: What is read of the parameters.
            samples: The part here of the samples of parameters that are shared, by index.
        """
        self._samples = samples
        self._indices = np.flatnonzero(np.isin(panel.row_parameter, panel.sampled))
        self._parameters = np.array(panel.sampled, np.int64)
        owners = panel.row_parameter[self._indices]
        self._first_rows = np.searchsorted(owners, panel.sampled).astype(np.int64)
        self._row_elements = panel.row_elements[self._indices]

    def here(self, reduced: Reduced) -> SampledRows:
        """Return the rows of the sampled parameters, as far as they are here."""
        squares = reduced.sampled_squares
        if squares is None:
            squares = reduced.rows[_POSITIONS[:, None], self._indices]
        return SampledRows(
            self._parameters, squares.astype(np.float64), self._first_rows, self._row_elements
        )

    def of_whole_samples(self, reduced: Reduced) -> Float64s:
        """Return :data:`.sampling_error.SQUARES` of the rows of the whole samples.

        Those of the samples of all processes, one parameter after the other; 0 for what is not
        here. ``[len(SQUARES), rows]``.
        """
        rows = sum(sample.total_rows for sample in self._samples.values())
        squares = np.zeros((len(SQUARES), rows))
        first = 0
        for i, sample in self._samples.items():
            numbers = sample.row_numbers
            if len(numbers):
                start = int(reduced.first_rows[i])
                here = reduced.rows[:, start : start + len(numbers)]
                squares[:, first + numbers] = here[_POSITIONS]
            first += sample.total_rows
        return squares
