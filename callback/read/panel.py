"""What is read of every parameter: the elements, and how they are laid out for batched arithmetic.

A parameter of at most ``max_sampled_elements`` elements is read whole. A larger one is read through
a fixed sample of *lines*, runs of 16 neighbouring elements (64 bytes of float32, one cache line):
the tensor is cut into equal strata and one line is drawn in each. The lines stay the same for the
whole run, so that no curve carries resampling noise. Equal strides would alias with rows, channels
and kernel taps; drawn lines do not, and cost no more to read.

The elements of all parameters lie one after the other in rows of 256. Each parameter starts a new
row; the rest of its last row is zero. Row-wise operations therefore serve all parameters at once.
Rows are worked on in blocks, which bounds the temporaries.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..memory import lasting
from ..optimizer_state.parameter_state import Source
from . import sparse_rows
from .norms import flat_view, has_no_gaps

Total = Callable[[Tensor, torch.dtype], Tensor]
ROW = 256
LINE = 16
BLOCK_ROWS = 512

_SEED = 0x5EED


class CaptureError(RuntimeError):
    """A tensor of a parameter could not be read; the message names the parameter.

    Attributes:
        parameter: Its name.
    """

    def __init__(self, parameter: str, reason: Exception) -> None:
        """Say which parameter, and why."""
        super().__init__(f"parameter {parameter}: {reason}")
        self.parameter = parameter


class Part(NamedTuple):
    """Single elements that are read of a parameter, and where in its rows they go.

    Attributes:
        elements: Indices in the parameter's memory order, int64.
        positions: In the parameter's rows, ascending, int64.
        rows: Number of its rows, at least 1.
    """

    elements: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    rows: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """Consecutive elements of a block that come from one parameter.

    Attributes:
        parameter: Index of the parameter.
        at: Where the piece starts in the block, in elements.
        count: Number of elements.
        start: First element in the parameter's memory order; None for a parameter that is copied
            as a whole, whatever its strides.
        sampled: Whether the parameter is not read whole.
        lines: Indices of lines to read instead of consecutive elements, or None.
        positions: Where in the block single elements go, whose indices are then in ``lines``.
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
    """Rows that are worked on together.

    Attributes:
        first_row: Index of its first row among all rows.
        rows: Number of rows.
        first_parameter: Index of the first parameter with a row in it.
        parameters: Number of parameters with a row in it.
        row_parameter: Index of each row's parameter, counted from ``first_parameter``.
    """

    first_row: int
    rows: int
    first_parameter: int
    parameters: int
    row_parameter: npt.NDArray[np.int64]
    _whole: list[_Piece]
    _parts: list[_Piece]
    _padded_rows: Tensor
    _targets: dict[str, list[Tensor]] = field(default_factory=dict)


class Panel:
    """The elements that are read of some parameters of one device.

    Attributes:
        elements: Number of elements of each parameter, int64 ``[parameters]``.
        elements_read: How many of them are read, int64 ``[parameters]``.
        first_rows: Index of each parameter's first row, int64 ``[parameters]``.
        row_elements: How many elements of each row are no padding, int64 ``[rows]``.
        row_parameter: Index of each row's parameter, int64 ``[rows]``.
        blocks: The rows, cut up.
        sampled: Indices of the parameters that are not read whole.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        names: Sequence[str],
        dtype: torch.dtype,
        max_sampled_elements: int | None,
        parts: Mapping[int, Part] = MappingProxyType({}),
    ) -> None:
        """Choose the elements.

        Args:
            parameters: Floating point, on one device.
            names: Their names, for messages.
            dtype: Of the values as they are read: float32, or float64.
            max_sampled_elements: Largest number of elements to read of one parameter; None for all.
            parts: What is read of those parameters for which it is chosen elsewhere, by index.
        """
        self._names = names
        self._dtype = dtype
        self._device = parameters[0].device
        self._parts = parts
        sizes = [parameter.numel() for parameter in parameters]
        lines = [
            None if i in parts else _choose_lines(n, max_sampled_elements)
            for i, n in enumerate(sizes)
        ]
        read = [
            n if chosen is None else _elements_of(chosen, n)
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
        self.row_elements = np.clip(left, 0, ROW)
        for i, part in parts.items():
            first = self.first_rows[i]
            self.row_elements[first : first + part.rows] = np.bincount(
                part.positions // ROW, minlength=part.rows
            )
        self.blocks = self._make_blocks(lines)
        # Only shapes and strides are kept: training frees and replaces tensors as it likes.
        self._shapes = [parameter.shape for parameter in parameters]
        self._orders = [_memory_order(parameter) for parameter in parameters]
        self._offsets: dict[tuple[str, int, int], tuple[tuple[int, ...], Tensor]] = {}
        self._scratch: dict[str, tuple[Tensor, Block | None]] = {}
        self._whole: tuple[Tensor | None, Block | None] = (None, None)
        self._before: Tensor | None = None
        self._totals: dict[tuple[str, int], Tensor] = {}
        self._made: tuple[str, int, Tensor] | None = None
        self.sampled: list[int] = np.flatnonzero(self.elements_read < self.elements).tolist()

    @property
    def rows(self) -> int:
        """Number of rows of all parameters."""
        return len(self.row_parameter)

    def read_before(self, total: Total, weights: Sequence[Source | None]) -> None:
        """Keep the weights before a step, for :meth:`before`.

        Args:
            total: As in :meth:`read`.
            weights: One a parameter, as in :meth:`read`.
        """
        self._totals.clear()
        if self._before is None:
            self._before = self._zeros(self.rows)
        for block in self.blocks:
            rows = self._before[block.first_row : block.first_row + block.rows]
            self._fill(block, "before", rows, weights, total)

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
            tensors: One a parameter, of its shape, or what makes it; None reads as zeros.
            total: What to compute over all elements of a tensor that is sampled, for
                :meth:`totals`. It runs just before the tensor's lines are read: then they are in
                the processor's cache, and the memory is gone through once.

        Returns:
            ``[rows, ROW]``, valid until the quantity's next read.

        Raises:
            CaptureError: If a tensor cannot be read.
        """
        rows, last_block = self._scratch.get(quantity, (None, None))
        if rows is None:
            rows = self._zeros(max(b.rows for b in self.blocks))
        elif last_block is not block and len(block._padded_rows):
            rows.index_fill_(0, block._padded_rows, 0)  # another block has elements there
        self._scratch[quantity] = (rows, block)
        self._fill(block, quantity, rows[: block.rows], tensors, total)
        return rows[: block.rows]

    def totals(self, quantity: str) -> tuple[Tensor, list[int]]:
        """Return what ``total`` gave in the last reads of a quantity, one after the other.

        Args:
            quantity: As in :meth:`read`; that of :meth:`read_before` is called "before".

        Returns:
            The results for the parameters :attr:`sampled`, 1-D, and where each one starts in it. A
            tensor that was None has a zero.
        """
        zero = torch.zeros(1, dtype=self._dtype, device=self._device)
        parts = [self._totals.pop((quantity, i), zero) for i in self.sampled]
        starts = itertools.accumulate((len(part) for part in parts[:-1]), initial=0)
        return torch.cat(parts), list(starts)

    def _zeros(self, rows: int) -> Tensor:
        return lasting.zeros((rows, ROW), self._dtype, self._device)

    def _make_blocks(self, lines: Sequence[Tensor | None]) -> list[Block]:
        blocks = []
        for first_row in range(0, len(self.row_parameter), BLOCK_ROWS):
            owners = self.row_parameter[first_row : first_row + BLOCK_ROWS]
            first, last = int(owners[0]), int(owners[-1])
            pieces: list[_Piece] = []
            for parameter in range(first, last + 1):
                pieces += self._pieces(parameter, lines[parameter], first_row, len(owners))
            whole = [piece for piece in pieces if piece.start is None]
            parts = [piece for piece in pieces if piece.start is not None]
            elements = self.row_elements[first_row : first_row + BLOCK_ROWS]
            padded_rows = torch.from_numpy(np.flatnonzero(elements < ROW)).to(self._device)
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
    ) -> list[_Piece]:
        """What of one parameter lies in a block."""
        offset = (int(self.first_rows[parameter]) - first_row) * ROW
        read = int(self.elements_read[parameter])
        # The parameter's elements [low, high) of those that are read lie in this block.
        low, high = max(0, -offset), min(read, rows * ROW - offset)
        if parameter in self._parts:
            return self._scattered(parameter, offset, rows)
        if high <= low:
            return []
        at = offset + low
        if lines is None:
            whole = high - low == read
            return [_Piece(parameter, at, high - low, None if whole else low)]
        n = int(self.elements[parameter])
        chosen = lines[low // LINE : -(-high // LINE)]
        pieces = []
        full = chosen[chosen < n // LINE]
        if len(full):
            pieces.append(_Piece(parameter, at, len(full) * LINE, 0, True, full.to(self._device)))
        if len(full) < len(chosen):  # the last line of the tensor is a short one
            pieces.append(_Piece(parameter, at + len(full) * LINE, n % LINE, n - n % LINE, True))
        return pieces

    def _scattered(self, parameter: int, offset: int, rows: int) -> list[_Piece]:
        """What of a part lies in a block; nothing, too, so that all of its tensor is gone through.

        Args:
            parameter: Its index.
            offset: Of its first row from that of the block, in elements.
            rows: Of the block.
        """
        part = self._parts[parameter]
        at = part.positions + offset
        here = (at >= 0) & (at < rows * ROW)
        elements, positions = (
            torch.from_numpy(indices[here]).to(self._device) for indices in (part.elements, at)
        )
        return [_Piece(parameter, 0, len(positions), 0, True, elements, positions)]

    def _fill(
        self,
        block: Block,
        quantity: str,
        rows: Tensor,
        tensors: Sequence[Source | None],
        total: Total | None,
    ) -> None:
        of_parts = self._targets(block, quantity, block._parts, rows)
        try:
            if block._whole:
                rows.copy_(self._copied(block, quantity, tensors))
            for piece, target in zip(block._parts, of_parts, strict=True):
                source = tensors[piece.parameter]
                if source is None:
                    if piece.positions is None:
                        target.zero_()
                    else:
                        target.index_fill_(0, piece.positions, 0)
                    continue
                tensor = self._tensor(quantity, piece.parameter, source)
                key = (quantity, piece.parameter)
                if total is not None and piece.sampled and key not in self._totals:
                    self._totals[key] = total(tensor, self._dtype)
                self._fill_part(quantity, piece, target, tensor)
        finally:
            self._made = None

    def _tensor(self, quantity: str, parameter: int, source: Source) -> Tensor:
        """Return the tensor of a source; what had to be made is kept for the next piece of it."""
        if isinstance(source, Tensor):
            return source
        if self._made is not None and self._made[:2] == (quantity, parameter):
            return self._made[2]
        try:
            tensor = source()
        except Exception as error:
            raise self._error(parameter, error) from error
        if tensor.is_sparse and not self.can_read_sparse(parameter, tensor):
            tensor = tensor.to_dense()
        self._made = (quantity, parameter, tensor)
        return tensor

    def _copied(self, block: Block, quantity: str, tensors: Sequence[Source | None]) -> Tensor:
        """Return the rows of a block with the tensors that are read whole; no others are filled.

        All quantities come through the same memory: thousands of tensors have one target each.
        """
        rows, last_block = self._whole
        if rows is None:
            rows = self._zeros(max(b.rows for b in self.blocks))
        elif last_block is not block:
            rows.index_fill_(0, block._padded_rows, 0)  # another block has elements there
        self._whole = (rows, block)
        rows = rows[: block.rows]
        self._copy(quantity, block._whole, self._targets(block, "", block._whole, rows), tensors)
        return rows

    def _targets(
        self, block: Block, memory: str, pieces: Sequence[_Piece], rows: Tensor
    ) -> list[Tensor]:
        """Where in ``rows`` each piece goes; made once for each memory."""
        if memory not in block._targets:
            block._targets[memory] = self._make_targets(pieces, rows)
        return block._targets[memory]

    def _copy(
        self,
        quantity: str,
        pieces: Sequence[_Piece],
        targets: list[Tensor],
        tensors: Sequence[Source | None],
    ) -> None:
        """Copy tensors that are read whole."""
        sources = [tensors[piece.parameter] for piece in pieces]
        given = [source for source in sources if isinstance(source, Tensor)]
        if len(given) < len(sources):
            kept: list[Tensor] = []
            given = []
            for piece, target, source in zip(pieces, targets, sources, strict=True):
                if source is None:
                    target.zero_()
                else:
                    kept.append(target)
                    given.append(self._tensor(quantity, piece.parameter, source))
            targets = kept
        if not given:
            return
        try:
            torch._foreach_copy_(targets, given)
        except RuntimeError:
            of = [p.parameter for p, s in zip(pieces, sources, strict=True) if s is not None]
            for target, tensor, parameter in zip(targets, given, of, strict=True):  # which one?
                try:
                    target.copy_(tensor)
                except RuntimeError as error:
                    raise self._error(parameter, error) from error

    def _fill_part(self, quantity: str, piece: _Piece, target: Tensor, tensor: Tensor) -> None:
        assert piece.start is not None
        try:
            if tensor.is_sparse:
                indices = self._indices_of(piece)
                target.copy_(sparse_rows.elements(tensor, indices).view(target.shape))
                return
            flat = self._flat(piece.parameter, tensor)
            if flat is None:
                read = self._gathered(quantity, piece, tensor)
                if piece.positions is None:
                    target.copy_(read.view(target.shape))
                else:
                    target.index_copy_(0, piece.positions, read.to(self._dtype))
            elif piece.positions is not None and piece.lines is not None:
                read = torch.index_select(flat, 0, piece.lines).to(self._dtype)
                target.index_copy_(0, piece.positions, read)
            elif piece.lines is None:
                target.copy_(flat[piece.start : piece.start + piece.count])
            else:
                lines = flat[: len(flat) // LINE * LINE].view(-1, LINE)
                if flat.dtype == self._dtype:
                    torch.index_select(lines, 0, piece.lines, out=target)
                else:
                    target.copy_(torch.index_select(lines, 0, piece.lines))
        except RuntimeError as error:
            raise self._error(piece.parameter, error) from error

    def _flat(self, parameter: int, tensor: Tensor) -> Tensor | None:
        """A tensor's elements in the order in which the weight is read, 1-D.

        Returns:
            A view; None if that would be a copy.
        """
        shape, order = self._shapes[parameter], self._orders[parameter]
        if tensor.shape != shape:
            raise RuntimeError(
                f"a tensor of shape {tuple(tensor.shape)} where {tuple(shape)} was expected"
            )
        if order is None:
            return tensor.view(-1) if tensor.is_contiguous() else None
        if _same_order(tensor.stride(), order, shape):
            return flat_view(tensor)
        return None

    def _gathered(self, quantity: str, piece: _Piece, tensor: Tensor) -> Tensor:
        """Read a piece of a tensor that lies otherwise in memory than its weight, 1-D.

        A copy in the weight's order would be as large as the tensor.
        """
        key, stride = (quantity, piece.parameter, piece.at), tensor.stride()
        known = self._offsets.get(key)
        if known is not None and known[0] == stride:
            offsets = known[1]
        else:
            offsets = self._offsets_of(piece, stride)
            if piece.sampled:  # of few elements; else they may be as many as the tensor has
                self._offsets[key] = (stride, offsets)
        span = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, stride, strict=True))
        return torch.index_select(tensor.as_strided((span,), (1,)), 0, offsets)

    def _offsets_of(self, piece: _Piece, stride: tuple[int, ...]) -> Tensor:
        """Where in memory the elements of a piece lie in a tensor of these strides, int64."""
        shape, order = self._shapes[piece.parameter], self._orders[piece.parameter]
        left = self._indices_of(piece)
        # From the dimension that runs slowest in the order of the weight's memory to the fastest.
        dimensions = list(range(len(shape)))
        if order is not None:
            dimensions.sort(key=lambda d: (-order[d], shape[d] != 1))
        inner = shape.numel()
        offsets = torch.zeros_like(left)
        for d in dimensions:
            inner //= shape[d]
            index = torch.div(left, inner, rounding_mode="floor")
            offsets.add_(index, alpha=stride[d])
            left = left - index * inner
        return offsets

    def _indices_of(self, piece: _Piece) -> Tensor:
        """Which elements of its parameter a piece has, in the parameter's memory order, int64."""
        assert piece.start is not None
        device = self._device
        if piece.positions is not None and piece.lines is not None:
            return piece.lines
        if piece.lines is not None:
            within = torch.arange(LINE, device=device)
            return (piece.lines[:, None] * LINE + within).view(-1)
        return torch.arange(piece.start, piece.start + piece.count, device=device)

    def can_read_sparse(self, parameter: int, tensor: Tensor) -> bool:
        """Whether a sparse tensor of a parameter need not be made dense to be read."""
        order = self._orders[parameter]
        return (
            self.elements_read[parameter] < self.elements[parameter]
            and parameter not in self._parts
            and (order is None or order == _contiguous(self._shapes[parameter]))
            and tensor.shape == self._shapes[parameter]
            and not tensor.is_complex()
            and sparse_rows.can_be_read(tensor)
        )

    def _make_targets(self, pieces: Sequence[_Piece], rows: Tensor) -> list[Tensor]:
        """Where in ``rows`` each piece goes, shaped as its source."""
        memory, start = rows.untyped_storage(), rows.storage_offset()
        targets = []
        for piece in pieces:
            at = start + piece.at
            shape: tuple[int, ...] = (piece.count,)
            order: tuple[int, ...] | None = None
            if piece.positions is not None:
                at, shape = start, (rows.numel(),)
            elif piece.start is None:
                shape, order = self._shapes[piece.parameter], self._orders[piece.parameter]
            elif piece.lines is not None:
                shape = (piece.count // LINE, LINE)
            # Half the memory of a view, which autograd keeps notes of: there may be thousands.
            target = torch.empty(0, dtype=rows.dtype, device=rows.device)
            targets.append(target.set_(memory, at, shape, order or _contiguous(shape)))
        return targets

    def _error(self, parameter: int, error: Exception) -> CaptureError:
        return CaptureError(self._names[parameter], error)


def chosen_elements(elements: int, most: int | None) -> npt.NDArray[np.int64] | None:
    """Return the indices of the elements to read of a parameter, ascending; None for all.

    Args:
        elements: Of the parameter.
        most: Largest number of elements to read; None for all.
    """
    lines = _choose_lines(elements, most)
    if lines is None:
        return None
    indices = (lines[:, None] * LINE + torch.arange(LINE, device="cpu")).flatten()
    return indices[indices < elements].numpy()


def _choose_lines(elements: int, most: int | None) -> Tensor | None:
    """Indices of the lines to read, ascending; None for all elements."""
    if most is None or elements <= most:
        return None
    lines = -(-elements // LINE)
    wanted = max(1, most // LINE)
    # A generator of its own: training must see the same random numbers with and without us.
    generator = torch.Generator("cpu").manual_seed(_SEED)
    jitter = torch.rand(wanted, generator=generator, dtype=torch.float64, device="cpu")
    order = torch.arange(wanted, device="cpu")
    chosen = ((order + jitter) * (lines / wanted)).long()
    # Where two neighbours drew the same line, the second takes the next one that is free.
    chosen = torch.cummax(chosen - order, 0).values + order
    return torch.minimum(chosen, lines - wanted + order)


def _elements_of(lines: Tensor, elements: int) -> int:
    """How many elements some lines hold: the last line of a tensor may be a short one."""
    short = bool(lines[-1] >= elements // LINE)
    return len(lines) * LINE - (LINE - elements % LINE if short else 0)


def _memory_order(parameter: Tensor) -> tuple[int, ...] | None:
    """The strides of a parameter whose memory has no gaps; None for any other."""
    return parameter.stride() if has_no_gaps(parameter) else None


def _contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a tensor whose elements lie in the order of their indices."""
    following = itertools.accumulate(
        (max(1, n) for n in reversed(shape[1:])), operator.mul, initial=1
    )
    return tuple(following)[::-1][: len(shape)]


def _same_order(stride: Sequence[int], other: Sequence[int], shape: Sequence[int]) -> bool:
    return all(a == b for a, b, size in zip(stride, other, shape, strict=True) if size != 1)
