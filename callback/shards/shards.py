"""Which part of a parameter this process has, if training is spread over several processes.

A :class:`Shard` turns a tensor of the optimizer (weight, gradient, state) into a plain tensor of
the elements that are here, and tells which elements of the whole parameter these are. If several
processes have the same elements, they are assigned to one process and the others have none: sums
over the processes count every element once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tb_adam_plugin.arrays import Flags, Int64s

from ..optimizer_state.parameter_state import ParameterState, Source
from ..read import norms
from ..read.rows import ROW, Part
from ..read.sampling import chosen_elements


class Sample(NamedTuple):
    """The part of a whole parameter's sample that is here.

    Attributes:
        elements: Indices into this process's part, in its memory order, int64.
        rows: Row of 256 elements in the whole sample that each of them is in, ascending, int64.
        total_rows: Number of rows of the whole sample.
    """

    elements: Int64s
    rows: Int64s
    total_rows: int

    def as_part(self) -> Part:
        """Return how these elements are laid out: each row holds those of one row of the whole."""
        numbers, starts, of = np.unique(self.rows, return_index=True, return_inverse=True)
        if not len(numbers):
            return Part(self.elements, self.elements, 1)
        return Part(self.elements, of * ROW + np.arange(len(of)) - starts[of], len(numbers))

    @property
    def row_numbers(self) -> Int64s:
        """Index in the whole sample of each row of :meth:`as_part`, ascending."""
        return np.unique(self.rows)


class Shard(ABC):
    """The part of one parameter that this process has.

    Attributes:
        shape: Shape of the whole parameter.
        is_here: Whether any element is here.
        cuts_rows: Whether a row along the first dimension may be split over several processes.
    """

    shape: torch.Size
    is_here: bool
    cuts_rows: bool

    @property
    def elements(self) -> int:
        """Number of elements of the whole parameter."""
        return self.shape.numel()

    @property
    def rows_here(self) -> int:
        """Number of rows along the first dimension that are here, if they are not split."""
        return self.shape[0] if self.is_here and len(self.shape) > 1 else 0

    def local(self, tensor: Tensor) -> Tensor:
        """Return the elements here of a tensor of the parameter's shape, as a plain tensor."""
        return self._local(tensor) if self.is_here else _nothing(tensor)

    def sample(self, name: str, part: Tensor, most: int | None) -> Sample | None:
        """Return the part here of the whole parameter's sample; None if all elements are read.

        Args:
            name: Of the parameter.
            part: From :meth:`local`.
            most: See :class:`..read.panel.Panel`.
        """
        elements = chosen_elements(name, self.elements, most)
        if elements is None:
            return None
        here = self._find(elements, part) if self.is_here else np.full(len(elements), -1)
        found = here >= 0
        return Sample(
            here[found],
            np.flatnonzero(found) // ROW,
            -(-len(elements) // ROW),
        )

    def rows_with_gradient(self, gradient: Tensor | None) -> Flags:
        """Return for each row of the whole parameter whether it has a gradient here.

        Args:
            gradient: From :meth:`local`.
        """
        alive = np.zeros(self.shape[0], bool)
        if self.is_here and gradient is not None:
            self._mark_rows(gradient, alive)
        return alive

    def state(self, state: ParameterState | None) -> ParameterState | None:
        """Return a state with plain tensors; None if none is here, or if it is split differently.

        State computed on demand from a whole tensor cannot be computed from a part.
        """
        if state is None or not self.is_here:
            return None
        sources = [state.exp_avg, state.exp_avg_sq, *state.others.values(), *state.masks.values()]
        if any(source is not None and not self._fits(source) for source in sources):
            return None
        return replace(
            state,
            exp_avg=self._of(state.exp_avg),
            exp_avg_sq=self._of(state.exp_avg_sq),
            others={key: self._local(source) for key, source in state.others.items()},  # type: ignore[arg-type]
            masks={key: self._local(source) for key, source in state.masks.items()},  # type: ignore[arg-type]
            step=_plain(state.step),
            numbers={key: _plain(number) for key, number in state.numbers.items()},
        )

    def _of(self, source: Source | None) -> Tensor | None:
        return self._local(source) if isinstance(source, Tensor) else None

    def _fits(self, source: Source) -> bool:
        """Whether a tensor of the state is split like its parameter."""
        return isinstance(source, Tensor)

    @abstractmethod
    def _local(self, tensor: Tensor) -> Tensor: ...

    @abstractmethod
    def _find(self, elements: Int64s, part: Tensor) -> Int64s:
        """Positions of elements of the whole parameter in ``part``; -1 for missing ones."""

    @abstractmethod
    def _mark_rows(self, gradient: Tensor, alive: Flags) -> None: ...


class WholeShard(Shard):
    """A parameter that is whole in each process, or in one: then this tells whether it is here."""

    def __init__(self, shape: torch.Size, is_here: bool) -> None:
        """Set whether this process counts it."""
        self.shape = shape
        self.is_here = is_here and shape.numel() > 0
        self.cuts_rows = False

    def _local(self, tensor: Tensor) -> Tensor:
        return tensor

    def _fits(self, source: Source) -> bool:
        return True

    def _of(self, source: Source | None) -> Any:
        return source

    def state(self, state: ParameterState | None) -> ParameterState | None:
        """Return a state unchanged; None if the parameter is not here."""
        return state if self.is_here else None

    def _find(self, elements: Int64s, part: Tensor) -> Int64s:
        return elements

    def _mark_rows(self, gradient: Tensor, alive: Flags) -> None:
        alive[:] = nonzero_rows(gradient)


def nonzero_rows(rows: Tensor) -> Flags:
    """Return which indices of the first dimension have a nonzero element."""
    found: Flags = norms.nonzero_rows(rows).cpu().numpy()
    return found


def _nothing(tensor: Tensor) -> Tensor:
    return torch.empty(0, dtype=tensor.dtype, device=tensor.device)


def _plain(number: Any) -> Any:
    """Return a number that an optimizer keeps; NaN if no process has it whole."""
    if not hasattr(number, "placements"):
        return number
    is_whole = all(placement.is_replicate() for placement in number.placements)
    return number.to_local() if is_whole else float("nan")
