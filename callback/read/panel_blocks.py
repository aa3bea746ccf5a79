"""The rows of a panel divided into blocks, and the content of each block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..memory.to_host import on_device, to_device
from .rows import BLOCK_ROWS, BLOCK_ROWS_OF_A_DEVICE, LINE, ROW, Block, Part, Piece
from .sampling import elements_of


class RowLayout:
    """Positions of the parameters' elements in the rows.

    Attributes:
        elements: See :class:`.panel.Panel`, as for the next four.
        elements_read: See :class:`.panel.Panel`.
        first_rows: See :class:`.panel.Panel`.
        row_elements: See :class:`.panel.Panel`.
        row_parameter: See :class:`.panel.Panel`.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        lines: Sequence[Tensor | None],
        parts: Mapping[int, Part],
        device: torch.device,
    ) -> None:
        """Give each parameter its rows.

        Args:
            sizes: Number of elements of each parameter.
            lines: Lines read of each parameter; None for all elements.
            parts: See :class:`.panel.Panel`.
            device: Device of the parameters.
        """
        self._lines = lines
        self._parts = parts
        self._device = device
        read = [
            n if chosen is None else elements_of(chosen, n)
            for n, chosen in zip(sizes, lines, strict=True)
        ]
        for i, part in parts.items():
            read[i] = len(part.elements)
        rows = [parts[i].rows if i in parts else max(1, -(-k // ROW)) for i, k in enumerate(read)]
        self.elements = np.array(sizes, np.int64)
        self.elements_read = np.array(read, np.int64)
        self.first_rows = np.concatenate([[0], np.cumsum(rows)[:-1]]).astype(np.int64)
        self.row_parameter = np.repeat(np.arange(len(rows)), rows)
        row_in_parameter = np.arange(sum(rows)) - self.first_rows[self.row_parameter]
        left = self.elements_read[self.row_parameter] - row_in_parameter * ROW
        self.row_elements: npt.NDArray[np.int64] = np.clip(left, 0, ROW)
        for i, part in parts.items():
            first = self.first_rows[i]
            self.row_elements[first : first + part.rows] = np.bincount(
                part.positions // ROW, minlength=part.rows
            )

    def blocks(self) -> list[Block]:
        """Return the rows, divided into blocks."""
        blocks = []
        most = BLOCK_ROWS if self._device.type == "cpu" else BLOCK_ROWS_OF_A_DEVICE
        for first_row in range(0, len(self.row_parameter), most):
            owners = self.row_parameter[first_row : first_row + most]
            first, last = int(owners[0]), int(owners[-1])
            pieces: list[Piece] = []
            for parameter in range(first, last + 1):
                pieces += self._pieces(parameter, self._lines[parameter], first_row, len(owners))
            whole = [piece for piece in pieces if piece.start is None]
            parts = [piece for piece in pieces if piece.start is not None]
            elements = self.row_elements[first_row : first_row + most]
            padded_rows = to_device(np.flatnonzero(elements < ROW), self._device)
            blocks.append(
                Block(
                    first_row,
                    len(owners),
                    first,
                    last + 1 - first,
                    owners - first,
                    whole,
                    parts,
                    padded_rows,
                )
            )
        return blocks

    def _pieces(
        self, parameter: int, lines: Tensor | None, first_row: int, rows: int
    ) -> list[Piece]:
        """The pieces of one parameter in a block."""
        offset = (int(self.first_rows[parameter]) - first_row) * ROW
        read = int(self.elements_read[parameter])
        # The elements [low, high) among those read of the parameter are in this block.
        low, high = max(0, -offset), min(read, rows * ROW - offset)
        if parameter in self._parts:
            return self._scattered(parameter, offset, rows)
        if high <= low:
            return []
        at = offset + low
        if lines is None:
            whole = high - low == read
            return [Piece(parameter, at, high - low, None if whole else low)]
        n = int(self.elements[parameter])
        chosen = lines[low // LINE : -(-high // LINE)]
        pieces = []
        full = chosen[chosen < n // LINE]
        if len(full):
            there = on_device(full, self._device)
            pieces.append(Piece(parameter, at, len(full) * LINE, 0, True, there))
        if len(full) < len(chosen):  # the last line of the tensor is shorter
            pieces.append(Piece(parameter, at + len(full) * LINE, n % LINE, n - n % LINE, True))
        return pieces

    def _scattered(self, parameter: int, offset: int, rows: int) -> list[Piece]:
        """The pieces of a part in a block, possibly empty, so all of its tensor is covered.

        Args:
            parameter: Index of the parameter.
            offset: Offset of its first row from the block's first row, in elements.
            rows: Number of rows of the block.
        """
        part = self._parts[parameter]
        at = part.positions + offset
        here = (at >= 0) & (at < rows * ROW)
        elements, positions = (
            to_device(indices[here], self._device) for indices in (part.elements, at)
        )
        return [Piece(parameter, 0, len(positions), 0, True, elements, positions)]
