"""A cache that is bounded by the memory of what it keeps."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Kept = TypeVar("_Kept")


class ByteCache(Generic[_Kept]):
    """Keeps what was used last. Safe to use from several threads."""

    def __init__(self, max_bytes: int, size: Callable[[_Kept], int]) -> None:
        """Create an empty cache.

        Args:
            max_bytes: What all of it may take; the newest is kept, however large it is.
            size: Returns the bytes of something.
        """
        self._max_bytes = max_bytes
        self._size = size
        self._kept: OrderedDict[Hashable, tuple[_Kept, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Memory of what is kept."""
        return self._bytes

    def get(self, key: Hashable) -> _Kept | None:
        """Return what is kept under a key, or None."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def put(self, key: Hashable, value: _Kept) -> None:
        """Keep something, and let go of what was not used for longest."""
        with self._lock:
            self._drop(key)
            size = self._size(value)
            self._kept[key] = (value, size)
            self._bytes += size
            while self._bytes > self._max_bytes and len(self._kept) > 1:
                self._drop(next(iter(self._kept)))

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def _drop(self, key: Hashable) -> None:
        _, size = self._kept.pop(key, (None, 0))
        self._bytes -= size
