"""Reads pieces of tensors into rows, in any memory layout."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from ..optimizer_state.factored import Factored
from ..optimizer_state.parameter_state import Source
from . import sparse_rows
from .memory_order import contiguous_strides, flat_view, have_same_order, memory_order
from .rows import LINE, Piece


class CaptureError(RuntimeError):
    """A tensor of a parameter could not be read; the message names the parameter.

    Attributes:
        parameter: Name of the parameter.
    """

    def __init__(self, parameter: str, reason: Exception) -> None:
        """Name the parameter and the reason."""
        super().__init__(f"parameter {parameter}: {reason}")
        self.parameter = parameter


class TensorReader:
    """Knows the shapes of some parameters, and the memory order in which they are read.

    Attributes:
        block_rows: Number of rows of the largest block.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        names: Sequence[str],
        dtype: torch.dtype,
        reads_lines: Collection[int],
        block_rows: int,
    ) -> None:
        """Look at the parameters.

        Args:
            parameters: Parameters on one device.
            names: Their names, for messages.
            dtype: Type of the rows.
            reads_lines: Indices of the parameters read by lines.
            block_rows: See the attribute.
        """
        self._names = names
        self._dtype = dtype
        self._device = parameters[0].device
        self._reads_lines = frozenset(reads_lines)
        self.block_rows = block_rows
        # Only shapes and strides are kept: training may free and replace tensors at any time.
        self._shapes = [parameter.shape for parameter in parameters]
        self._orders = [memory_order(parameter) for parameter in parameters]
        self._offsets: dict[tuple[str, int, int], tuple[tuple[int, ...], Tensor]] = {}
        self._made: tuple[str, int, Tensor] | None = None

    def tensor(self, quantity: str, parameter: int, source: Source) -> Tensor:
        """Return the tensor of a source; a computed one is kept for the next piece of it."""
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

    def forget(self) -> None:
        """Drop computed tensors."""
        self._made = None

    def copy(
        self,
        quantity: str,
        pieces: Sequence[Piece],
        targets: list[Tensor],
        tensors: Sequence[Source | None],
    ) -> None:
        """Copy tensors that are read whole.

        Args:
            quantity: As in :meth:`tensor`.
            pieces: Pieces of these tensors.
            targets: From :meth:`targets`.
            tensors: One per parameter.
        """
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
                    given.append(self.tensor(quantity, piece.parameter, source))
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

    def fill(self, quantity: str, piece: Piece, target: Tensor, tensor: Tensor) -> None:
        """Read a piece of a tensor that is not copied as a whole into its target."""
        assert piece.start is not None
        try:
            if tensor.is_sparse:
                indices = self._indices_of(piece)
                target.copy_(sparse_rows.elements(tensor, indices).view(target.shape))
                return
            flat = self.flat(piece.parameter, tensor)
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

    def fill_factored(self, piece: Piece, target: Tensor, source: Factored) -> None:
        """Compute a piece of a factored tensor into its target."""
        try:
            shape = self._shapes[piece.parameter]
            self._require_shape(source.shape, shape)
            read = source.elements(self._offsets_of(piece, contiguous_strides(shape)))
            if piece.positions is None:
                target.copy_(read.view(target.shape))
            else:
                target.index_copy_(0, piece.positions, read.to(self._dtype))
        except RuntimeError as error:
            raise self._error(piece.parameter, error) from error

    def flat(self, parameter: int, tensor: Tensor) -> Tensor | None:
        """A tensor's elements in the order in which the weight is read, 1-D.

        Returns:
            A view; None if that requires a copy.
        """
        shape, order = self._shapes[parameter], self._orders[parameter]
        self._require_shape(tensor.shape, shape)
        if order is None:
            return tensor.view(-1) if tensor.is_contiguous() else None
        if have_same_order(tensor.stride(), order, shape):
            return flat_view(tensor)
        return None

    @staticmethod
    def _require_shape(found: torch.Size, expected: torch.Size) -> None:
        if found != expected:
            raise RuntimeError(
                f"a tensor of shape {tuple(found)} where {tuple(expected)} was expected"
            )

    def _gathered(self, quantity: str, piece: Piece, tensor: Tensor) -> Tensor:
        """Read a piece of a tensor whose memory order differs from its weight's, 1-D.

        A copy in the weight's order would be as large as the tensor.
        """
        key, stride = (quantity, piece.parameter, piece.at), tensor.stride()
        known = self._offsets.get(key)
        if known is not None and known[0] == stride:
            offsets = known[1]
        else:
            offsets = self._offsets_of(piece, stride)
            if piece.sampled:  # for a few elements; otherwise they may be as many as in the tensor
                self._offsets[key] = (stride, offsets)
        span = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, stride, strict=True))
        return torch.index_select(tensor.as_strided((span,), (1,)), 0, offsets)

    def _offsets_of(self, piece: Piece, stride: tuple[int, ...]) -> Tensor:
        """Memory offsets of a piece's elements in a tensor with these strides, int64."""
        shape, order = self._shapes[piece.parameter], self._orders[piece.parameter]
        left = self._indices_of(piece)
        # From the slowest to the fastest dimension of the weight's memory order.
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

    def _indices_of(self, piece: Piece) -> Tensor:
        """Indices of a piece's elements, in the parameter's memory order, int64."""
        assert piece.start is not None
        device = self._device
        if piece.positions is not None and piece.lines is not None:
            return piece.lines
        if piece.lines is not None:
            within = torch.arange(LINE, device=device)
            return (piece.lines[:, None] * LINE + within).view(-1)
        return torch.arange(piece.start, piece.start + piece.count, device=device)

    def can_read_sparse(self, parameter: int, tensor: Tensor) -> bool:
        """Whether a sparse tensor of a parameter can be read without making it dense."""
        order = self._orders[parameter]
        return (
            parameter in self._reads_lines
            and (order is None or order == contiguous_strides(self._shapes[parameter]))
            and tensor.shape == self._shapes[parameter]
            and not tensor.is_complex()
            and sparse_rows.can_be_read(tensor)
        )

    def targets(self, pieces: Sequence[Piece], rows: Tensor) -> list[Tensor]:
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
            # Half the memory of a view, which autograd tracks: there may be thousands.
            target = torch.empty(0, dtype=rows.dtype, device=rows.device)
            targets.append(target.set_(memory, at, shape, order or contiguous_strides(shape)))
        return targets

    def _error(self, parameter: int, error: Exception) -> CaptureError:
        return CaptureError(self._names[parameter], error)
