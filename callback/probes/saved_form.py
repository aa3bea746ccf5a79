"""The form in which a batch is saved: loads as it was, and needs little extra memory.

Data is written from where it is: a part of a tensor becomes a tensor of that part of its memory.
Only non-contiguous data and what pickle writes is copied, both up to a limit. The size of pickle's
output is determined by letting it write to a null file, up to that limit.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# Copies of one batch take at most this much.
MOST_COPIED = 16 << 20
# Pickle collects its output in a buffer, as bytes, and returns that buffer as bytes.
_COPIES_OF_PICKLE = 3
# In torch's version of pickle, bytes become text first, and that text UTF-8 bytes.
_COPIES_OF_BYTES = 7
# Numbers, lists, objects and tensors per batch: with more, pickle alone takes too long.
MOST_PARTS = 100_000
# Parts of a batch that are checked for their size; the size of the file reveals what they miss.
_MOST_LOOKED_AT = 10_000
_PLAIN = frozenset({int, float, bool, complex, str, type(None)})


class TooMuchCopyingError(ValueError):
    """A batch needs more copies, or has more parts, than allowed."""


class SavedForm:
    """Converts parts of a batch to what is saved of them."""

    def __init__(self) -> None:
        """Start without a part."""
        # Parts seen so far and their conversions, by id: parts may repeat. Both are kept, because
        # ids of freed objects are reused.
        self._known: dict[int, tuple[Any, Any]] = {}
        self._types: dict[int, torch.dtype] = {}  # of a piece of memory, by its address
        self._counts = _Counts()
        # One for all parts: shared content is only written once.
        self._scales = _Scales(self._counts)

    def of(self, batch: Any) -> Any:
        """Return what is saved of a batch.

        Args:
            batch: Tensors, arrays, lists, tuples and mappings; anything else is saved as it is.

        Raises:
            TooMuchCopyingError: If copies would take more than :data:`MOST_COPIED`, or there are
                more than :data:`MOST_PARTS`.
        """
        if id(batch) in self._known:
            return self._known[id(batch)][1]
        saved: Any
        if isinstance(batch, Mapping):
            self._counts.add_parts(len(batch))
            saved = {}
            self._known[id(batch)] = batch, saved
            saved.update((key, self.of(value)) for key, value in batch.items())
        elif isinstance(batch, list):
            self._counts.add_parts(len(batch))
            saved = []
            self._known[id(batch)] = batch, saved
            saved.extend(batch if self._is_plain(batch) else map(self.of, batch))
        elif isinstance(batch, tuple):
            self._counts.add_parts(len(batch))
            saved = tuple(batch if self._is_plain(batch) else map(self.of, batch))
        else:
            saved = self._of_one(batch)
        self._known[id(batch)] = batch, saved
        return saved

    def _of_one(self, part: Any) -> Any:
        """Convert a part that is not a container."""
        if isinstance(part, np.generic):
            return part.item()
        if type(part) is np.ndarray:
            return self._of_array(part)
        if type(part) is Tensor and part.layout == torch.strided:
            return self._of_tensor(part.detach())
        if type(part) in _PLAIN:
            self._counts.add_bytes(_COPIES_OF_PICKLE * sys.getsizeof(part))
        else:
            self._weigh(part)
        return part

    def _is_plain(self, parts: Sequence[Any]) -> bool:
        """Whether a list holds only numbers and text, saved at once; if so, count them."""
        is_plain = set(map(type, parts)) <= _PLAIN
        if is_plain:
            self._counts.add_bytes(_COPIES_OF_PICKLE * sum(map(sys.getsizeof, parts)))
        return is_plain

    def _weigh(self, part: Any) -> None:
        """Count what pickle would write, unless pickle would refuse the part."""
        with contextlib.suppress(pickle.PicklingError, TypeError, AttributeError, RecursionError):
            self._scales.dump(part)

    def _of_array(self, array: npt.NDArray[Any]) -> Any:
        """A tensor, unless torch does not support the type or the byte order."""
        with contextlib.suppress(TypeError, ValueError):
            torch.from_numpy(np.empty(0, array.dtype))
            if min(array.strides, default=0) >= 0:
                return self._of_tensor(torch.from_numpy(_writeable(array)))
            self._counts.add_bytes(array.nbytes)
            return torch.from_numpy(array.copy())
        if array.dtype.hasobject:
            self._counts.add_parts(array.size)
            self._weigh(array)
        else:
            self._counts.add_bytes(_COPIES_OF_BYTES * array.nbytes)
        return array

    def _of_tensor(self, tensor: Tensor) -> Tensor:
        """The tensor itself, or a copy of the view without the rest of its memory."""
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
            self._counts.add_bytes(size)
        return tensor.clone()


class _Counts:
    """Counts the parts and the copied bytes of one batch, and stops if there are too many."""

    def __init__(self) -> None:
        """Start at zero."""
        self._copied = self._parts = 0

    def add_parts(self, parts: int) -> None:
        """Count parts."""
        self._parts += parts
        if self._parts > MOST_PARTS:
            raise TooMuchCopyingError(
                f"it has more than {MOST_PARTS:,} parts, counting numbers in lists, which would "
                "take long to save. Give keep_batch() tensors, or the indices of the examples"
            )

    def add_bytes(self, size: int) -> None:
        """Count copies of ``size`` bytes."""
        self._copied += size
        if self._copied > MOST_COPIED:
            raise TooMuchCopyingError(
                f"saving it would copy more than {MOST_COPIED >> 20} MB, because its tensors or "
                "arrays are not contiguous, or pickle writes them. Give keep_batch() contiguous "
                "tensors, or the indices of the examples"
            )

    def add_buffer(self, buffer: pickle.PickleBuffer) -> None:
        """Count bytes that pickle takes from a buffer without copying."""
        self.add_bytes(_COPIES_OF_BYTES * buffer.raw().nbytes)


class _Scales(pickle.Pickler):
    """Pickles non-tensor data to a null file, and counts its size."""

    def __init__(self, counts: _Counts) -> None:
        """Hold nothing that refers to this: a cycle would keep the batch until it is collected."""
        self._counts = counts
        # The newest protocol takes the bytes of arrays without copying.
        super().__init__(_Nowhere(counts), 5, buffer_callback=counts.add_buffer)

    def persistent_id(self, part: Any) -> str | None:
        """Count a part; torch saves the memory of tensors separately."""
        counts = self._counts
        counts.add_parts(1)
        if isinstance(part, bytes | bytearray):
            counts.add_bytes(_COPIES_OF_BYTES * len(part))
        elif isinstance(part, np.ndarray) and part.dtype.hasobject:
            counts.add_parts(part.size)
        elif isinstance(part, np.ndarray) and not part.flags.forc:
            counts.add_bytes(_COPIES_OF_BYTES * part.nbytes)  # pickle would copy it right now
        elif isinstance(part, Tensor):
            counts.add_bytes(_beside(part))
        is_memory = isinstance(part, torch.UntypedStorage | torch.storage.TypedStorage)
        return "memory" if is_memory else None


class _Nowhere:
    """A null file."""

    def __init__(self, counts: _Counts) -> None:
        self._counts = counts

    def write(self, data: Any) -> int:
        """Count pickled data."""
        size: int = memoryview(data).nbytes
        self._counts.add_bytes(_COPIES_OF_PICKLE * size)
        return size


def _beside(tensor: Tensor) -> int:
    """Number of bytes in a tensor's memory outside of the tensor: they are saved with it."""
    try:
        return max(0, tensor.untyped_storage().nbytes() - _elements(tensor))
    except Exception:  # it has no memory
        return 0


def bytes_of(batch: Any) -> int:
    """Approximate size of a batch: tensors and arrays in lists, mappings and attributes."""
    return sum(_sizes(batch))


def _sizes(batch: Any) -> Iterator[int]:
    """Size of each part in bytes."""
    waiting = [batch]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_LOOKED_AT:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Tensor):
            yield min(_elements(part), _span(part))
        elif isinstance(part, np.ndarray):
            yield part.nbytes
        elif isinstance(part, bytes | bytearray | str):
            yield len(part)
        elif isinstance(part, Mapping):
            waiting += _first(part.values())
        elif isinstance(part, list | tuple | set | frozenset):
            waiting += _first(part)
        else:
            waiting += _first(getattr(part, "__dict__", {}).values())


def _first(parts: Iterable[Any]) -> Iterator[Any]:
    """The first parts, up to the limit."""
    return islice(parts, _MOST_LOOKED_AT)


def _elements(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _span(tensor: Tensor) -> int:
    """Number of bytes from a tensor's first element to its last; less if it is expanded."""
    if tensor.is_meta or not tensor.numel():
        return 0
    if tensor.layout != torch.strided:
        return _elements(tensor)
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return (1 + sum((n - 1) * stride for n, stride in steps)) * tensor.element_size()


def _writeable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same memory, without torch's warning that it is read-only."""
    if array.flags.writeable or not array.size:
        return array

    return np.asarray(_Memory(array))


class _Memory:
    """The memory of an array, declared writable."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array  # keeps the memory alive
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}
