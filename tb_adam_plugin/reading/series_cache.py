"""A bounded cache of decoded series, shared by TensorBoard's request threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Series = TypeVar("_Series")

_LOCKS = 64  # so many series can be loaded at once


class SeriesCache(Generic[_Series]):
    """Keeps the newest version of each series, and of all series those used last."""

    def __init__(self, max_bytes: int, size: Callable[[_Series], int]) -> None:
        """Create an empty cache.

        Args:
            max_bytes: What all series together may take. One that is larger alone is not kept.
            size: Returns the bytes of a series.
        """
        self._max_bytes = max_bytes
        self._size = size
        self._kept: OrderedDict[Hashable, tuple[Hashable, _Series]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        # A lock for each key would be kept for ever.
        self._loading = [threading.Lock() for _ in range(_LOCKS)]

    def get(self, key: Hashable, version: Hashable, load: Callable[[], _Series]) -> _Series:
        """Return the series of ``key``, from ``load`` unless this version of it is kept.

        Threads that ask for the same key at once wait for one of them to load it.
        """
        with self._loading[hash(key) % _LOCKS]:
            with self._lock:
                kept = self._kept.get(key)
                if kept is not None and kept[0] == version:
                    self._kept.move_to_end(key)
                    return kept[1]
            series = load()
            self._keep(key, version, series)
            return series

    def _keep(self, key: Hashable, version: Hashable, series: _Series) -> None:
        with self._lock:
            self._drop(key)
            self._kept[key] = (version, series)
            self._bytes += self._size(series)
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: Hashable) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= self._size(kept[1])
