"""Parts of gradients kept before a step overwrites them.

Gradients that are read whole are copied. For a sampled one, the rows that are read and the sums
over all elements are kept: a copy would be as large as the parameter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NoReturn

import torch
from torch import Tensor

from tb_adam_plugin.arrays import Flags

from ..read import norms
from ..read.gradient_sums import SUMS, gradient_sums
from ..read.panel import Panel
from ..read.rows import ROW, Block
from .tensors import Sources


class KeptGradient:
    """A sampled gradient as it was before the step.

    It replaces the gradient among the tensors of a step, but cannot be read as one.

    Attributes:
        rows: Its rows in the panel, ``[rows, ROW]``.
        sums: From :func:`..read.gradient_sums.gradient_sums`.
        alive: Which rows of the whole parameter have a gradient here, if processes share them.
        rows_with_gradient: Which rows of the part here have a gradient, if requested: the index of
            the first of some rows, and their flags, on the gradient's device.
    """

    def __init__(self, gradient: Tensor, rows: Tensor, sums: Tensor) -> None:
        """Keep the parts that a record needs, without waiting for a device.

        Args:
            gradient: The whole gradient, in real numbers; a sparse one is coalesced.
            rows: See the class.
            sums: See the class.
        """
        self.rows = rows
        self.sums = sums
        self.alive: Flags | None = None
        self.rows_with_gradient: list[tuple[int, Tensor]] = []
        self._nonfinite: Tensor | None = None
        self._squares: Tensor | None = None
        if gradient.device.type != "cpu" or not norms.UNDERFLOW <= float(sums[0]) < math.inf:
            values = gradient.values() if gradient.is_sparse else gradient
            self._nonfinite = norms.nonfinite(values)
            self._squares = norms.squares_in_double(values)

    def __call__(self) -> NoReturn:
        """Refuse to return the gradient: a kernel then leaves the step to torch's operations."""
        raise RuntimeError("the step has overwritten the gradient")

    @property
    def nonfinite(self) -> int:
        """Count non-finite values among all elements. Waits for the device."""
        return 0 if self._nonfinite is None else int(self._nonfinite)

    @property
    def squares(self) -> float:
        """Return Σg² over all elements, in float64 if float32 may not suffice. Waits, too."""
        return float(self.sums[0] if self._squares is None else self._squares)


def keep_rows(
    panel: Panel, sources: Mapping[int, Tensor], dtype: torch.dtype
) -> dict[int, KeptGradient]:
    """Read the rows to keep of some sampled gradients.

    Args:
        panel: The elements read of the parameters.
        sources: The gradients, in real numbers, by parameter.
        dtype: Type of the rows.
    """
    counts = {i: _rows_of(panel, i) for i in sources}
    device = next(iter(sources.values())).device
    memory = torch.zeros((sum(counts.values()), ROW), dtype=dtype, device=device)
    rows = dict(zip(counts, memory.split([*counts.values()]), strict=True))
    found = [sources.get(i) for i in range(len(panel.elements))]
    totals_of = TotalsOf(sources)
    for block in panel.blocks:
        if any(piece.parameter in sources for piece in block.parts):
            read = panel.read(block, "gradient", found, totals_of)
            for i, here, there in rows_in(panel, block, sources):
                rows[i][there] = read[here]
    totals, _ = panel.totals("gradient", len(SUMS))
    sums = dict(zip(panel.sampled, totals.view(-1, len(SUMS)), strict=True))
    kept = {i: KeptGradient(source, rows[i], sums[i]) for i, source in sources.items()}
    for i, first, is_alive in totals_of.rows_with_gradient:
        kept[i].rows_with_gradient.append((first, is_alive))
    return kept


class TotalsOf:
    """Sums over all elements of sampled gradients, which are read in parameter order.

    Attributes:
        rows_with_gradient: By parameter: the index of the first of some rows, and their flags.
    """

    def __init__(self, parameters: Iterable[int]) -> None:
        """Take the indices of the parameters that have a gradient here, ascending."""
        self._parameters = iter(parameters)
        self.rows_with_gradient: list[tuple[int, int, Tensor]] = []

    def __call__(self, gradient: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the result of :func:`..read.gradient_sums.gradient_sums`."""
        i = next(self._parameters)
        return gradient_sums(
            gradient, dtype, lambda first, rows: self.rows_with_gradient.append((i, first, rows))
        )


def rows_in(
    panel: Panel, block: Block, parameters: Mapping[int, object]
) -> Iterator[tuple[int, slice, slice]]:
    """Yield the parameters with rows in a block, the rows' positions in it, and the rows."""
    end = block.first_row + block.rows
    for i in range(block.first_parameter, block.first_parameter + block.parameters):
        if i in parameters:
            first = int(panel.first_rows[i])
            low = max(first, block.first_row)
            high = min(first + _rows_of(panel, i), end)
            here = slice(low - block.first_row, high - block.first_row)
            yield i, here, slice(low - first, high - first)


def kept_among(gradients: Sources) -> dict[int, KeptGradient]:
    """Return the kept gradients among some gradients, by parameter."""
    return {i: g for i, g in enumerate(gradients) if isinstance(g, KeptGradient)}


def put_kept_rows(
    panel: Panel, block: Block, kept: Mapping[int, KeptGradient], rows: Tensor
) -> None:
    """Put the kept rows into the rows of a block, ``[rows, ROW]``."""
    for i, here, there in rows_in(panel, block, kept):
        rows[here] = kept[i].rows[there]


def others_than(kept: Mapping[int, KeptGradient], gradients: Sources) -> Sources:
    """Return the gradients that are read in their current state; kept ones are None."""
    return [None if i in kept else g for i, g in enumerate(gradients)] if kept else gradients


def _rows_of(panel: Panel, parameter: int) -> int:
    ends = panel.first_rows[parameter + 1 : parameter + 2]
    return int(ends[0] if len(ends) else panel.rows) - int(panel.first_rows[parameter])
