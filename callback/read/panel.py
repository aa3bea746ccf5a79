"""The elements read of every parameter, and their layout for batched arithmetic.

A parameter of at most ``max_sampled_elements`` elements is read whole. A larger one is read through
a fixed sample of *lines*, runs of 16 neighbouring elements (64 bytes of float32, one cache line):
the tensor is divided into equal strata and one line is drawn in each. The lines stay the same for
the whole run, so curves carry no resampling noise, and differ between parameters, so what one
sample misses another one can have. Equal strides would alias with rows, channels and kernel taps;
random lines do not, and cost no more to read.

The elements of all parameters are stored one after the other in rows of 256. Each parameter starts
a new row; the rest of its last row is zero. Row-wise operations therefore serve all parameters at
once. Rows are processed in blocks, which bounds the temporaries.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..memory import lasting
from ..optimizer_state.factored import Factored
from ..optimizer_state.parameter_state import Source
from . import norms
from .panel_blocks import RowLayout
from .rows import ROW, Block, Part, Piece, Total
from .sampling import choose_lines
from .tensor_reader import TensorReader


class Panel:
    """The elements read of some parameters of one device.

    Attributes:
        elements: Number of elements of each parameter, int64 ``[parameters]``.
        elements_read: How many of them are read, int64 ``[parameters]``.
        first_rows: Index of each parameter's first row, int64 ``[parameters]``.
        row_elements: Number of elements in each row without padding, int64 ``[rows]``.
        row_parameter: Index of each row's parameter, int64 ``[rows]``.
        blocks: The rows, in blocks.
        sampled: Indices of the parameters that are not read whole.
        lines: Indices of the lines read of each parameter, int64; None for all elements.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        names: Sequence[str],
        dtype: torch.dtype,
        max_sampled_elements: int | None,
        parts: Mapping[int, Part] = MappingProxyType({}),
        grown: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Choose the elements.

        Args:
            parameters: Floating-point parameters on one device.
            names: Their names, for messages, and to draw the samples.
            dtype: Type of the values as they are read: float32, or float64.
            max_sampled_elements: Largest number of elements to read of one parameter; None for all.
            parts: The parts to read of parameters that are sampled elsewhere, by index.
            grown: A different largest number of elements for some parameters, by name.
        """
        self._dtype = dtype
        self._device = parameters[0].device
        self.lines = [
            None
            if i in parts
            else choose_lines(name, parameter.numel(), grown.get(name, max_sampled_elements))
            for i, (name, parameter) in enumerate(zip(names, parameters, strict=True))
        ]
        sizes = [parameter.numel() for parameter in parameters]
        layout = RowLayout(sizes, self.lines, parts, self._device)
        self.elements = layout.elements
        self.elements_read = layout.elements_read
        self.first_rows = layout.first_rows
        self.row_elements = layout.row_elements
        self.row_parameter = layout.row_parameter
        self.blocks = layout.blocks()
        self.sampled: list[int] = np.flatnonzero(self.elements_read < self.elements).tolist()
        reads_lines = [i for i in self.sampled if i not in parts]
        most = max(block.rows for block in self.blocks)
        self._reader = TensorReader(parameters, names, dtype, reads_lines, most)
        self._scratch: dict[str, tuple[Tensor, Block | None]] = {}
        self._whole: tuple[Tensor | None, Block | None] = (None, None)
        self._before: Tensor | None = None
        self._totals: dict[tuple[str, int], Tensor] = {}

    @property
    def rows(self) -> int:
        """Number of rows of all parameters."""
        return len(self.row_parameter)

    def read_before(self, total: Total, weights: Sequence[Source | None]) -> None:
        """Keep the weights before a step, for :meth:`before`.

        Args:
            total: As in :meth:`read`.
            weights: One per parameter, as in :meth:`read`.
        """
        self._totals.clear()
        before = self.rows_before()
        for block in self.blocks:
            rows = before[block.first_row : block.first_row + block.rows]
            self._fill(block, "before", rows, weights, total)

    def rows_before(self) -> Tensor:
        """Return the memory that :meth:`read_before` fills, ``[rows, ROW]``; padding is 0."""
        if self._before is None:
            self._before = self._zeros(self.rows)
        return self._before

    def put_before(self, squares: npt.NDArray[np.float64]) -> None:
        """Declare that :meth:`rows_before` has been filled.

        Args:
            squares: Σb² over all elements of the parameters :attr:`sampled`.
        """
        self._totals.clear()
        for i, square in zip(self.sampled, squares.tolist(), strict=True):
            norm = torch.tensor([square], dtype=torch.float64, device="cpu").sqrt_()
            self._totals["before", i] = norm.to(self._device, self._dtype)

    def before(self, block: Block) -> Tensor:
        """Return the weights that :meth:`read_before` kept, ``[rows, ROW]``."""
        assert self._before is not None
        return self._before[block.first_row : block.first_row + block.rows]

    def read(
        self,
        block: Block,
        quantity: str,
        tensors: Sequence[Source | None],
        total: Total | None = None,
    ) -> Tensor:
        """Read a block's elements of one quantity.

        Args:
            block: One of :attr:`blocks`.
            quantity: Names the memory that is reused between calls.
            tensors: One per parameter, with its shape, or a function that returns it; None reads as
                zeros.
            total: What to compute over all elements of a sampled tensor, for :meth:`totals`. It
                runs just before the tensor's lines are read: then they are in the processor's
                cache, and one pass over memory suffices.

        Returns:
            ``[rows, ROW]``, valid until the quantity's next read.

        Raises:
            .tensor_reader.CaptureError: If a tensor cannot be read.
        """
        rows, last_block = self._scratch.get(quantity, (None, None))
        if rows is None:
            rows = self._zeros(self._reader.block_rows)
        elif last_block is not block and len(block.padded_rows):
            rows.index_fill_(0, block.padded_rows, 0)  # left over from another block
        self._scratch[quantity] = (rows, block)
        self._fill(block, quantity, rows[: block.rows], tensors, total)
        return rows[: block.rows]

    def can_read_sparse(self, parameter: int, tensor: Tensor) -> bool:
        """Whether a sparse tensor of a parameter can be read without making it dense."""
        return self._reader.can_read_sparse(parameter, tensor)

    def totals(self, quantity: str, length: int = 1) -> tuple[Tensor, list[int]]:
        """Return the results of ``total`` in the last reads of a quantity, concatenated.

        Args:
            quantity: As in :meth:`read`; for :meth:`read_before` it is "before".
            length: Number of zeros for a tensor that was None.

        Returns:
            The results for the parameters :attr:`sampled`, 1-D, and where each one starts.
        """
        zero = torch.zeros(length, dtype=self._dtype, device=self._device)
        parts = [self._totals.pop((quantity, i), zero) for i in self.sampled]
        starts = itertools.accumulate((len(part) for part in parts[:-1]), initial=0)
        return torch.cat(parts), list(starts)

    def _zeros(self, rows: int) -> Tensor:
        return lasting.zeros((rows, ROW), self._dtype, self._device)

    def _fill(
        self,
        block: Block,
        quantity: str,
        rows: Tensor,
        tensors: Sequence[Source | None],
        total: Total | None,
    ) -> None:
        of_parts = self._targets(block, quantity, block.parts, rows)
        if self._device.type != "cpu":
            self._add_up_together(block, quantity, tensors, total)
        try:
            if block.whole:
                rows.copy_(self._copied(block, quantity, tensors))
            for piece, target in zip(block.parts, of_parts, strict=True):
                source = tensors[piece.parameter]
                if source is None:
                    if piece.positions is None:
                        target.zero_()
                    else:
                        target.index_fill_(0, piece.positions, 0)
                    continue
                key = (quantity, piece.parameter)
                if isinstance(source, Factored):
                    if total is not None and piece.sampled and key not in self._totals:
                        parts = [total(part, self._dtype) for part in source.parts(norms.CHUNK)]
                        self._totals[key] = torch.cat(parts)
                    self._reader.fill_factored(piece, target, source)
                    continue
                tensor = self._reader.tensor(quantity, piece.parameter, source)
                if total is not None and piece.sampled and key not in self._totals:
                    self._totals[key] = total(tensor, self._dtype)
                self._reader.fill(quantity, piece, target, tensor)
        finally:
            self._reader.forget()

    def _add_up_together(
        self,
        block: Block,
        quantity: str,
        tensors: Sequence[Source | None],
        total: Total | None,
    ) -> None:
        """Compute the totals of a block's tensors on a device at once, if possible."""
        if total not in (norms.partial_norms, norms.partial_sums):
            return
        order = 2.0 if total is norms.partial_norms else 1.0
        found = {
            (quantity, piece.parameter): tensor
            for piece in block.parts
            if piece.sampled
            and (quantity, piece.parameter) not in self._totals
            and isinstance(tensor := tensors[piece.parameter], Tensor)
            and tensor.layout == torch.strided
        }
        if found:
            sums = norms.several_on_device([*found.values()], order, self._dtype)
            self._totals.update(zip(found, sums, strict=True))

    def _copied(self, block: Block, quantity: str, tensors: Sequence[Source | None]) -> Tensor:
        """Return a block's rows, filled only with the tensors that are read whole.

        All quantities use the same memory: thousands of tensors have one target each.
        """
        rows, last_block = self._whole
        if rows is None:
            rows = self._zeros(self._reader.block_rows)
        elif last_block is not block:
            rows.index_fill_(0, block.padded_rows, 0)  # left over from another block
        self._whole = (rows, block)
        rows = rows[: block.rows]
        targets = self._targets(block, "", block.whole, rows)
        self._reader.copy(quantity, block.whole, targets, tensors)
        return rows

    def _targets(
        self, block: Block, memory: str, pieces: Sequence[Piece], rows: Tensor
    ) -> list[Tensor]:
        """Where in ``rows`` each piece goes; computed once for each memory."""
        if memory not in block.targets:
            block.targets[memory] = self._reader.targets(pieces, rows)
        return block.targets[memory]
