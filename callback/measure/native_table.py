"""The table of tensors that the C kernel processes: their addresses, sizes and rows."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from tb_adam_plugin.arrays import Float64s

from ..native.loading import Kernel, addresses_of
from ..read import norms
from ..read.panel import Panel
from ..read.rows import ROW
from .dead_rows import rows_are_runs
from .row_ages import RowAges
from .tensors import Sources

_SHAPE = operator.attrgetter("shape")
# How rows without gradient are detected, numbered as in kernel.h.
_NOT_LOOKED_AT, _BY_ELEMENTS, _BY_SQUARES = range(3)


class UnfitError(Exception):
    """A step that the kernel cannot process."""


class NativeTable:
    """Where the tensors of some parameters are, and which elements are read.

    Attributes:
        parameters: Number of parameters.
        columns: int64 ``[parameters, len(kernel.COLUMNS)]``.
    """

    def __init__(
        self, parameters: Sequence[Tensor], panel: Panel, ages: RowAges, kernel: Kernel
    ) -> None:
        """Fill in the constant columns.

        Args:
            parameters: Parameters of types that the kernel reads, on the CPU, without gaps in
                memory.
            panel: The elements that are read.
            ages: Ages of the parameters' rows.
            kernel: The C module, which defines the columns.
        """
        self._ages = ages
        self.parameters = len(parameters)
        self.columns = np.zeros((len(parameters), len(kernel.COLUMNS)), np.int64)
        self._by_name = dict(zip(kernel.COLUMNS, self.columns.T, strict=True))
        self._shapes = [parameter.shape for parameter in parameters]
        # None if contiguous, which is quicker to check.
        self._strides = [None if p.is_contiguous() else p.stride() for p in parameters]
        self._first_rows = panel.first_rows
        self._lines = panel.lines  # keeps the addresses in the table valid
        self._sampled = np.zeros(len(parameters), bool)
        self._sampled[panel.sampled] = True
        rows = [len(p) if p.dim() > 1 and p.numel() else 0 for p in parameters]
        self._rows = np.array(rows, np.int64)
        told = [
            _how_dead_rows_are_told(p, bool(s))
            for p, s in zip(parameters, self._sampled, strict=True)
        ]
        self._told = np.array(told, np.int64)
        for name, values in {
            "lines": [0 if lines is None else lines.data_ptr() for lines in panel.lines],
            "line_count": [0 if lines is None else len(lines) for lines in panel.lines],
            "elements": panel.elements,
            "elements_read": panel.elements_read,
            "first_row": panel.first_rows,
            "dead_rows": told,
            "row_count": rows,
            # The kernel maintains the ages of the rows it checks.
            "first_age": np.where((ages.rows > 0) & (self._told > 0), ages.first, -1),
        }.items():
            self._by_name[name][:] = values

    def clear(self, *names: str) -> None:
        """Forget some tensors."""
        for name in names:
            self._by_name[name][:] = 0

    def place_rows(self, name: str, rows: Tensor) -> None:
        """Put the addresses of each parameter's rows into the table.

        Args:
            name: Name of the column.
            rows: The panel's rows, float32 ``[rows, ROW]``.
        """
        self._by_name[name][:] = rows.data_ptr() + self._first_rows * (ROW * rows.itemsize)

    def place(self, name: str, sources: Sources) -> None:
        """Put the addresses and types of some tensors into the table.

        Raises:
            UnfitError: If a tensor cannot be read by address.
        """
        given = [source for source in sources if isinstance(source, Tensor)]
        is_complete = len(given) == len(sources)
        here: Sequence[int] = range(len(sources))
        shapes, strides = self._shapes, self._strides
        if not is_complete:
            here = [i for i, source in enumerate(sources) if source is not None]
            if len(given) < len(here):
                raise UnfitError(f"{name} is made on demand")
            shapes, strides = [shapes[i] for i in here], [strides[i] for i in here]
        places = addresses_of(given)
        if places is None:
            raise UnfitError(f"{name} is no plain float32, bfloat16 or float16 of the CPU")
        # One shape after the other: thousands at once would trigger the garbage collector.
        if not all(map(operator.eq, map(_SHAPE, given), shapes)) or not _lie_alike(given, strides):
            raise UnfitError(f"{name} lies otherwise in memory than its weight")
        for column, values in zip((name, f"{name}_type"), places, strict=True):
            if not is_complete:
                self._by_name[column][:] = 0
            self._by_name[column][slice(None) if is_complete else here] = values

    def dead_rows(
        self, alive: Float64s, idle: Float64s, gradients: Sources
    ) -> tuple[Float64s, Float64s]:
        """Return the shares of rows without gradient; see :meth:`.dead_rows.DeadRows.fractions`.

        Args:
            alive: Number of rows of each parameter with a gradient, if the kernel checked.
            idle: Number of rows without one in the last records, if the kernel checked.
            gradients: Gradients of the parameters.
        """
        idle = idle.copy()
        rows = np.maximum(self._rows, 1)
        fractions = np.where(self._sampled, (rows - alive) / rows, 1 - alive / rows)
        fractions[(self._rows == 0) | (self._by_name["gradient"] == 0)] = np.nan
        for i in np.flatnonzero((self._told == _NOT_LOOKED_AT) & (self._rows > 0)).tolist():
            gradient = gradients[i]
            if isinstance(gradient, Tensor):
                has_gradient = norms.nonzero_rows(gradient).numpy()
                fractions[i] = (len(gradient) - np.count_nonzero(has_gradient)) / len(gradient)
                idle[i] = self._ages.note(i, has_gradient)
        return fractions, self._ages.idle_fractions(idle)


def _lie_alike(tensors: Sequence[Tensor], strides: Sequence[tuple[int, ...] | None]) -> bool:
    """Whether tensors have these strides; None stands for contiguous."""
    if all(map(Tensor.is_contiguous, tensors)):
        return not any(strides)
    return all(
        tensor.is_contiguous() if stride is None else tensor.stride() == stride
        for tensor, stride in zip(tensors, strides, strict=True)
    )


def _how_dead_rows_are_told(parameter: Tensor, is_sampled: bool) -> int:
    """Return how the kernel detects rows without gradient, to agree with :mod:`.dead_rows`."""
    if is_sampled and norms.has_row_norms(parameter):
        return _BY_SQUARES
    if parameter.dim() < 2 or not parameter.numel() or not rows_are_runs(parameter):
        return _NOT_LOOKED_AT
    return _BY_ELEMENTS
