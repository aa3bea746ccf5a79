"""What was computed record by record, kept and continued."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from .packed_flags import PackedFlags, packed, unpacked

_Part = TypeVar("_Part", bound=npt.NDArray[Any])
_Compute = Callable[[slice], npt.NDArray[Any]]


class KeptByRecord:
    """Arrays by key, whose first axis is that of the records.

    Attributes:
        known: How many records at the start were computed before.
    """

    def __init__(self, records: int, earlier: KeptByRecord | None = None, known: int = 0) -> None:
        """Begin with nothing.

        Args:
            records: How many there are.
            earlier: What was computed when there were fewer.
            known: How many records at the start it shares.
        """
        self.known = known
        self._records = records
        self._earlier = {} if earlier is None else earlier._kept
        self._kept: dict[Hashable, npt.NDArray[Any] | PackedFlags] = {}
        self._in_pass: list[tuple[npt.NDArray[Any], int, _Compute]] | None = None
        self._at_once = 0

    @property
    def nbytes(self) -> int:
        """Memory that they take."""
        return sum(kept.nbytes for kept in self._kept.values())

    def get(self, key: Hashable, compute: Callable[[slice], _Part]) -> _Part:
        """Return an array.

        Args:
            key: Of it.
            compute: Returns its part for some records.
        """
        kept = self._kept.get(key)
        if kept is None:
            known = self._earlier.get(key)
            before = None if known is None else unpacked(known)[: self.known]
            if self._in_pass is None:
                new = compute(slice(0 if before is None else self.known, None))
                kept = new if before is None else np.concatenate([before, new])
            else:
                kept = self._begin(before, compute)
            self._kept[key] = kept
        found: Any = unpacked(kept)
        return found  # type: ignore[no-any-return]

    def _begin(self, before: npt.NDArray[Any] | None, compute: _Compute) -> npt.NDArray[Any]:
        """Return an array of which the first records are right, for now."""
        assert self._in_pass is not None
        start = 0 if before is None else len(before)
        end = min(self._records, start + self._at_once)
        new = compute(slice(start, end))
        array = np.empty((self._records, *new.shape[1:]), new.dtype)
        if before is not None:
            array[:start] = before
        array[start:end] = new
        array[end:] = new[-1:]
        # Where some are continued and others are not, the few records of one may lack those of
        # another that it is made of: they are computed again.
        self._in_pass.append((array, start if self.known else end, compute))
        return array

    @contextmanager
    def in_one_pass(self, at_once: int) -> Iterator[None]:
        """Compute afterwards, for all records, what is asked for in here.

        What is asked for is right at first for a few records at the start alone. Of two arrays
        the one that the other is made of is asked for first, and is first for each record then.

        Args:
            at_once: For how many records at a time.
        """
        self._in_pass, self._at_once = [], at_once
        try:
            yield
            first = min((end for _, end, _ in self._in_pass), default=self._records)
            for start in range(first, self._records, at_once):
                stop = min(self._records, start + at_once)
                for array, end, compute in self._in_pass:
                    if stop > end:
                        part = slice(max(start, end), stop)
                        array[part] = compute(part)
        finally:
            self._in_pass = None
        self._pack()

    def _pack(self) -> None:
        for key, kept in self._kept.items():
            self._kept[key] = packed(kept)

    def release(self) -> None:
        """Keep flags as bits, and nothing of what was computed before."""
        self._earlier = {}
        self._pack()
