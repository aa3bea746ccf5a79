"""Statistics of a run, of which only those records are read that are looked at."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import SupportsIndex

from tb_adam_plugin.arrays import Float32s, Indices


class StatisticsByRecord(Mapping[str, Float32s]):
    """Statistics that are stored record by record, and read where rules look at them.

    As a mapping it reads a statistic as a whole, float32 ``[records, parameters]``.
    """

    @property
    @abstractmethod
    def at_once(self) -> int:
        """How many neighbouring records are read together, with all of their statistics."""

    @abstractmethod
    def records(self, name: str, start: int, stop: int) -> Float32s:
        """Return some records of a statistic, float32 ``[stop - start, parameters]``.

        Raises:
            KeyError: If there is none of that name.
        """

    @abstractmethod
    def release(self) -> None:
        """Let go of what was read; what is looked at again is read again."""


class Statistic:
    """One statistic, ``[records, parameters]``; NaN where it was not recorded.

    A slice of it is of records, and ``[record]`` and ``[record, parameters]`` are a row or a part
    of one. There is no access to a few parameters of all records: what needs these, computes it
    record by record.
    """

    def __init__(self, read: Callable[[int, int], Float32s], records: int) -> None:
        """Name it; nothing is read yet.

        Args:
            read: Returns the records from one to another.
            records: How many there are.
        """
        self._read = read
        self._records = records

    def __len__(self) -> int:
        """How many records there are."""
        return self._records

    def __getitem__(self, key: slice | SupportsIndex | tuple[SupportsIndex, Indices]) -> Float32s:
        """Read records, a row, or some parameters of a row."""
        if isinstance(key, slice):
            start, stop, step = key.indices(self._records)
            return self._read(start, max(start, stop))[::step]
        record, parameters = key if isinstance(key, tuple) else (key, None)
        at = range(self._records)[record]
        row = self._read(at, at + 1)[0]
        found: Float32s = row if parameters is None else row[parameters]
        return found
