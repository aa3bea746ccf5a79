"""A cache bounded by the memory of its content."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Kept = TypeVar("_Kept")


class ByteCache(Generic[_Kept]):
    """Keeps the most recently used values. Thread-safe."""

    def __init__(self, max_bytes: int, size: Callable[[_Kept], int]) -> None:
        """Create an empty cache.

        Args:
            max_bytes: Memory limit; the newest value is kept even if it is larger.
            size: Returns the size of a value in bytes.
        """
        self._max_bytes = max_bytes
        self._size = size
        self._kept: OrderedDict[Hashable, tuple[_Kept, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Memory of the kept values."""
        return self._bytes

    def get(self, key: Hashable) -> _Kept | None:
        """Return the value kept for a key, or None."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def put(self, key: Hashable, value: _Kept) -> None:
        """Keep a value, and drop the least recently used ones."""
        with self._lock:
            self._drop(key)
            size = self._size(value)
            self._kept[key] = (value, size)
            self._bytes += size
            while self._bytes > self._max_bytes and len(self._kept) > 1:
                self._drop(next(iter(self._kept)))

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def _drop(self, key: Hashable) -> None:
        _, size = self._kept.pop(key, (None, 0))
        self._bytes -= size
