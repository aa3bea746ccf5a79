"""The event files of one run, and the content of each tag in them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from tensorboard.compat.proto import summary_pb2

from tb_adam_plugin import schema
from tb_adam_plugin.arrays import Flags, Float64s, Indices, Int64s
from tb_adam_plugin.event_files.event_index import EventIndex, HistogramPlace
from tb_adam_plugin.event_files.windowed_file import ReplacedError
from tb_adam_plugin.event_files.wire import TensorPlace
from tb_adam_plugin.languages.sentences import reason_of

_MARK = f"{schema.PLUGIN_NAME}/".encode()
_SEARCHED_AT_ONCE = 1 << 20


class FileSeries(NamedTuple):
    """What is known about a tag without reading its tensors.

    Attributes:
        max_step: Step of the last record: records of later steps stored before it were superseded.
        max_wall_time: Latest wall time, seconds since the epoch.
        plugin_content: The content of the tag's first summary that has any.
        records: Number of records.
        files: Numbers of the indexes that have it; a replaced file gets a new number.
    """

    max_step: int
    max_wall_time: float
    plugin_content: bytes
    records: int
    files: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class FileRecords:
    """The intact tensors of a tag in one file, in storage order.

    Attributes:
        index: Index of the file.
        step: int64 ``[records]``.
        wall_time: float64 ``[records]``, seconds since the epoch.
        at: Position of the numbers, or of the message, depending on ``kind``, int64 ``[records]``.
        size: Their size in bytes, int64 ``[records]``.
        kind: Index into :attr:`kinds`, int64 ``[records]``.
        kinds: Types and shapes; ``at`` is 0 if the numbers are listed in the message.
        event: Index of the event, int64 ``[records]``.
    """

    index: EventIndex
    step: Int64s
    wall_time: Float64s
    at: Int64s
    size: Int64s
    kind: Int64s
    kinds: tuple[TensorPlace, ...]
    event: Int64s

    def only(self, kept: Flags | Indices | slice) -> FileRecords:
        """Return some of the records."""
        return replace(
            self,
            step=self.step[kept],
            wall_time=self.wall_time[kept],
            at=self.at[kept],
            size=self.size[kept],
            kind=self.kind[kept],
            event=self.event[kept],
        )


@dataclass(slots=True)
class _File:
    """A file of a run.

    Attributes:
        index: Its index; None until something of ours is found in it.
        identity: Identity of the searched file.
        searched: Number of bytes searched without finding anything of ours.
        error: Why it cannot be read, or "".
    """

    index: EventIndex | None = None
    identity: tuple[int, int] = (0, 0)
    searched: int = 0
    error: str = ""


class RunFiles:
    """The event files of one run. Thread-safe.

    What it yields and returns refers to the files as they were: reading it raises
    :class:`.event_index.ReplacedError` if a file has been replaced since.
    """

    def __init__(self, *, is_ours: bool) -> None:
        """Start without files.

        Args:
            is_ours: Whether the folder only holds our files. Others are searched for our tags.
        """
        self.lock = threading.RLock()
        self._is_ours = is_ours
        self._files: dict[str, _File] = {}
        self._series: tuple[list[tuple[EventIndex, int]], dict[str, FileSeries]] = ([], {})
        self._undescribed: dict[str, int] = {}

    def __getstate__(self) -> dict[str, object]:
        """Return what another process needs: everything but the lock."""
        return {name: value for name, value in vars(self).items() if name != "lock"}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Take over the results of another process."""
        vars(self).update(state, lock=threading.RLock())

    def update(self, paths: Sequence[str], searched_bytes: int) -> int:
        """Index what is new.

        Args:
            paths: Paths of the files, sorted by name.
            searched_bytes: How many bytes of others' files to search, at most.

        Returns:
            How many bytes were searched.
        """
        with self.lock:
            self._files = {path: self._files.get(path, _File()) for path in paths}
            left = searched_bytes
            for path, file in self._files.items():
                try:
                    if file.index is None and not self._is_ours:
                        left -= _search(path, file, left)
                    elif file.index is None:
                        file.index = EventIndex(path)
                    if file.index is not None:
                        file.index = _updated(path, file.index)
                    file.error = ""
                except FileNotFoundError:
                    file.index = None
                except (OSError, ReplacedError) as error:
                    file.error = _in_words(error)
            return searched_bytes - left

    @property
    def errors(self) -> dict[str, str]:
        """Why files cannot be read, by path."""
        with self.lock:
            return {path: file.error for path, file in self._files.items() if file.error}

    def series(self) -> dict[str, FileSeries]:
        """Return what is known about each tag; the same object until something changes."""
        with self.lock:
            written = [(index, len(index)) for index in self._indexes()]
            if written != self._series[0]:
                # Files that could not be read are retried.
                found, all_are_read = self._joined_series()
                self._series = written if all_are_read else [], found
            return self._series[1]

    def _joined_series(self) -> tuple[dict[str, FileSeries], bool]:
        joined: dict[str, FileSeries] = {}
        all_are_read = True
        for file in self._files.values():
            if file.index is None:
                continue
            try:
                for tag, series in list(_series_of(file.index)):
                    joined[tag] = _join(joined[tag], series) if tag in joined else series
            except (OSError, ReplacedError) as error:
                all_are_read = False
                file.error = _in_words(error)
        found = {tag: series for tag, series in joined.items() if series.plugin_content}
        self._undescribed = {tag: s.records for tag, s in joined.items() if tag not in found}
        return found, all_are_read

    @property
    def damaged(self) -> dict[str, int]:
        """Number of events of each file known to be damaged, by path, if there are any."""
        with self.lock:
            damaged = {p: f.index.damaged for p, f in self._files.items() if f.index is not None}
            return {path: count for path, count in damaged.items() if count}

    @property
    def cut_off(self) -> dict[str, int]:
        """The byte from which on nothing of a file can be read, by path, if it is not its end."""
        with self.lock:
            indexes = {p: f.index for p, f in self._files.items() if f.index is not None}
            at = {path: index.cut_off_at for path, index in indexes.items()}
            return {path: start for path, start in at.items() if start is not None}

    @property
    def undescribed(self) -> dict[str, int]:
        """Number of records of each tag without an intact description of their content."""
        with self.lock:
            return self._undescribed

    def records(self, tag: str) -> list[FileRecords]:
        """Return the intact tensors of a tag in each file."""
        with self.lock:
            found = []
            for index in self._indexes():
                places = index.places(tag)
                step, wall_time = index.step[places.event], index.wall_time[places.event]
                records = FileRecords(
                    index, step, wall_time, places.at, places.size, places.kind, places.kinds,
                    places.event,
                )  # fmt: skip
                found.append(records.only(index.intact(places.event)))
            return found

    def histogram_events(self, layout: str) -> list[tuple[EventIndex, Int64s]]:
        """Return the intact events of each file that end with histograms of a layout."""
        with self.lock:
            found = []
            for index in self._indexes():
                events = index.histogram_events(layout)
                found.append((index, events[index.intact(events)]))
            return found

    def _indexes(self) -> list[EventIndex]:
        return [file.index for file in self._files.values() if file.index is not None]


def _in_words(error: Exception) -> str:
    return getattr(error, "strerror", None) or reason_of(error)


def _updated(path: str, index: EventIndex) -> EventIndex:
    try:
        index.update()
    except ReplacedError:
        index = EventIndex(path)
        index.update()
    return index


def _search(path: str, file: _File, most: int) -> int:
    """Search the new part of a file for our tags; if there are any, give it an index."""
    searched = 0
    status = os.stat(path)
    size, identity = status.st_size, (status.st_dev, status.st_ino)
    if size < file.searched or identity != file.identity:
        file.searched = 0
    file.identity = identity
    if size - file.searched < len(_MARK) or most <= 0:
        return 0
    with open(path, "rb", buffering=0) as opened:
        opened.seek(file.searched)
        before = b""
        while searched < most and (data := opened.read(min(_SEARCHED_AT_ONCE, most - searched))):
            searched += len(data)
            if _MARK in before + data:
                file.index = EventIndex(path)
                return searched
            before = data[1 - len(_MARK) :]
    file.searched += max(0, searched + 1 - len(_MARK))
    return searched


def _series_of(index: EventIndex) -> Iterator[tuple[str, FileSeries]]:
    """Iterate over the tags of a file."""
    metadata = index.metadata()
    for tag in index.tags:
        found = _describe(index, index.places(tag).event, metadata.get(tag, b""))
        if found is not None:
            yield tag, found
    for layout in index.histogram_layouts:
        events = index.histogram_events(layout)
        known: set[str] = set()
        for event in dict.fromkeys(events[[0, -1]].tolist() if events.size else []):
            if not index.is_intact(event):
                continue
            for place in list(index.histograms(event)):
                if place.tag in known:
                    continue
                known.add(place.tag)
                found = _describe(index, events, _metadata_of(index, place))
                if found is not None:
                    yield place.tag, found


def _metadata_of(index: EventIndex, place: HistogramPlace) -> bytes:
    if not place.metadata_size:
        return b""
    at, size = np.array([place.metadata]), np.array([place.metadata_size])
    return next(index.read(at, size)).tobytes()


def _describe(index: EventIndex, events: Int64s, metadata: bytes) -> FileSeries | None:
    """Describe a tag; None if it is not ours, or none of its events is intact."""
    try:
        plugin = summary_pb2.SummaryMetadata.FromString(metadata).plugin_data
    except DecodeError:
        return None
    if plugin.plugin_name not in ("", schema.PLUGIN_NAME):
        return None
    step, wall_time = index.step, index.wall_time
    latest = _largest(index, events, np.arange(len(step)))
    if latest is None:
        return None
    last = _largest(index, events, np.where(np.isnan(wall_time), -np.inf, wall_time))
    when = float(wall_time[last]) if last is not None else 0.0
    content = plugin.content if plugin.plugin_name else b""
    return FileSeries(int(step[latest]), when, content, len(events), (index.number,))


def _largest(index: EventIndex, events: Int64s, values: Int64s | Float64s) -> int | None:
    """Return the intact event with the largest value; None if no event is intact."""
    left = events
    while left.size:
        event = int(left[values[left].argmax()])
        if index.is_intact(event):
            return event
        left = left[index.intact(left)]  # all at once, rather than one after the other
    return None


def _join(earlier: FileSeries, later: FileSeries) -> FileSeries:
    return FileSeries(
        later.max_step,
        max(earlier.max_wall_time, later.max_wall_time),
        earlier.plugin_content or later.plugin_content,
        earlier.records + later.records,
        earlier.files + later.files,
    )
