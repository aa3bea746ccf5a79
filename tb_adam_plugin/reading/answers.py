"""What :mod:`.store` answers: records of a run, as plain arrays."""

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
    """What is known without reading a tensor.

    Attributes:
        runs: By name. Their messages include what reading has shown to be damaged so far.
        messages: About runs that cannot be shown.
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
        logged: bool of that shape, or None where everything was logged.
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
        names: Of the rows of ``values``.
        values: ``[names, steps]`` or, of parameter groups, ``[groups, names, steps]``; NaN where
            nothing was logged.
    """

    step: Float64s
    wall_time: Float64s
    names: tuple[str, ...]
    values: npt.NDArray[Any]

    def __iter__(self) -> Iterator[str]:
        """Go through the names."""
        return iter(self.names)

    def keys(self) -> tuple[str, ...]:
        """Return the names, so that ``dict()`` makes a dictionary of all."""
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
        parameter: Which.
        step: float64 ``[steps]``, those that are kept.
        wall_time: float64 ``[steps]``, seconds since the epoch.
        quantities: What was counted.
        counts: int64 ``[steps, quantities, BINS + len(SPECIAL)]``.
        logged_step: float64, every step with histograms, also those that are not among ``step``.
        logged_wall_time: float64 of that shape.
        earlier: How many of them were not asked for, because the asker has them.
    """

    parameter: Parameter
    step: Float64s
    wall_time: Float64s
    quantities: tuple[Quantity, ...]
    counts: schema.Counts
    logged_step: Float64s
    logged_wall_time: Float64s
    earlier: int
