"""Decoded series, in bounded memory and shared by TensorBoard's request threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from tb_adam_plugin.reading.byte_cache import ByteCache

_Series = TypeVar("_Series")

_LOCKS = 64  # number of series that can be loaded at once


class SeriesCache(Generic[_Series]):
    """Keeps the newest version of each series, for the most recently used series."""

    def __init__(self, max_bytes: int, size: Callable[[_Series], int]) -> None:
        """Create an empty cache.

        Args:
            max_bytes: Memory limit for all series; the newest is kept even if it is larger.
            size: Returns the size of a series in bytes.
        """
        self._kept: ByteCache[tuple[Hashable, _Series]] = ByteCache(
            max_bytes, lambda kept: size(kept[1])
        )
        # A lock per key would be kept forever.
        self._loading = [threading.Lock() for _ in range(_LOCKS)]

    def get(self, key: Hashable, version: Hashable, load: Callable[[], _Series]) -> _Series:
        """Return the series of ``key``; call ``load`` unless this version of it is kept.

        Threads that request the same key at once wait for one of them to load it.
        """
        with self._loading[hash(key) % _LOCKS]:
            kept = self._kept.get(key)
            if kept is not None and kept[0] == version:
                return kept[1]
            series = load()
            self._kept.put(key, (version, series))
            return series
