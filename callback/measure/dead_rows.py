"""Which rows of a parameter, along its first dimension, have no gradient at all, and for how long.

A row produces one output: a unit, a channel, an entry of an embedding. The rows of a parameter that
is read whole are checked among the elements read. A sampled parameter shows only a few elements of
each row, so its rows are checked in a pass that covers all of its elements anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tb_adam_plugin.arrays import Flags, Float64s

from ..memory.to_host import to_device
from ..optimizer_state.parameter_state import Source
from ..read import gradient_sums, norms
from ..read.memory_order import has_no_gaps
from ..read.panel import Panel
from ..read.rows import ROW, Block
from .kept_gradients import kept_among
from .row_ages import RowAges
from .row_reductions import compare
from .tensors import Sources, present


@dataclass(frozen=True, slots=True)
class _Segments:
    """Runs of a block's elements that belong to one row, or to none.

    Attributes:
        starts: Start of each run, ascending from 0.
        rows: Index of the row among all checked rows; -1 for none.
    """

    starts: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int32]


class DeadRows:
    """Counts rows without gradient, step by step.

    Attributes:
        ages: Ages of all rows; if a kernel reduces the steps, it maintains them.
    """

    def __init__(self, parameters: Sequence[Tensor], panel: Panel) -> None:
        """Find the rows.

        Args:
            parameters: The parameters of ``panel``.
            panel: The elements that are read.
        """
        self.ages = ages = RowAges.of(parameters, panel.sampled)
        self._sampled = panel.sampled
        self._sampled_rows = np.array([len(parameters[i]) for i in panel.sampled])
        self._is_sampled = sampled = set(panel.sampled)
        starts, rows = [np.array([0])], [np.array([-1])]
        self._strided: list[int] = []  # whose rows are not contiguous in memory
        for i, parameter in enumerate(parameters):
            if parameter.dim() < 2 or not parameter.numel() or i in sampled:
                continue
            if not rows_are_runs(parameter):
                self._strided.append(i)
                continue
            first, count = int(panel.first_rows[i]) * ROW, len(parameter)
            numbers = np.arange(count + 1)
            starts.append(first + numbers * (parameter.numel() // count))
            numbers += ages.first[i]
            numbers[-1] = -1
            rows.append(numbers)
        all_starts, all_rows = np.concatenate(starts), np.concatenate(rows).astype(np.int32)
        self._segments = {
            block.first_row: _cut(all_starts, all_rows, block) for block in panel.blocks
        }
        self._ends: dict[int, Tensor] = {}  # of a block's segments, on the device
        self._on_device: list[tuple[_Segments, Tensor]] = []
        self._looked_at: list[int] = []  # whose rows were checked on a device, one by one
        # Parameters whose gradients are passed over for sums over all elements, as they are read;
        # this includes parts of parameters that are read whole, or not at all.
        pieces = (piece for block in panel.blocks for piece in block.parts if piece.sampled)
        self._added_up = list(dict.fromkeys(piece.parameter for piece in pieces))
        self._to_read: list[int] = []
        self._noted: list[tuple[int, int, Tensor]] = []  # of these rows, on the device

    def begin(self, step: int, gradients: Sources) -> None:
        """Begin a record.

        Args:
            step: The step number.
            gradients: Gradients of the parameters.
        """
        has_gradient = present(gradients)
        self.ages.begin(step, has_gradient)
        self.ages.grow(has_gradient)
        kept = kept_among(gradients)
        self._to_read = [i for i in self._added_up if has_gradient[i] and i not in kept]
        self._noted = []
        for i, gradient in kept.items():
            for first, is_alive in gradient.rows_with_gradient:
                self._note_sampled(i, first, is_alive)

    def total(self, gradient: Tensor, dtype: torch.dtype) -> Tensor:
        """Return :func:`.gradient_sums.total` of the next gradient, and note its rows.

        Args:
            gradient: The gradient; gradients come in the order in which the panel is read.
            dtype: See :func:`.gradient_sums.total`.
        """
        i = self._to_read.pop(0)
        if i not in self._is_sampled or not self.ages.rows[i]:
            return gradient_sums.total(gradient, dtype)
        return gradient_sums.total(
            gradient, dtype, lambda first, is_alive: self._note_sampled(i, first, is_alive)
        )

    def note_norms(self, index: int, has_gradient: Flags) -> None:
        """Note the rows of a sampled gradient.

        Args:
            index: Index of the parameter among ``panel.sampled``.
            has_gradient: Whether each row has a gradient.
        """
        self.ages.mark(self._sampled[index], 0, has_gradient)

    def look_at(self, block: Block, gradient: Tensor, mask: Tensor) -> None:
        """Check the gradients of a block, without waiting for a device.

        Args:
            block: A block of the panel.
            gradient: ``[rows, ROW]``.
            mask: bool ``[rows, ROW]``; overwritten.
        """
        segments = self._segments[block.first_row]
        if (segments.rows < 0).all():
            return
        nonzero = compare("not_equal", gradient, 0, mask).view(-1)
        if gradient.device.type != "cpu":
            running = torch.cumsum(nonzero, 0, dtype=torch.int32)
            ends = self._ends.get(block.first_row)
            if ends is None:
                ends = to_device(np.append(segments.starts[1:], len(nonzero)) - 1, gradient.device)
                self._ends[block.first_row] = ends
            at_ends = torch.index_select(running, 0, ends)
            counts = torch.diff(at_ends, prepend=running.new_zeros(1))
            self._on_device.append((segments, counts))
        else:
            self._note(segments, np.logical_or.reduceat(nonzero.numpy(), segments.starts))

    def counts(self, gradients: Sequence[Source | None]) -> list[Tensor]:
        """Return the on-device inputs of :meth:`fractions`: int32 and bool, 1-D.

        Args:
            gradients: Gradients of the parameters.
        """
        counts = [counts for _, counts in self._on_device]
        flags = [is_alive for _, _, is_alive in self._noted]
        self._looked_at = []
        for i in self._strided:  # now, because later each would cause a wait
            gradient = gradients[i]
            if isinstance(gradient, Tensor) and gradient.device.type != "cpu":
                self._looked_at.append(i)
                flags.append(norms.nonzero_rows(gradient))
        return [_joined(counts, torch.int32), _joined(flags, torch.bool)]

    def fractions(
        self,
        counts: npt.NDArray[np.int32],
        flags: Flags,
        gradients: Sequence[Source | None],
        of_sampled: Float64s,
    ) -> tuple[Float64s, Float64s]:
        """Return this record's shares of rows without gradient and of idle rows.

        Args:
            counts: The first result of :meth:`counts`, on the host.
            flags: The second result, on the host.
            gradients: Gradients of the parameters.
            of_sampled: Number of rows without gradient in each sampled parameter; NaN for a vector.

        Returns:
            Each ``[parameters]``; NaN for a parameter with fewer than two dimensions or without a
            gradient. For the second, also see :class:`.row_ages.RowAges`.
        """
        self._note_flags(counts, flags)
        for i in self._strided:
            gradient = gradients[i]
            if isinstance(gradient, Tensor) and i not in self._looked_at:
                self.ages.mark(i, 0, norms.nonzero_rows(gradient).numpy())
        rows, alive = self.ages.rows, self.ages.alive()
        fractions = np.where(rows > 0, 1 - alive / np.maximum(rows, 1), np.nan)
        fractions[self._sampled] = of_sampled / self._sampled_rows
        fractions[self._strided] = ((rows - alive) / np.maximum(rows, 1))[self._strided]
        fractions[[gradient is None for gradient in gradients]] = np.nan
        return fractions, self.ages.idle_fractions(self.ages.idle())

    def _note_flags(self, counts: npt.NDArray[np.int32], flags: Flags) -> None:
        """Note the results from a device."""
        ends = np.cumsum([len(segments.rows) for segments, _ in self._on_device])
        for (segments, _), of_block in zip(self._on_device, np.split(counts, ends), strict=False):
            self._note(segments, of_block > 0)
        self._on_device.clear()
        at = 0
        places = [(i, first, len(is_alive)) for i, first, is_alive in self._noted]
        for i, first, count in [*places, *((i, 0, self.ages.rows[i]) for i in self._looked_at)]:
            self.ages.mark(i, first, flags[at : at + count])
            at += count
        self._noted = []

    def _note(self, segments: _Segments, has_gradient: Flags) -> None:
        rows = segments.rows[has_gradient]
        self.ages.ages[rows[rows >= 0]] = 0

    def _note_sampled(self, parameter: int, first: int, has_gradient: Tensor) -> None:
        if has_gradient.device.type == "cpu":
            self.ages.mark(parameter, first, has_gradient.numpy())
        elif self.ages.rows[parameter]:
            self._noted.append((parameter, first, has_gradient))


def _cut(starts: npt.NDArray[np.int64], rows: npt.NDArray[np.int32], block: Block) -> _Segments:
    """Return the part of all segments that lies in a block."""
    low, high = block.first_row * ROW, (block.first_row + block.rows) * ROW
    first = int(np.searchsorted(starts, low, side="right")) - 1
    end = int(np.searchsorted(starts, high))
    return _Segments(np.maximum(starts[first:end] - low, 0), rows[first:end])


def rows_are_runs(parameter: Tensor) -> bool:
    """Whether rows are contiguous in the order in which the elements are read."""
    if not has_no_gaps(parameter):
        return True  # such a parameter is read in the order of its indices
    return len(parameter) == 1 or parameter.stride(0) == parameter.numel() // len(parameter)


def _joined(parts: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    return torch.cat([*parts]) if parts else torch.zeros(0, dtype=dtype, device="cpu")
