"""An index of our tensors in one event file. It grows with the file and reads nothing twice.

A record's length is checked when it is indexed, its data when they are used.
"""

from __future__ import annotations

import os
import secrets
import struct
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tb_adam_plugin.arrays import Flags, Float64s, Int64s
from tb_adam_plugin.event_files.event_shapes import (
    EventShapes,
    StoredTensor,
    find_head,
    find_value,
    tensors_in,
)
from tb_adam_plugin.event_files.known_file import KnownFile
from tb_adam_plugin.event_files.spans import spans_of
from tb_adam_plugin.event_files.windowed_file import ReplacedError, WindowedFile
from tb_adam_plugin.event_files.wire import MalformedError, TensorPlace
from tb_adam_plugin.languages.sentences import say
from tb_adam_plugin.tfrecord import HEAD, TAIL, checksum, length_of

_LONGEST_MESSAGE = 2**31 - 1  # the limit of protocol buffers
# Histograms are a few kilobytes each, stored consecutively.
_HISTOGRAMS_WINDOW = 1 << 17
_NOT_KNOWN, _INTACT, _DAMAGED = range(3)
_LONGEST_CHECKED = 1 << 26  # bytes
_MALFORMED = MalformedError, IndexError, struct.error, UnicodeDecodeError

Bytes = npt.NDArray[np.uint8]


@dataclass(slots=True)
class _Events:
    """The events with tensors of ours, one column per field."""

    step: array[int] = field(default_factory=lambda: array("q"))
    wall_time: array[float] = field(default_factory=lambda: array("d"))
    start: array[int] = field(default_factory=lambda: array("q"))  # offset in the file
    length: array[int] = field(default_factory=lambda: array("q"))
    values: array[int] = field(default_factory=lambda: array("q"))  # offset from its start
    shape: array[int] = field(default_factory=lambda: array("q"))
    histograms: array[int] = field(default_factory=lambda: array("q"))  # from its values, or -1
    layout: array[int] = field(default_factory=lambda: array("q"))  # of its histograms


@dataclass(frozen=True, slots=True)
class Places:
    """Where the tensors of a tag are in a file, in storage order.

    Attributes:
        event: Index of each tensor's event, int64 ``[tensors]``.
        at: Position of its numbers in the file, or of its message, depending on ``kind``.
        size: Their size in bytes.
        kind: Index into :attr:`kinds`.
        kinds: Types and shapes; ``at`` is 0 if the numbers are listed in the message.
    """

    event: Int64s
    at: Int64s
    size: Int64s
    kind: Int64s
    kinds: tuple[TensorPlace, ...]


class _Columns:
    """The events as arrays, valid until there are more of them."""

    def __init__(self, events: _Events, shapes: int) -> None:
        self.step: Int64s = np.array(events.step, np.int64)
        self.wall_time: Float64s = np.array(events.wall_time, np.float64)
        self.start: Int64s = np.array(events.start, np.int64)
        self.length: Int64s = np.array(events.length, np.int64)
        self.values: Int64s = self.start + np.array(events.values, np.int64)  # offsets in the file
        shape = np.array(events.shape, np.int64)
        self._by_shape = np.argsort(shape, kind="stable")
        self._bounds = np.searchsorted(shape[self._by_shape], np.arange(shapes + 1))

    def of_shape(self, number: int) -> Int64s:
        """Return the events with a shape, ascending."""
        return self._by_shape[self._bounds[number] : self._bounds[number + 1]]


class HistogramPlace(NamedTuple):
    """Where a histogram is in a file.

    Attributes:
        tag: Its tag.
        at: Position of its numbers, or of its message, depending on ``kind``.
        size: Their size in bytes.
        kind: Type and shape; ``at`` is 0 if the numbers are listed in the message.
        metadata: Position of the metadata.
        metadata_size: Size of the metadata in bytes; 0 if there is none.
    """

    tag: str
    at: int
    size: int
    kind: TensorPlace
    metadata: int
    metadata_size: int


class EventIndex:
    """The events of one file that have tensors of ours. Not thread-safe.

    Attributes:
        path: Path of the file.
        number: Unique among all indexes, including those of other processes.
    """

    def __init__(self, path: str) -> None:
        """Create an empty index of a file; :meth:`update` reads it."""
        self.path = path
        self.number = secrets.randbits(63)
        self._file = KnownFile(path)
        self._events = _Events()
        self._shapes = EventShapes()
        self._intact = bytearray()  # of each event: unknown, yes, no
        self._state: tuple[int, ...] = ()  # of the file, when last checked
        self._end = 0  # of the indexed part
        self._last_is_damaged = False  # of what was written so far
        self._is_cut_off = False
        self._columns: _Columns | None = None

    def __len__(self) -> int:
        """Number of events."""
        return len(self._events.step)

    @property
    def nbytes(self) -> int:
        """Memory size, without small parts."""
        return 65 * len(self) + 2000 * len(self._shapes.shapes)

    @property
    def damaged(self) -> int:
        """Number of events known to be damaged."""
        return self._intact.count(_DAMAGED) + self._last_is_damaged

    @property
    def cut_off_at(self) -> int | None:
        """First byte that cannot be read, because no record starts there; None if all can."""
        return self._end if self._is_cut_off else None

    @property
    def step(self) -> Int64s:
        """The step of each event, int64 ``[events]``."""
        return self._as_arrays().step

    @property
    def wall_time(self) -> Float64s:
        """When each event was written, seconds since the epoch, float64 ``[events]``."""
        return self._as_arrays().wall_time

    def update(self) -> bool:
        """Index what was written since the last call.

        Returns:
            Whether the events have changed.

        Raises:
            OSError: If the file cannot be read.
            ReplacedError: If the file was replaced or truncated.
        """
        before = len(self)
        status = os.stat(self.path)
        state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if state == self._state:
            return False
        if self.damaged and state[:3] == self._state[:3]:
            raise ReplacedError(say("{file} was rewritten", file=self.path))  # and may be whole now
        with self._file.opened() as file:
            file.may_be_cut = True  # by a writer that meets a full disk
            for start, length in self._records(file):
                try:
                    self._add(file, start, length)
                except _MALFORMED:
                    continue
            self._file.remember(file, self._end)
        self._state = state
        return len(self) > before

    def _records(self, file: WindowedFile) -> Iterator[tuple[int, int]]:
        """Iterate over the complete records: the start and the length of each one's data."""
        while True:
            i = file.at(self._end, HEAD)
            head = file.data[i : i + HEAD]
            length = length_of(head)
            # All of its bytes are there, but wrong: the file is not just still growing.
            self._is_cut_off = length is None and len(head) == HEAD
            start = self._end + HEAD
            if length is None or start + length + TAIL > file.size:
                return
            if start + length + TAIL == file.size and _is_damaged(file, start, length):
                self._last_is_damaged = True  # or incompletely written, and checked again later
                return
            self._last_is_damaged = False
            self._end = start + length + TAIL
            if length <= _LONGEST_MESSAGE:
                yield start, length
            if self._end > file.size:  # the file was truncated
                self._end = start - HEAD
                return

    def _add(self, file: WindowedFile, start: int, length: int) -> None:
        head = find_head(file, start, length)
        if not head.size:
            self._shapes.histograms_come_last |= head.is_ours and start == HEAD
            return
        found = self._shapes.find(file, start + head.values, head.size)
        if (found.histograms < 0 and found.shape < 0) or start + length > file.size:
            return
        events = self._events
        events.step.append(head.step)
        events.wall_time.append(head.wall_time)
        events.start.append(start)
        events.length.append(length)
        events.values.append(head.values)
        events.shape.append(found.shape)
        events.histograms.append(found.histograms)
        events.layout.append(found.layout)
        # The last record has already been checked.
        is_known = start + length + TAIL == file.size and length <= _LONGEST_CHECKED
        self._intact.append(_INTACT if is_known else _NOT_KNOWN)

    # --- tags and places ---

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of our tensors, except histograms that come last in their events."""
        return tuple(self._shapes.by_tag)

    @property
    def histogram_layouts(self) -> tuple[str, ...]:
        """Ids of the layouts of the histograms that come last in their events."""
        return tuple(self._shapes.histogram_layouts)

    def _as_arrays(self) -> _Columns:
        if self._columns is None or len(self._columns.step) != len(self):
            self._columns = _Columns(self._events, len(self._shapes.shapes))
        return self._columns

    def places(self, tag: str) -> Places:
        """Return where the tensors of a tag are."""
        columns = self._as_arrays()
        kinds: dict[TensorPlace, int] = {}
        parts: list[Int64s] = [np.empty((4, 0), np.int64)]
        for number, tensor in self._shapes.by_tag.get(tag, ()):
            event = columns.of_shape(number)
            at, size, kind = _numbers(tensor)
            part = np.empty((4, event.size), np.int64)
            part[0], part[1] = event, columns.values[event] + at
            part[2], part[3] = size, kinds.setdefault(kind, len(kinds))
            parts.append(part)
        joined = np.concatenate(parts, axis=1)
        event, at, size, kind = joined[:, np.argsort(joined[1], kind="stable")]
        return Places(event, at, size, kind, tuple(kinds))

    def histogram_events(self, layout: str) -> Int64s:
        """Return the events that end with histograms of a layout."""
        number = self._shapes.histogram_layouts.get(layout)
        if number is None:
            return np.empty(0, np.int64)
        of_layout = np.array(self._events.layout, np.int64) == number
        return np.flatnonzero(of_layout & (np.array(self._events.histograms, np.int64) >= 0))

    # --- contents ---

    def intact(self, events: Int64s) -> Flags:
        """Return which events are intact, bool ``[events]``.

        Each is read once for this, and not again when its content is used later.
        """
        known = np.frombuffer(self._intact, np.uint8)[events]
        unknown = np.unique(events[known == _NOT_KNOWN])
        if unknown.size:
            columns = self._as_arrays()
            start, length = columns.start[unknown], columns.length[unknown]
            for event, data in zip(unknown.tolist(), self.read(start, length + TAIL), strict=True):
                is_intact = checksum(data[:-TAIL]) == data[-TAIL:].tobytes()
                self._intact[event] = _INTACT if is_intact else _DAMAGED
        found: Flags = np.frombuffer(bytes(self._intact), np.uint8)[events] == _INTACT
        return found

    def read(self, at: Int64s, size: Int64s) -> Iterator[Bytes]:
        """Read parts of the file, uint8 ``[size]`` each, valid until the next one is requested.

        Neighbouring parts are read together. Most system calls release the GIL, and if other
        threads want it, it takes a while to come back.

        Args:
            at: Start of each part, int64 ``[parts]``, ascending.
            size: Size of each part in bytes.

        Raises:
            OSError: If the file cannot be read.
            ReplacedError: If the file was replaced or truncated since it was indexed.
        """
        if not at.size:
            return
        ends = at + size
        spans = [(first, last, int(ends[first:last].max())) for first, last in spans_of(at, size)]
        buffer = np.empty(max(end - int(at[first]) for first, _, end in spans), np.uint8)
        with self._file.opened() as file:
            for first, last, end in spans:
                start = int(at[first])
                file.read_into(start, buffer[: end - start].data)
                for i in range(first, last):
                    offset = int(at[i]) - start
                    yield buffer[offset : offset + int(size[i])]

    def is_intact(self, event: int) -> bool:
        """Return whether an event is intact."""
        if self._intact[event] == _NOT_KNOWN:
            self.intact(np.array([event]))
        return self._intact[event] == _INTACT

    def metadata(self) -> dict[str, bytes]:
        """Return the metadata of each tag, from its first intact value that has any."""
        places = {tag: place for tag in self.tags if (place := self._metadata_of(tag)) is not None}
        in_order = sorted(places.items(), key=lambda item: item[1])
        at = np.array([place[0] for _, place in in_order], np.int64)
        size = np.array([place[1] for _, place in in_order], np.int64)
        read = self.read(at, size)
        return {tag: data.tobytes() for (tag, _), data in zip(in_order, read, strict=True)}

    def _metadata_of(self, tag: str) -> tuple[int, int] | None:
        """Return the position and size of a tag's metadata; None if it has none."""
        columns = self._as_arrays()
        of_tag = [shape for shape in self._shapes.by_tag[tag] if shape[1].metadata_size]
        for number, tensor in sorted(of_tag, key=lambda s: columns.of_shape(s[0])[:1].tolist()):
            for event in columns.of_shape(number).tolist():
                if self.is_intact(event):
                    return int(columns.values[event]) + tensor.metadata, tensor.metadata_size
        return None

    def histograms(self, event: int) -> Iterator[HistogramPlace]:
        """Iterate over the histograms at the end of an event; empty if they are invalid."""
        with self._file.opened(_HISTOGRAMS_WINDOW) as file, suppress(*_MALFORMED):
            start, size = self._histograms_of(file, event)
            for tensor in tensors_in(file, start, size):
                at, length, kind = _numbers(tensor)
                metadata = start + tensor.metadata
                yield HistogramPlace(
                    tensor.tag, start + at, length, kind, metadata, tensor.metadata_size
                )

    def read_histograms(
        self, events: Sequence[int], tag: str
    ) -> Iterator[tuple[TensorPlace, Bytes] | None]:
        """Read one tag's histograms from events that end with histograms: kind and numbers."""
        with self._file.opened(_HISTOGRAMS_WINDOW) as file:
            for event in events:
                tensor = None
                with suppress(*_MALFORMED):
                    start, size = self._histograms_of(file, event)
                    tensor = find_value(file, start, size, tag)
                if tensor is None:
                    yield None
                    continue
                at, length, kind = _numbers(tensor)
                i = file.at(start + at, length)
                yield kind, np.frombuffer(file.data, np.uint8, length, i)

    def _histograms_of(self, file: WindowedFile, event: int) -> tuple[int, int]:
        """Return the position and size of an event's histograms."""
        events = self._events
        start, first = events.start[event], events.histograms[event]
        head = find_head(file, start, events.length[event])
        return start + head.values + first, head.size - first


def _is_damaged(file: WindowedFile, start: int, length: int) -> bool:
    """Whether the data of a record differ from what was written."""
    if length > _LONGEST_CHECKED:
        return False
    data = file.read(start, length + TAIL)
    return checksum(data[:-TAIL]) != data[-TAIL:]


def _numbers(tensor: StoredTensor) -> tuple[int, int, TensorPlace]:
    """Return the position of a tensor's numbers, or message, their size, and their type."""
    place = tensor.place
    kind = place._replace(at=min(place.at, 1), size=0)
    if place.at:
        return place.at, place.size, kind
    return tensor.message, tensor.message_size, kind
