"""Histograms of elements read block by block: counted cut by cut, then completed with zeros."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tb_adam_plugin import schema

from ..read.panel import Panel
from ..read.rows import ROW, Block
from . import histograms
from .row_value_table import POSITION, ZEROS


class BlockHistograms:
    """Counts the elements of a panel, one step after the other.

    Attributes:
        padding: How many elements of each parameter's rows are padding, int64 ``[K]``.
    """

    def __init__(
        self,
        panel: Panel,
        quantities: Sequence[schema.Quantity],
        device: torch.device,
        scratch: Tensor,
    ) -> None:
        """Lay out the cuts.

        Args:
            panel: The elements that are read.
            quantities: Quantities to make histograms of, besides additional state tensors.
            device: Device of the elements.
            scratch: Contiguous memory of at least ``4 * ROW`` bytes per row of the largest block;
                overwritten by :meth:`count`.
        """
        self._panel = panel
        self._quantities = quantities
        self._device = device
        self._cuts = {b.first_row: histograms.cuts(b.row_parameter, device) for b in panel.blocks}
        most = max(block.rows for block in panel.blocks)
        self._codes = scratch.view(torch.int32).view(-1)[: most * ROW].view(most, ROW)
        self._ends = np.append(panel.first_rows[1:], panel.rows)  # of each parameter's rows
        self._counts: histograms.HistogramCounts | None = None
        self._is_there = np.ones((0, len(panel.elements)), bool)
        self.padding = np.add.reduceat(ROW - panel.row_elements, panel.first_rows)

    def begin(self, others: Sequence[str], is_there: npt.NDArray[np.bool_]) -> None:
        """Begin another step.

        Args:
            others: Keys of additional state tensors.
            is_there: Which parameters have each quantity, ``[quantities, K]``.
        """
        quantities = self.quantities(others)
        if self._counts is None or self._counts.quantities != quantities:
            read = self._panel.elements_read + self.padding
            self._counts = histograms.HistogramCounts(quantities, read, self._device)
        self._counts.begin()
        self._is_there = is_there

    def quantities(self, others: Sequence[str]) -> tuple[schema.Quantity, ...]:
        """Return the counted quantities, including additional state tensors."""
        return (*self._quantities, *(schema.state_quantity(key) for key in others))

    def count(
        self,
        block: Block,
        counted: Sequence[Tensor | None],
        rows: Tensor,
        zeros: Tensor,
    ) -> None:
        """Count a block's elements; on the host, complete the parameters that end in it.

        Args:
            block: The block.
            counted: Its elements by quantity, each ``[rows, ROW]``; None if a quantity is unknown.
            rows: Row values of all rows, computed up to this block.
            zeros: Number of zeros in each row of the additional state tensors, in the same layout.
        """
        assert self._counts is not None
        for cut in self._cuts[block.first_row]:
            self._count(self._counts, block, cut, counted)
            if not self._counts.on_device:
                ended = self._ended_in(block, cut)
                self._counts.end_cut(
                    self._zero_counts(rows.numpy(), zeros.numpy(), ended),
                    self.padding[ended],
                    self._is_there[:, ended],
                )

    @property
    def on_device(self) -> list[Tensor]:
        """The tensors to copy to the host for :meth:`take`."""
        return [] if self._counts is None else self._counts.on_device

    def take(
        self,
        codes: Sequence[npt.NDArray[Any]],
        rows: npt.NDArray[Any],
        zeros: npt.NDArray[Any],
    ) -> schema.SparseHistograms:
        """Return the histograms of all parameters, once after each :meth:`begin`.

        Args:
            codes: Copy of :attr:`on_device`.
            rows: Row values, on the host.
            zeros: See :meth:`count`; on the host.
        """
        assert self._counts is not None
        if codes:
            every = slice(0, len(self._ends))
            of_quantities = self._zero_counts(rows, zeros, every)
            self._counts.take_codes(codes[0], of_quantities, self.padding, self._is_there)
        return self._counts.take()

    def _count(
        self,
        counts: histograms.HistogramCounts,
        block: Block,
        cut: histograms.Cut,
        counted: Sequence[Tensor | None],
    ) -> None:
        """Count the codes of each quantity's elements in a cut of a block."""
        parameters = _shifted(cut.parameters, block.first_parameter)
        counts.begin_cut(parameters)
        for q, values in enumerate(counted):
            if values is not None:
                table = histograms.count_rows(
                    values[cut.rows].float(),
                    cut.offsets,
                    parameters.stop - parameters.start,
                    self._codes[cut.rows],
                    counts.table,
                )
                counts.add(q, parameters, table)

    def _ended_in(self, block: Block, cut: histograms.Cut) -> slice:
        """Which of a cut's parameters have their last row in its block."""
        parameters = _shifted(cut.parameters, block.first_parameter)
        end = block.first_row + block.rows
        stop = int(np.searchsorted(self._ends, end, side="right"))
        return slice(parameters.start, min(max(parameters.start, stop), parameters.stop))

    def _zero_counts(
        self, rows: npt.NDArray[Any], others: npt.NDArray[Any], parameters: slice
    ) -> list[schema.Counts]:
        """Number of zeros in some parameters, padding included, by quantity.

        Args:
            rows: Row values, on the host.
            others: Number of zeros in each row of the additional quantities.
            parameters: Which parameters.
        """
        firsts = self._panel.first_rows[parameters]
        if not len(firsts):
            return []
        here = slice(int(firsts[0]), int(self._ends[parameters][-1]))
        found = [*(rows[POSITION[ZEROS[q.name]]] for q in self._quantities), *others]
        starts = firsts - firsts[0]
        return [
            np.add.reduceat(zeros[here], starts, dtype=np.float64).astype(np.int64)
            for zeros in found
        ]


def _shifted(indices: slice, by: int) -> slice:
    return slice(indices.start + by, indices.stop + by)
