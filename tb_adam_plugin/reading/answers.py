"""The answers of :mod:`.store`: records of a run, as plain arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tb_adam_plugin import schema
from tb_adam_plugin.arrays import Float64s
from tb_adam_plugin.reading.run import Message, StoredRun
from tb_adam_plugin.schema import Parameter, Quantity


@dataclass(frozen=True, slots=True)
class Runs:
    """What is known about the runs without reading a tensor.

    Attributes:
        runs: The runs, sorted by name. Their messages include damage found so far.
        messages: Messages about runs that cannot be shown.
        revision: Changes whenever one of these runs has new data or messages.
    """

    runs: tuple[StoredRun, ...]
    messages: tuple[Message, ...]
    revision: str


@dataclass(frozen=True, slots=True)
class StatisticRecords:
    """One statistic of all parameters of a run.

    Attributes:
        step: float64 ``[steps]``.
        wall_time: float64 ``[steps]``, seconds since the epoch.
        values: float32 ``[steps, parameters]``; NaN where nothing was logged.
        logged: bool ``[steps, parameters]``, or None if everything was logged.
    """

    step: Float64s
    wall_time: Float64s
    values: npt.NDArray[np.float32]
    logged: npt.NDArray[np.bool_] | None


@dataclass(frozen=True, slots=True)
class NamedRecords:
    """Named quantities over time.

    Attributes:
        step: float64 ``[steps]``.
        wall_time: float64 ``[steps]``, seconds since the epoch.
        names: Names of the rows of ``values``.
        values: ``[names, steps]`` or, for parameter groups, ``[groups, names, steps]``; NaN where
            nothing was logged.
    """

    step: Float64s
    wall_time: Float64s
    names: tuple[str, ...]
    values: npt.NDArray[Any]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self.names)

    def keys(self) -> tuple[str, ...]:
        """Return the names, so ``dict()`` works."""
        return self.names

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """The values of one name, ``[steps]`` or ``[groups, steps]``.

        Raises:
            KeyError: If there is no such name.
        """
        if name not in self.names:
            raise KeyError(f"{name!r} was not recorded; available: {', '.join(self.names)}")
        of_name: npt.NDArray[Any] = self.values[..., self.names.index(name), :]
        return of_name


@dataclass(frozen=True, slots=True)
class HistogramRecords:
    """Histograms of one parameter.

    Attributes:
        parameter: Name of the parameter.
        step: float64 ``[steps]``, the steps of ``counts``.
        wall_time: float64 ``[steps]``, seconds since the epoch.
        quantities: The counted quantities.
        counts: int64 ``[steps, quantities, BINS + len(SPECIAL)]``.
        logged_step: float64, all steps with histograms, including those not in ``step``.
        logged_wall_time: float64, same shape as ``logged_step``.
        earlier: Number of these steps that were left out because the client has them.
    """

    parameter: Parameter
    step: Float64s
    wall_time: Float64s
    quantities: tuple[Quantity, ...]
    counts: schema.Counts
    logged_step: Float64s
    logged_wall_time: Float64s
    earlier: int
