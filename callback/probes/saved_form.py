"""The form in which a batch is saved: as it is read back, and without much memory of its own.

What is written lies where it is: a part of a tensor becomes a tensor of that part of its memory.
Only what lies with gaps is copied, and what pickle writes, both up to a bound.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# Copies of one batch take no more than this.
MOST_COPIED = 16 << 20
# Pickle writes what it holds into a buffer, as bytes of it, and returns that buffer as bytes.
_COPIES_OF_PICKLE = 3
# Parts of a batch that are looked at for their size; what they miss, the size of the file tells.
_MOST_LOOKED_AT = 10_000


class TooMuchCopyingError(ValueError):
    """A batch needs more copies than are made of one."""


class SavedForm:
    """Makes parts of a batch into what is saved of them."""

    def __init__(self) -> None:
        """Start without a part."""
        # Parts that were met and what they become, by their ids: they may be met again. Both,
        # because the id of what is gone is given again.
        self._known: dict[int, tuple[Any, Any]] = {}
        self._copied = 0
        self._types: dict[int, torch.dtype] = {}  # of memory, by its address

    def of(self, batch: Any) -> Any:
        """Return what is saved of a batch.

        Args:
            batch: Of tensors, arrays, lists, tuples and mappings; anything else is saved as it is.

        Raises:
            TooMuchCopyingError: If copies would take more than :data:`MOST_COPIED`.
        """
        if id(batch) in self._known:
            return self._known[id(batch)][1]
        saved: Any = batch
        if isinstance(batch, np.generic):
            saved = batch.item()
        elif type(batch) is np.ndarray:
            saved = self._of_array(batch)
        elif type(batch) is Tensor and batch.layout == torch.strided:
            saved = self._of_tensor(batch.detach())
        elif isinstance(batch, Mapping):
            saved = {}
        elif isinstance(batch, list):
            saved = []
        elif not isinstance(batch, Tensor | tuple):
            self._count(
                _COPIES_OF_PICKLE * sum(size for size, is_moved in _sizes(batch) if is_moved)
            )
        self._known[id(batch)] = batch, saved
        if isinstance(batch, Mapping):
            saved.update((key, self.of(value)) for key, value in batch.items())
        elif isinstance(batch, list):
            saved.extend(self.of(value) for value in batch)
        elif isinstance(batch, tuple):
            saved = tuple(self.of(value) for value in batch)
            self._known[id(batch)] = batch, saved
        return saved

    def _of_array(self, array: npt.NDArray[Any]) -> Any:
        """A tensor, unless torch does not have the type or the order of bytes."""
        with contextlib.suppress(TypeError, ValueError):
            torch.from_numpy(np.empty(0, array.dtype))
            if min(array.strides, default=0) >= 0:
                return self._of_tensor(torch.from_numpy(_writeable(array)))
            self._count(array.nbytes)
            return torch.from_numpy(array.copy())
        self._count(_COPIES_OF_PICKLE * array.nbytes)
        return array

    def _of_tensor(self, tensor: Tensor) -> Tensor:
        """The tensor itself, or one without the rest of the memory that it is a view of."""
        memory, size, span = tensor.untyped_storage(), _elements(tensor), _span(tensor)
        start = tensor.storage_offset() * tensor.element_size()
        is_whole = tensor.is_meta or memory.nbytes() <= min(size, span)
        # torch does not save one piece of memory as tensors of several types.
        address = 0 if tensor.is_meta else memory.data_ptr() if is_whole else tensor.data_ptr()
        is_of_one_type = (
            not address or self._types.setdefault(address, tensor.dtype) == tensor.dtype
        )
        if is_whole and is_of_one_type:
            return tensor
        is_plain = not (tensor.is_conj() or tensor.is_neg() or tensor.is_quantized)
        if is_plain and is_of_one_type and span <= size:
            part = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
            of_part = memory[start : start + span]
            return part.set_(of_part, 0, tensor.shape, tensor.stride())  # type: ignore[call-overload, no-any-return]
        if tensor.device.type == "cpu":
            self._count(size)
        return tensor.clone()

    def _count(self, size: int) -> None:
        self._copied += size
        if self._copied > MOST_COPIED:
            raise TooMuchCopyingError(
                f"copies of it would take more than {MOST_COPIED >> 20} MB, because tensors or "
                "arrays in it lie with gaps in memory, or pickle writes it. Give keep_batch() "
                "contiguous tensors, or the indices of the examples"
            )


def bytes_of(batch: Any) -> int:
    """About how much a batch takes: tensors and arrays in lists, mappings and attributes."""
    return sum(size for size, _ in _sizes(batch))


def _sizes(batch: Any) -> Iterator[tuple[int, bool]]:
    """How much each part takes in bytes, and whether pickle would write all of it."""
    waiting = [batch]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_LOOKED_AT:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Tensor):
            yield min(_elements(part), _span(part)), False
        elif isinstance(part, np.ndarray):
            yield part.nbytes, True
        elif isinstance(part, bytes | bytearray | str):
            yield len(part), True
        elif isinstance(part, Mapping):
            waiting += part.values()
        elif isinstance(part, list | tuple):
            waiting += part
        else:
            waiting += getattr(part, "__dict__", {}).values()


def _elements(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _span(tensor: Tensor) -> int:
    """How many bytes lie from a tensor's first element to its last; less where it is expanded."""
    if tensor.is_meta or not tensor.numel():
        return 0
    if tensor.layout != torch.strided:
        return _elements(tensor)
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return (1 + sum((n - 1) * stride for n, stride in steps)) * tensor.element_size()


def _writeable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same memory, without torch's warning that it cannot be written to."""
    if array.flags.writeable or not array.size:
        return array

    return np.asarray(_Memory(array))


class _Memory:
    """The memory of an array that may be written to."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array  # as long as somebody reads from here
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}
