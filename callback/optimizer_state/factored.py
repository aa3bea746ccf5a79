"""A second moment stored as one number per row and one per column."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


class Factored:
    """The product of rows and columns; only the elements that are read are computed.

    The full tensor would be as large as the weight.

    Attributes:
        shape: Shape of the full tensor.
    """

    def __init__(self, rows: Tensor, columns: Tensor, divisor: Tensor | None = None) -> None:
        """Keep the factors.

        Args:
            rows: ``[..., n]``.
            columns: ``[..., m]``.
            divisor: Divisor of each product, with as many elements as ``...``; None for 1.
        """
        self.shape = torch.Size((*rows.shape, columns.shape[-1]))
        self._rows = rows.reshape(-1, rows.shape[-1])
        self._columns = columns.reshape(-1, columns.shape[-1])
        self._divisor = None if divisor is None else divisor.reshape(-1)

    def __call__(self) -> Tensor:
        """Return the full tensor."""
        everything = slice(None)
        return self._part(everything, everything, everything).view(self.shape)

    def elements(self, indices: Tensor) -> Tensor:
        """Return some elements.

        Args:
            indices: In row-major order, int64 ``[k]``.
        """
        n, m = self._rows.shape[1], self._columns.shape[1]
        row = torch.div(indices, m, rounding_mode="floor")
        matrix = torch.div(row, n, rounding_mode="floor")
        column = indices - row * m
        found = self._rows[matrix, row - matrix * n] * self._columns[matrix, column]
        return found if self._divisor is None else found.div_(self._divisor[matrix])

    def parts(self, most: int) -> Iterator[Tensor]:
        """Yield all elements, at most ``most`` at a time, 3-D; each is valid until the next."""
        matrices, n = self._rows.shape
        m = self._columns.shape[1]
        wide = max(1, min(m, most))
        high = max(1, min(n, most // wide))
        deep = min(matrices, max(1, most // (wide * high)))
        # One allocation, to avoid small results scattered between many of them.
        memory = self._rows.new_empty(deep * high * wide)
        for matrix in range(0, matrices, deep):
            for row in range(0, n, high):
                for column in range(0, m, wide):
                    yield self._part(
                        slice(matrix, matrix + deep),
                        slice(row, row + high),
                        slice(column, column + wide),
                        memory,
                    )

    def _part(
        self, matrices: slice, rows: slice, columns: slice, memory: Tensor | None = None
    ) -> Tensor:
        of_rows = self._rows[matrices, rows].unsqueeze(-1)
        of_columns = self._columns[matrices, columns].unsqueeze(-2)
        shape = torch.broadcast_shapes(of_rows.shape, of_columns.shape)
        part = None if memory is None else memory[: shape.numel()].view(shape)
        part = torch.mul(of_rows, of_columns, out=part)
        return part if self._divisor is None else part.div_(self._divisor[matrices, None, None])
