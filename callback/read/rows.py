"""Rows of elements, and the parts of a block of rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Total = Callable[[Tensor, torch.dtype], Tensor]
ROW = 256
LINE = 16
BLOCK_ROWS = 512
# On a device, launches are paid per block, and 4 MB per quantity are little.
BLOCK_ROWS_OF_A_DEVICE = 4096


class Part(NamedTuple):
    """Individual elements read of a parameter, and where in its rows they go.

    Attributes:
        elements: Indices in the parameter's memory order, int64.
        positions: Positions in the parameter's rows, ascending, int64.
        rows: Number of its rows, at least 1.
    """

    elements: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    rows: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive elements of a block that come from one parameter.

    Attributes:
        parameter: Index of the parameter.
        at: Where the piece starts in the block, in elements.
        count: Number of elements.
        start: First element in the parameter's memory order; None for a parameter that is copied as
            a whole, with any strides.
        sampled: Whether the parameter is not read whole.
        lines: Indices of lines to read instead of consecutive elements, or None.
        positions: Positions in the block of individual elements, whose indices are then in
            ``lines``.
    """

    parameter: int
    at: int
    count: int
    start: int | None
    sampled: bool = False
    lines: Tensor | None = None
    positions: Tensor | None = None


@dataclass(slots=True)
class Block:
    """Rows that are processed together.

    Attributes:
        first_row: Index of its first row among all rows.
        rows: Number of rows.
        first_parameter: Index of the first parameter with a row in it.
        parameters: Number of parameters with a row in it.
        row_parameter: Index of each row's parameter, counted from ``first_parameter``.
        whole: Pieces of the parameters that are copied as a whole.
        parts: The other pieces.
        padded_rows: Indices of its rows with padding.
        targets: Where each piece goes, by name of the memory.
    """

    first_row: int
    rows: int
    first_parameter: int
    parameters: int
    row_parameter: npt.NDArray[np.int64]
    whole: list[Piece]
    parts: list[Piece]
    padded_rows: Tensor
    targets: dict[str, list[Tensor]] = field(default_factory=dict)
