"""Numbers of one file's records, read from the file once and extended as it grows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tb_adam_plugin.arrays import Flags, Float32s
from tb_adam_plugin.event_files import tensors
from tb_adam_plugin.event_files.run_files import FileRecords
from tb_adam_plugin.reading.byte_cache import ByteCache
from tb_adam_plugin.schema import Layout

# 5,000 records of 723 tensors take 14 MB per statistic.
_COLUMN_BYTES = 112 << 20
_TENSOR_BYTES = 64 << 20


class FileDatum(NamedTuple):
    """A record of a series.

    Attributes:
        step: Step of the event.
        wall_time: Seconds since the epoch.
        numpy: The tensor.
    """

    step: int
    wall_time: float
    numpy: npt.NDArray[Any]

    @classmethod
    def of_number(cls, step: int, wall_time: float, number: float) -> FileDatum:
        """Return a record of an ordinary scalar series."""
        return cls(step, wall_time, np.array(number))

    @property
    def value(self) -> float:
        """The scalar, for a scalar series."""
        return float(self.numpy.reshape(-1)[0])


class FileColumns:
    """Statistics by column, and whole tensors of small series, in bounded memory."""

    def __init__(self) -> None:
        """Start empty."""
        self._columns: ByteCache[Float32s] = ByteCache(_COLUMN_BYTES, lambda c: int(c.nbytes))
        self._data: ByteCache[list[FileDatum]] = ByteCache(
            _TENSOR_BYTES, lambda data: sum(200 + d.numpy.nbytes for d in data)
        )

    def data(self, tag: str, records: FileRecords) -> list[FileDatum]:
        """Return whole tensors, as far as they can be read."""
        key = (records.index, tag)
        known = self._data.get(key) or []
        done = len(known)
        if done == len(records.step):
            return known
        new = _read_data(records.only(slice(done, None)))
        if any(d is None for d in new):
            return [d for d in [*known, *new] if d is not None]
        data = [*known, *(d for d in new if d is not None)]
        self._data.put(key, data)
        return data

    def statistics(
        self, tag: str, records: FileRecords, layout: Layout, names: Sequence[str]
    ) -> list[Float32s]:
        """Return statistics, ``[records, parameters]`` each.

        Args:
            tag: Tag of the series.
            records: Records of the layout's shape.
            layout: The layout.
            names: Names of the statistics to return.
        """
        count = len(records.step)
        known = {name: self._columns.get((records.index, tag, name)) for name in names}
        done = {name: 0 if column is None else len(column) for name, column in known.items()}
        found: dict[str, Float32s] = {}
        for start in sorted(set(done.values())):
            missing = [name for name in names if done[name] == start]
            if start >= count > 0:
                found |= {
                    name: column[:count] for name in missing if (column := known[name]) is not None
                }
                continue
            read = _read_columns(
                records.only(slice(start, None)),
                layout,
                [layout.statistics.index(name) for name in missing],
            )
            for name, new in zip(missing, read, strict=True):
                before = known[name]
                column = new if before is None else np.concatenate([before, new])
                found[name] = column
                self._columns.put((records.index, tag, name), column)
        return [found[name] for name in names]

    def parameter(self, records: FileRecords, layout: Layout, row: int) -> Float32s:
        """Return all statistics of one parameter, ``[records, statistics]``."""
        width = 4 * len(layout.statistics)
        values = np.empty((len(records.step), len(layout.statistics)), "<f4")
        packed = np.array([kind.at > 0 for kind in records.kinds], bool)[records.kind]
        where = np.flatnonzero(packed)
        at = records.at[where] + width * row
        parts = records.index.read(at, np.full(at.shape, width))
        for i, data in zip(where.tolist(), parts, strict=True):
            values[i] = data.view("<f4")
        for i in np.flatnonzero(~packed).tolist():
            (matrix,) = matrices(records.only(slice(i, i + 1)))
            values[i] = matrix[row]
        return values


def _read_data(records: FileRecords) -> list[FileDatum | None]:
    found: list[FileDatum | None] = []
    steps, times = records.step.tolist(), records.wall_time.tolist()
    parts = records.index.read(records.at, records.size)
    for step, wall_time, kind, data in zip(steps, times, records.kind, parts, strict=True):
        array = tensors.from_file(data, records.kinds[kind])
        found.append(None if array is None else FileDatum(step, wall_time, array))
    return found


def _read_columns(records: FileRecords, layout: Layout, columns: Sequence[int]) -> list[Float32s]:
    shape = (len(records.step), len(layout.parameters))
    read = [np.empty(shape, "<f4") for _ in columns]
    if columns:
        for i, matrix in enumerate(matrices(records)):
            for column, values in zip(columns, read, strict=True):
                values[i] = matrix[:, column]
    return read


def matrices(records: FileRecords) -> Iterator[npt.NDArray[np.float32]]:
    """Iterate over float32 tensors; each is valid until the next one is requested."""
    parts = records.index.read(records.at, records.size)
    for number, data in zip(records.kind.tolist(), parts, strict=True):
        kind = records.kinds[number]
        array = data.view("<f4").reshape(kind.shape) if kind.at else tensors.from_file(data, kind)
        assert array is not None  # of_shape() has excluded the others
        yield array


def of_shape(records: FileRecords, shape: tuple[int, ...]) -> Flags:
    """Return which records hold float32 tensors of the given shape, bool ``[records]``."""
    size = 4 * int(np.prod(shape))
    fits = np.array([tensors.is_float32(kind, shape) for kind in records.kinds], bool)
    packed = np.array([kind.at > 0 for kind in records.kinds], bool)[records.kind]
    kept: Flags = fits[records.kind] & (~packed | (records.size == size))
    listed = np.flatnonzero(kept & ~packed)
    if listed.size:
        of_listed = _read_data(records.only(listed))
        kept[listed] = [datum is not None for datum in of_listed]
    return kept
