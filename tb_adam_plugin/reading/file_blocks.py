"""Packed histograms of event files, each read when it is used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tb_adam_plugin.arrays import Flags, Float64s, Indices, Int64s
from tb_adam_plugin.event_files import tensors
from tb_adam_plugin.event_files.event_index import EventIndex
from tb_adam_plugin.event_files.quick_turns import quick_turns
from tb_adam_plugin.event_files.run_files import FileRecords, RunFiles
from tb_adam_plugin.event_files.windowed_file import ReplacedError
from tb_adam_plugin.event_files.wire import TensorPlace
from tb_adam_plugin.languages.sentences import reason_of, say
from tb_adam_plugin.reading.record_source import UnreadableError
from tb_adam_plugin.schema import Tag


@contextmanager
def reading(files: RunFiles) -> Iterator[None]:
    """Read files of a run, in one thread at a time.

    Raises:
        UnreadableError: If one cannot be read, or has been replaced.
    """
    try:
        with quick_turns(), files.lock:
            yield
    except ReplacedError as error:
        raise UnreadableError(
            say("{error} while it was being read; please try again.", error=reason_of(error))
        ) from error
    except OSError as error:
        raise UnreadableError(say("An event file cannot be read: {error}", error=error)) from error


@dataclass(frozen=True, slots=True)
class _Part:
    """The blocks of one file, in storage order.

    Attributes:
        index: Index of the file.
        step: Step of each block, float64 ``[blocks]``.
        wall_time: Seconds since the epoch, float64 ``[blocks]``.
        event: The event that ends with it; -1 if it is in :attr:`records`.
        records: Blocks that are stored like other tensors; the rest are located when they are used.
        record: Index into ``records``.
    """

    index: EventIndex
    step: Float64s
    wall_time: Float64s
    event: Int64s
    records: FileRecords
    record: Int64s


class StoredBlocks(NamedTuple):
    """The blocks of a tag, concatenated over the files."""

    tag: str
    parts: tuple[_Part, ...]


def find_blocks(files: RunFiles, tag: Tag) -> StoredBlocks:
    """Return where the blocks of a tag are."""
    ending = {id(index): events for index, events in files.histogram_events(tag.id)}
    parts = []
    for records in files.records(str(tag)):
        index, ends = records.index, ending[id(records.index)]
        event = np.concatenate([records.event, ends])
        order = np.argsort(event, kind="stable")
        inside = np.concatenate([np.full(len(records.event), -1), ends])
        record = np.concatenate([np.arange(len(records.event)), np.full(len(ends), -1)])
        step = index.step[event].astype(np.float64)
        parts.append(
            _Part(
                index,
                step[order],
                index.wall_time[event][order],
                inside[order],
                records,
                record[order],
            )
        )
    return StoredBlocks(str(tag), tuple(parts))


@dataclass(frozen=True, slots=True)
class FileBlocks:
    """Some of the blocks of a tag.

    Attributes:
        files: The files that contain them.
        stored: All blocks of the tag.
        kept: Indices of these blocks.
    """

    files: RunFiles
    stored: StoredBlocks
    kept: Indices | None = None

    @property
    def nbytes(self) -> int:
        """Their memory size: negligible."""
        return 0

    def only(self, kept: Flags) -> FileBlocks:
        """Return some of them, bool ``[blocks]``."""
        chosen = np.flatnonzero(kept)
        return FileBlocks(
            self.files, self.stored, chosen if self.kept is None else self.kept[chosen]
        )

    def take(self, rows: Sequence[int]) -> list[bytes | None]:
        """Read some of them; None if an event has none.

        Raises:
            UnreadableError: If a file cannot be read, or has been replaced.
        """
        chosen = np.array(rows, np.intp)
        if self.kept is not None:
            chosen = self.kept[chosen]
        ends = np.cumsum([0, *(len(part.step) for part in self.stored.parts)])
        of = np.searchsorted(ends, chosen, "right") - 1
        found: list[bytes | None] = [None] * len(chosen)
        with reading(self.files):
            for number, part in enumerate(self.stored.parts):
                here = np.flatnonzero(of == number)
                for i, block in zip(
                    here.tolist(),
                    _read(part, self.stored.tag, chosen[here] - ends[number]),
                    strict=True,
                ):
                    found[i] = block
        return found


def _read(part: _Part, tag: str, rows: Indices) -> Iterator[bytes | None]:
    """Iterate over some blocks of a file."""
    ending = part.index.read_histograms(part.event[rows][part.record[rows] < 0].tolist(), tag)
    for record in part.record[rows].tolist():
        if record < 0:
            found = next(ending)
        else:
            one = part.records.only(slice(record, record + 1))
            kind = one.kinds[int(one.kind[0])]
            found = kind, next(part.index.read(one.at, one.size))
        yield None if found is None else _block(*found)


def _block(kind: TensorPlace, data: npt.NDArray[np.uint8]) -> bytes:
    array = tensors.from_file(data, kind)
    if array is None or array.dtype != np.uint8 or array.ndim != 1:
        return b""  # not a valid block
    return array.tobytes()
