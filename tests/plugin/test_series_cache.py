from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tb_adam_plugin.reading.series_cache import SeriesCache


class Loads:
    """Counts how often something is loaded."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> bytes:
        self.count += 1
        return bytes(10)


def test_an_unchanged_series_is_loaded_once() -> None:
    cache, load = SeriesCache[bytes](100, len), Loads()
    for _ in range(3):
        cache.get("a", 1, load)
    assert load.count == 1
    cache.get("a", 2, load)
    assert load.count == 2


def test_memory_is_bounded_and_the_least_used_goes_first() -> None:
    cache, loads = SeriesCache[bytes](20, len), {key: Loads() for key in "abc"}
    for key in "abaca":
        cache.get(key, 1, loads[key])
    assert {key: load.count for key, load in loads.items()} == {"a": 1, "b": 1, "c": 1}
    cache.get("b", 1, loads["b"])
    assert loads["b"].count == 2


def test_a_series_beyond_the_bound_is_kept_until_another_one_comes() -> None:
    cache, load = SeriesCache[bytes](5, len), Loads()
    assert cache.get("a", 1, load) == bytes(10)
    assert cache.get("a", 1, load) == bytes(10)
    assert load.count == 1
    cache.get("b", 1, lambda: b"b")
    assert cache.get("a", 1, load) == bytes(10)
    assert load.count == 2


def test_threads_that_ask_at_once_share_one_load() -> None:
    cache = SeriesCache[bytes](100, len)
    everyone = threading.Barrier(4)
    loads = Loads()

    def ask(_: int) -> bytes:
        everyone.wait(10)
        return cache.get("a", 1, loads)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == [bytes(10)] * 4
    assert loads.count == 1


def test_a_failed_load_is_tried_again() -> None:
    cache = SeriesCache[bytes](100, len)

    def fail() -> bytes:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        cache.get("a", 1, fail)
    assert cache.get("a", 1, Loads()) == bytes(10)
