"""Which rows of a parameter, along its first dimension, have no gradient at all.

A row is what makes one output: a unit, a channel, an entry of an embedding. Rows of parameters that
are read whole are found among the elements that are read. A sampled parameter shows few elements
of a row, so its rows are counted where all of its elements are gone through anyway.
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
from ..read import norms
from ..read.memory_order import has_no_gaps
from ..read.panel import Panel
from ..read.rows import ROW, Block
from .row_reductions import compare


@dataclass(frozen=True, slots=True)
class _Segments:
    """Runs of a block's elements that belong to one row, or to none.

    Attributes:
        starts: Where each begins, ascending from 0.
        rows: Index of the row among all rows that are looked at; -1 for none.
    """

    starts: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int32]


class DeadRows:
    """Counts them, step by step."""

    def __init__(self, parameters: Sequence[Tensor], panel: Panel) -> None:
        """Find the rows.

        Args:
            parameters: Those of ``panel``.
            panel: What is read of them.
        """
        self._parameters = len(parameters)
        self._sampled = panel.sampled
        self._sampled_rows = np.array([len(parameters[i]) for i in panel.sampled])
        sampled = set(panel.sampled)
        starts, rows = [np.array([0])], [np.array([-1])]
        counts = np.zeros(len(parameters), np.int64)
        self._strided: list[int] = []  # whose rows do not lie one after the other
        for i, parameter in enumerate(parameters):
            if parameter.dim() < 2 or not parameter.numel() or i in sampled:
                continue
            if not rows_are_runs(parameter):
                self._strided.append(i)
                continue
            first, count = int(panel.first_rows[i]) * ROW, len(parameter)
            numbers = np.arange(count + 1)
            starts.append(first + numbers * (parameter.numel() // count))
            numbers += counts.sum()
            numbers[-1] = -1
            rows.append(numbers)
            counts[i] = count
        self._owners = np.repeat(np.arange(len(parameters), dtype=np.int32), counts)
        all_starts, all_rows = np.concatenate(starts), np.concatenate(rows).astype(np.int32)
        self._segments = {
            block.first_row: _cut(all_starts, all_rows, block) for block in panel.blocks
        }
        self._is_alive = np.zeros(len(self._owners), bool)
        self._ends: dict[int, Tensor] = {}  # of a block's segments, on the device
        self._on_device: list[tuple[_Segments, Tensor]] = []
        self._counted: list[int] = []  # whose dead rows were counted on a device, one by one

    def look_at(self, block: Block, gradient: Tensor, mask: Tensor) -> None:
        """Look at the gradients of a block; does not wait for a device.

        Args:
            block: Of the panel.
            gradient: ``[rows, ROW]``.
            mask: bool, likewise; overwritten.
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

    def counts(self, gradients: Sequence[Source | None]) -> Tensor:
        """Return what :meth:`fractions` needs of what lies on a device: int32, 1-D, or nothing.

        Args:
            gradients: Of the parameters.
        """
        found = [counts for _, counts in self._on_device]
        self._counted = []
        for i in self._strided:  # now, because later each would be waited for
            gradient = gradients[i]
            if isinstance(gradient, Tensor) and gradient.device.type != "cpu":
                self._counted.append(i)
                found.append(_dead(gradient).to(torch.int32).view(1))
        return torch.cat(found) if found else torch.zeros(0, dtype=torch.int32, device="cpu")

    def fractions(
        self,
        counts: npt.NDArray[np.int32],
        gradients: Sequence[Source | None],
        of_sampled: Float64s,
    ) -> Float64s:
        """Return the share of rows without gradient since the last call, ``[parameters]``.

        Args:
            counts: From :meth:`counts`, on the host.
            gradients: Of the parameters.
            of_sampled: How many rows of each sampled parameter have no gradient; NaN for a vector.

        Returns:
            NaN for a parameter of less than two dimensions and for one without a gradient.
        """
        ends = np.cumsum([len(segments.rows) for segments, _ in self._on_device])
        *parts_of_blocks, dead = np.split(counts, ends)
        for (segments, _), of_block in zip(self._on_device, parts_of_blocks, strict=False):
            self._note(segments, of_block > 0)
        known = dict(zip(self._counted, dead.tolist(), strict=True))
        self._on_device.clear()
        fractions = np.full(self._parameters, np.nan)
        rows = np.bincount(self._owners, minlength=len(fractions))
        alive = np.bincount(self._owners[self._is_alive], minlength=len(fractions))
        here = rows > 0
        fractions[here] = 1 - alive[here] / rows[here]
        self._is_alive[:] = False
        fractions[self._sampled] = of_sampled / self._sampled_rows
        for i in self._strided:
            gradient = gradients[i]
            if isinstance(gradient, Tensor):
                fractions[i] = count_dead(gradient, known.get(i)) / len(gradient)
        fractions[[gradient is None for gradient in gradients]] = np.nan
        return fractions

    def _note(self, segments: _Segments, has_gradient: Flags) -> None:
        rows = segments.rows[has_gradient]
        self._is_alive[rows[rows >= 0]] = True


def _cut(starts: npt.NDArray[np.int64], rows: npt.NDArray[np.int32], block: Block) -> _Segments:
    """Return the part of all segments that lies in a block."""
    low, high = block.first_row * ROW, (block.first_row + block.rows) * ROW
    first = int(np.searchsorted(starts, low, side="right")) - 1
    end = int(np.searchsorted(starts, high))
    return _Segments(np.maximum(starts[first:end] - low, 0), rows[first:end])


def rows_are_runs(parameter: Tensor) -> bool:
    """Whether rows follow one another in the order in which the elements are read."""
    if not has_no_gaps(parameter):
        return True  # such a parameter is read in the order of its indices
    return len(parameter) == 1 or parameter.stride(0) == parameter.numel() // len(parameter)


def count_dead(gradient: Tensor, known: int | None = None) -> int:
    """Return how many rows along the first dimension are zero.

    Waits for the device, unless they were counted already.
    """
    if known is not None:
        return known
    return int(_dead(gradient))


def _dead(gradient: Tensor) -> Tensor:
    return len(gradient) - norms.nonzero_rows(gradient).sum()
