"""Norms over all elements of tensors, accurate at any size.

On the CPU a single float32 accumulator drifts: the norm of 4 million equal values comes out 1e-3
too large. So long tensors are added up in rows, and the rows in float64. Rows can also be shared
between threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..memory.to_host import on_device, to_device
from ..native.loading import Kernel, address, addresses_of, find_kernel, has_more_threads_to_use
from .memory_order import flat_view, has_no_gaps, require_memory
from .real_numbers import as_real

Squares = Tensor | npt.NDArray[np.float64]

ROW = 1 << 16
CHUNK = 1 << 18
# Rows shorter than this cost more than the elements in them.
SHORTEST_ROW = 64
# Below this, a sum of float32 squares may have lost small ones to underflow.
UNDERFLOW = 1e-30


def partial_norms(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return L2 norms of the parts of a tensor: their squares add up to Σx².

    Args:
        tensor: Strided, floating point.
        dtype: Type in which values are squared: float32, or float64 for a float64 tensor.

    Returns:
        ``[parts]`` of that dtype, on the tensor's device. Not finite if an element is not, or if
        squares are too large for ``dtype``.
    """
    # A device sums in a tree of threads, so it needs no rows.
    if tensor.numel() <= ROW or tensor.device.type != "cpu":
        if tensor.device.type == "cpu" and not has_no_gaps(tensor):
            tensor = tensor.contiguous()  # with gaps it would be added up one by one, which drifts
        norm: Tensor = torch.linalg.vector_norm(tensor, dtype=dtype)
        return norm.view(1)
    return long_norms(tensor, dtype)


def long_norms(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the L2 norms of rows of 65,536 elements; see :func:`partial_norms`."""
    if _is_read_in_place(tensor, dtype):
        flat = flat_view(tensor)
        assert flat is not None
        return _norms_of_rows(flat, dtype)
    return torch.cat([_norms_of_rows(chunk, dtype) for chunk in _chunks(tensor)])


def has_row_norms(tensor: Tensor) -> bool:
    """Whether there are rows along the first dimension whose length suits norms."""
    if tensor.dim() < 2 or not tensor.numel() or not tensor.is_contiguous():
        return False
    return SHORTEST_ROW <= tensor.numel() // len(tensor) <= ROW


def row_norms(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the L2 norms of rows, 1-D; see :func:`partial_norms`.

    A row of elements below 1e-23 has the norm 0, because squares underflow.

    Args:
        rows: ``[rows, elements]``, small enough to copy.
        dtype: See :func:`partial_norms`.
    """
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=dtype)
    return norms


def partial_sums(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return sums of the parts of a tensor, which add up to Σx; see :func:`partial_norms`."""
    # torch.sum adds pairwise, so one part is accurate enough.
    if tensor.device.type != "cpu" or tensor.numel() <= ROW or tensor.dtype == dtype:
        return torch.sum(tensor, dtype=dtype).view(1)
    return torch.stack([torch.sum(chunk, dtype=dtype) for chunk in _chunks(tensor)])


def several_on_device(tensors: Sequence[Tensor], order: float, dtype: torch.dtype) -> list[Tensor]:
    """Return norms of tensors of one device, each ``[1]``, with one operation per type.

    Args:
        tensors: Strided, floating point.
        order: 2; or 1 for sums of non-negative values.
        dtype: As for :func:`partial_norms`.
    """
    by_type: dict[torch.dtype, list[int]] = {}
    for i, tensor in enumerate(tensors):
        by_type.setdefault(tensor.dtype, []).append(i)
    norms: dict[int, Tensor] = {}
    for indices in by_type.values():
        of_type = torch._foreach_norm([tensors[i] for i in indices], order, dtype=dtype)
        norms.update(zip(indices, of_type, strict=True))
    return [norms[i].view(1) for i in range(len(tensors))]


class GradientNorms:
    """Σg² of every parameter, at every step: launches work on the device without waiting for it.

    Attributes:
        parameters: Number of parameters.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        fetch: Callable[[], Sequence[Tensor | None]] | None = None,
    ) -> None:
        """Look at the gradients of ``parameters``.

        Args:
            parameters: The optimizer's parameters.
            fetch: Returns the gradients instead, if only a part of them is here.
        """
        self._parameters = parameters
        self._fetch = fetch
        self._order: tuple[list[int], torch.device, Tensor] | None = None
        self.parameters = len(parameters)
        kernel = find_kernel()
        self._native = None if kernel is None else _NativeSquares(self.parameters, kernel)

    def squares(self) -> tuple[Squares, tuple[bool, ...]]:
        """Return the sums, and which parameters have a gradient.

        Returns:
            float64 ``[parameters]``: an array if all gradients are on the CPU, else a tensor on the
            first device that a parameter is on. And a flag for each parameter.
        """
        kinds: dict[tuple[torch.device, torch.dtype], list[int]] = {}
        found = self._fetch() if self._fetch else [p.grad for p in self._parameters]
        present = tuple([gradient is not None for gradient in found])
        if self._native is not None:
            sums = self._native.squares(found)
            if sums is not None:
                _correct(sums, found)
                return sums, present
        gradients = [None if gradient is None else _stored_values(gradient) for gradient in found]
        for i, gradient in enumerate(gradients):
            if gradient is not None:
                kinds.setdefault((gradient.device, gradient.dtype), []).append(i)
        if any(device.type != "cpu" for device, _ in kinds):
            return self._squares_on_device(gradients, list(kinds.values())), present
        sums = np.zeros(self.parameters)
        for indices in kinds.values():
            _add_up_on_cpu(_chosen(gradients, indices), indices, sums)
        _correct(sums, gradients)
        return sums, present

    def _squares_on_device(
        self, gradients: Sequence[Tensor | None], kinds: Sequence[Sequence[int]]
    ) -> Tensor:
        """Σg² of each parameter, on the first device of any of them."""
        parts = [_norms_on_device(_chosen(gradients, indices)) for indices in kinds]
        devices = (tensor.device for tensor in (*self._parameters, *parts))
        device = next((d for d in devices if d.type != "cpu"), parts[0].device)
        squares = [on_device(part, device).to(torch.float64).square_() for part in parts]
        order = [i for indices in kinds for i in indices]
        if order == list(range(self.parameters)):
            return squares[0] if len(squares) == 1 else torch.cat(squares)
        # A list of indices would be copied to the device, with a wait, at every step.
        if self._order is None or self._order[0] != order or self._order[1] != device:
            place = np.full(self.parameters, len(order))
            place[order] = np.arange(len(order))
            self._order = order, device, to_device(place, device)
        nothing = torch.zeros(1, dtype=torch.float64, device=device)
        return torch.index_select(torch.cat([*squares, nothing]), 0, self._order[2])


class _NativeSquares:
    """Σg² of many gradients by the C kernel, in one call."""

    def __init__(self, parameters: int, kernel: Kernel) -> None:
        self._kernel = kernel
        self._level = len(kernel.LEVELS) - 1
        self._tensors = np.zeros((3, parameters), np.int64)  # addresses, types and elements
        self._sums = np.zeros(parameters)
        rows = (*self._tensors, self._sums)
        # Computing these takes longer than a small norm.
        self._told: tuple[int, ...] = tuple([address(row) for row in rows])

    def squares(self, gradients: Sequence[Tensor | None]) -> npt.NDArray[np.float64] | None:
        """Return the sums, 0 without a gradient; None if the kernel cannot read a gradient."""
        given = [gradient for gradient in gradients if gradient is not None]
        places = addresses_of(given)
        if places is None or not (
            all(map(Tensor.is_contiguous, given)) or all(map(has_no_gaps, given))
        ):
            return None
        count = len(given)
        elements = list(map(Tensor.numel, given))
        if has_more_threads_to_use(sum(elements)):
            return None
        for row, values in zip(self._tensors, (*places, elements), strict=True):
            row[:count] = values
        of_addresses, of_types, of_elements, out = self._told
        self._kernel.squares(self._level, of_addresses, of_types, of_elements, count, out)
        if count == len(gradients):
            found: npt.NDArray[np.float64] = self._sums[:count].copy()
            return found
        sums = np.zeros(len(gradients))
        here = [i for i, gradient in enumerate(gradients) if gradient is not None]
        sums[here] = self._sums[:count]
        return sums


def nonfinite(tensor: Tensor) -> Tensor:
    """Count the elements that are NaN or infinite: int64, 0-dim."""
    none = torch.zeros((), dtype=torch.int64, device=tensor.device)
    return sum(((~torch.isfinite(part)).sum() for part in _chunks(tensor)), none)


def squares_in_double(tensor: Tensor) -> Tensor:
    """Return Σx² of a tensor whose squares exceed the range of float32: float64, 0-dim."""
    none = torch.zeros((), dtype=torch.float64, device=tensor.device)
    return sum((part.double().square().sum() for part in _chunks(tensor)), none)


def nonzero_rows(tensor: Tensor) -> Tensor:
    """Return which indices of the first dimension have a nonzero element: bool, 1-D."""
    if not tensor.numel() or tensor.device.type != "cpu":
        return (tensor != 0).flatten(1).any(1)
    # A mask of all elements would take a quarter of the memory of float32 values, and more of
    # others.
    parts = tensor.split(max(1, CHUNK * len(tensor) // tensor.numel()))
    return torch.cat([(part != 0).flatten(1).any(1) for part in parts])


def count_nonzero_rows(tensor: Tensor, note: Callable[[int, Tensor], None] | None = None) -> Tensor:
    """Return the number of rows in :func:`nonzero_rows`: 0-dim, on the tensor's device.

    Args:
        tensor: A tensor with two or more dimensions.
        note: Receives the counted rows: the index of the first of some rows, and their flags.
    """
    if not tensor.numel() or tensor.device.type != "cpu":
        found = nonzero_rows(tensor)
        if note is not None:
            note(0, found)
        return found.sum()
    # One part after the other: torch sums flags as 8-byte integers.
    at_once = max(1, CHUNK * len(tensor) // tensor.numel())
    count = 0
    for i, part in enumerate(tensor.split(at_once)):
        found = nonzero_rows(part)
        if note is not None:
            note(i * at_once, found)
        count += int(torch.count_nonzero(found))
    return torch.tensor(count, device="cpu")


def _stored_values(gradient: Tensor) -> Tensor:
    """Return the values that a gradient of any layout and type stores: strided and real."""
    if gradient.layout != torch.strided:
        gradient = (gradient.coalesce() if gradient.is_sparse else gradient).values()
    return as_real(gradient)


def _chosen(gradients: Sequence[Tensor | None], indices: Sequence[int]) -> list[Tensor]:
    return [gradient for i in indices if (gradient := gradients[i]) is not None]


def _norms_on_device(gradients: list[Tensor]) -> Tensor:
    dtype = torch.float64 if gradients[0].dtype == torch.float64 else torch.float32
    return torch.stack(torch._foreach_norm(gradients, 2.0, dtype=dtype))


def _add_up_on_cpu(
    gradients: list[Tensor], indices: Sequence[int], sums: npt.NDArray[np.float64]
) -> None:
    """Write Σg² of gradients to ``sums`` at ``indices``."""
    require_memory(gradients)
    dtype = torch.float64 if gradients[0].dtype == torch.float64 else torch.float32
    short, of_short = [], []
    for i, gradient in zip(indices, gradients, strict=True):
        if gradient.numel() <= ROW:
            short.append(gradient)
            of_short.append(i)
        else:
            sums[i] = _squares(partial_norms(gradient, dtype)).sum()
    if short:
        # On the CPU, a torch operation costs more than its arithmetic.
        norms = torch._foreach_norm(short, 2.0, dtype=dtype)
        sums[of_short] = _squares(torch.stack(norms))


def _correct(sums: npt.NDArray[np.float64], gradients: Sequence[Tensor | None]) -> None:
    """Sum again, in float64, where float32 squares overflow or underflow."""
    total = float(sums.sum())
    if UNDERFLOW <= total < math.inf:  # true at nearly every step
        return
    wrong = np.isinf(sums)
    if total < UNDERFLOW:
        wrong[:] = True
    for i in np.flatnonzero(wrong).tolist():
        gradient = gradients[i]
        if gradient is not None:
            sums[i] = float(squares_in_double(gradient))


def _squares(norms: Tensor) -> npt.NDArray[np.float64]:
    with np.errstate(over="ignore"):
        squares: npt.NDArray[np.float64] = np.square(norms.numpy(), dtype=np.float64)
        return squares


def _norms_of_rows(flat: Tensor, dtype: torch.dtype) -> Tensor:
    """Norms of rows of ``ROW`` elements, and of the rest."""
    whole = flat.numel() // ROW * ROW
    rows, rest = flat[:whole].view(-1, ROW), flat[whole:]
    norms = torch.empty(len(rows) + 1, dtype=dtype, device=flat.device)
    torch.linalg.vector_norm(rows, dim=1, dtype=dtype, out=norms[:-1])
    torch.linalg.vector_norm(rest, dim=0, dtype=dtype, out=norms[-1])
    return norms


def _is_read_in_place(tensor: Tensor, dtype: torch.dtype) -> bool:
    """Whether torch reads a CPU tensor as ``dtype`` without copying all of it."""
    return tensor.dtype == dtype and has_no_gaps(tensor)


def _chunks(tensor: Tensor) -> Iterator[Tensor]:
    """Split a tensor before copying it; 1-D, in any order."""
    flat = flat_view(tensor)
    if flat is not None:
        yield from flat.split(CHUNK)
    elif tensor.numel() <= CHUNK:
        yield tensor.reshape(-1)
    elif (row := tensor.numel() // len(tensor)) > CHUNK:
        for part in tensor:
            yield from _chunks(part)
    else:
        for part in tensor.split(CHUNK // row):
            yield part.reshape(-1)
