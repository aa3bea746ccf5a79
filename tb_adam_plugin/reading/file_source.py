"""Records of event files on this machine, read directly: all records, but only what is requested.

TensorBoard's loaders keep a sample of the records in memory, read a series as a whole, and reread
it when it has grown. Here an index tells where each record is (:mod:`..event_files`): single
statistics, parameters or histograms are read separately, and of a growing run only what is new.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tb_adam_plugin import schema
from tb_adam_plugin.arrays import Flags
from tb_adam_plugin.event_files import tensors
from tb_adam_plugin.event_files.first_look import first_look
from tb_adam_plugin.event_files.log_roots import LogRoots
from tb_adam_plugin.event_files.quick_turns import quick_turns
from tb_adam_plugin.event_files.run_files import FileRecords, RunFiles
from tb_adam_plugin.languages.sentences import say
from tb_adam_plugin.reading.file_blocks import FileBlocks, find_blocks, reading
from tb_adam_plugin.reading.file_columns import FileColumns, of_shape
from tb_adam_plugin.reading.file_rows import FileRows
from tb_adam_plugin.reading.record_source import (
    NOTHING,
    Experiment,
    Listing,
    Notes,
    ScalarSource,
    Stored,
    UnreadableError,
)
from tb_adam_plugin.reading.records import Series, damaged_records, standing
from tb_adam_plugin.reading.run import Message, TimeSeries, damage_messages, of_run
from tb_adam_plugin.reading.run_listing import RunListing
from tb_adam_plugin.reading.run_parts import folder_of, runs_beside
from tb_adam_plugin.reading.series_cache import SeriesCache
from tb_adam_plugin.schema import Layout

# A listing is reused for ten times as long as it took, so polling costs at most a tenth of a core;
# but the first one, which indexes all files, takes much longer than later ones.
_REUSE = 10
_LONGEST_REUSE = 10.0  # seconds
# Others' files are searched for our tags up to this many bytes at once: the rest at the next look.
_SEARCHED_AT_ONCE = 1 << 28
_SMALL_BYTES = 64 << 20
_STATISTICS = f"{schema.PLUGIN_NAME}/statistics/"
# An experiment is a name in an address, which may be anything: the files are the same.
_ANY = Experiment(None, "")


class FileSource(Notes):
    """Listings and series of local folders. Thread-safe."""

    def __init__(self, roots: LogRoots, scalars: ScalarSource, *, strict: bool = False) -> None:
        """Create a reader; nothing is read yet.

        Args:
            roots: The log folders.
            scalars: Source of the ordinary scalar series.
            strict: Whether an unreadable file is an error, all of every file is searched, and new
                data is ignored after the first listing.
        """
        super().__init__()
        self._roots = roots
        self._scalars = scalars
        self._strict = strict
        self._columns = FileColumns()
        self._small: SeriesCache[Series] = SeriesCache(_SMALL_BYTES, lambda s: s.nbytes)
        self._runs: dict[str, RunFiles] = {}
        self._listing = NOTHING
        self._run_listing = RunListing()
        self._described: object = None  # what the listing was based on
        self._good_until = 0.0
        self._lock = threading.Lock()

    def listing(self, experiment: Experiment) -> Listing:
        """Return which runs there are and what they hold.

        Raises:
            UnreadableError: If TensorBoard cannot list the scalars.
        """
        with self._lock:
            start = time.monotonic()
            if start >= self._good_until:
                with quick_turns():
                    self._listing = self._list(experiment)
                end = time.monotonic()
                reuse = min(_REUSE * (end - start), _LONGEST_REUSE)
                self._good_until = np.inf if self._strict else end + reuse
            return self._listing

    def note(self, experiment: Experiment, run: str, about: str, *messages: Message) -> None:
        """Replace the messages about one subject in a run, for all experiments."""
        super().note(_ANY, run, about, *messages)

    def notes(self, experiment: Experiment, run: str) -> tuple[Message, ...]:
        """Return the messages found while reading, each once."""
        return super().notes(_ANY, run)

    def _list(self, experiment: Experiment) -> Listing:
        files = self._roots.event_files()
        new = {run: paths for run, paths in files.items() if run not in self._runs}
        seen = self._runs | first_look({run: new[run] for run in new if _is_ours(run)})
        self._runs = {run: seen.get(run) or RunFiles(is_ours=_is_ours(run)) for run in files}
        left = 1 << 62 if self._strict else _SEARCHED_AT_ONCE
        for run, paths in files.items():
            left -= self._runs[run].update(paths, left)
        ours = {run: series for run, found in self._runs.items() if (series := found.series())}
        for run, found in self._runs.items():
            self._note_files(experiment, run, found)
        folders = {name for run in ours for name in runs_beside(folder_of(run, ours), [run])}
        beside = self._scalars.list_scalars(experiment, sorted(folders)) if ours else {}
        unread = [
            Message("error", of_run(run, message.text))
            for run, found in self._runs.items()
            if not any(tag.startswith(_STATISTICS) for tag in ours.get(run, ()))
            for message in _faults(found)
        ]
        state = (ours, beside, unread)
        if state == self._described:
            return self._listing
        self._described = state
        runs, messages = self._run_listing.describe(ours, beside)
        return Listing(tuple(runs), (*messages, *unread), beside)

    def _note_files(self, experiment: Experiment, run: str, files: RunFiles) -> None:
        """Report which files of a run cannot be read, in whole or in part."""
        errors = files.errors
        for path, reason in errors.items():
            if self._strict:
                raise OSError(_unread_in_words(path, reason))
        self.note(experiment, run, "files", *_faults(files))

    def small(self, stored: Stored, decode: Callable[[Any], Series]) -> Series:
        """Return a series that is needed as a whole."""
        with self._reading(stored) as files:
            tag = str(stored.tag)
            found = files.records(tag)

            def load() -> Series:
                data = [d for records in found for d in self._columns.data(tag, records)]
                series = decode(data)
                self._note_damage(stored, series.damage)
                return series

            written = tuple((records.index, len(records.step)) for records in found)
            return self._small.get((stored.run, tag), written, load)

    def statistics(self, stored: Stored, layout: Layout, names: Sequence[str]) -> Series:
        """Return some statistics of all parameters."""
        with self._reading(stored) as files:
            parts = self._of_layout(stored, files, layout)
            tag = str(stored.tag)
            columns = [self._columns.statistics(tag, part, layout, names) for part in parts]
            if len(parts) == 1 and len(names) == 1:
                values = columns[0][0][None]  # a view of what is kept anyway
            else:
                count = sum(len(part.step) for part in parts)
                values = np.empty((len(names), count, len(layout.parameters)), "<f4")
                for i, of_files in enumerate(zip(*columns, strict=True)):
                    np.concatenate(of_files, out=values[i])
            return _standing_series(parts, values)

    def records(self, stored: Stored, layout: Layout) -> Series:
        """Return the records of statistics, which are read when they are taken."""
        with self._reading(stored) as files:
            parts = self._of_layout(stored, files, layout)
            nothing = np.empty((0, sum(len(p.step) for p in parts), len(layout.parameters)), "<f4")
            return _standing_series(parts, nothing, FileRows(files, tuple(parts), layout))

    def parameter(self, stored: Stored, layout: Layout, row: int) -> Series:
        """Return all statistics of one parameter."""
        with self._reading(stored) as files:
            parts = self._of_layout(stored, files, layout)
            rows = [self._columns.parameter(part, layout, row) for part in parts]
            values = np.concatenate([np.empty((0, len(layout.statistics)), "<f4"), *rows])
            return _standing_series(parts, values.T[:, :, None])

    def blocks(self, stored: Stored) -> Series:
        """Return histograms, which are read when they are used."""
        with self._reading(stored) as files:
            blocks = find_blocks(files, stored.tag)
            step = np.concatenate([np.empty(0), *(part.step for part in blocks.parts)])
            wall_time = np.concatenate([np.empty(0), *(part.wall_time for part in blocks.parts)])
            kept = np.zeros(step.size, bool)
            kept[standing(step)] = True
            series = Series(step, wall_time, np.empty(0), FileBlocks(files, blocks))
            return series.only(kept)

    def scalars(self, experiment: Experiment, run: str, tag: str, listed: TimeSeries) -> Series:
        """Return an ordinary scalar series."""
        return self._scalars.scalars(experiment, run, tag, listed)

    @contextmanager
    def _reading(self, stored: Stored) -> Iterator[RunFiles]:
        files = self._runs.get(stored.run)
        if files is None:
            raise UnreadableError(say("Run {run} is gone.", run=stored.run))
        with reading(files):
            yield files
        self._note_files(stored.experiment, stored.run, files)

    def _of_layout(self, stored: Stored, files: RunFiles, layout: Layout) -> list[FileRecords]:
        """Return the records of a statistics series that have the size of its layout."""
        shape = (len(layout.parameters), len(layout.statistics))
        parts, damaged, reason = [], [], ""
        for records in files.records(str(stored.tag)):
            kept: Flags = of_shape(records, shape)
            if not kept.all():
                other = records.only(~kept)
                damaged += other.step.tolist()
                found = tensors.in_words(other.kinds[int(other.kind[0])])
                expected = f"float32 {shape[0]}×{shape[1]}"
                reason = reason or say(
                    "expected {expected}, got {found}", expected=expected, found=found
                )
            parts.append(records.only(kept))
        self._note_damage(stored, damaged_records(damaged, reason))
        return parts

    def _note_damage(self, stored: Stored, damage: str) -> None:
        tag = str(stored.tag)
        self.note(stored.experiment, stored.run, tag, *damage_messages(tag, damage))


def _is_ours(run: str) -> bool:
    """Whether a run's folder only holds files of the callback."""
    return schema.part_of(os.path.basename(run)) is not None


def _faults(files: RunFiles) -> list[Message]:
    """Return messages about what cannot be read of a run's files."""
    texts = [
        *(_unread_in_words(path, reason) for path, reason in files.errors.items()),
        *(_damage_in_words(path, events) for path, events in files.damaged.items()),
        *(
            say(
                "{path} is damaged at byte {start}: the rest cannot be read",
                path=path,
                start=f"{start:,}",
            )
            for path, start in files.cut_off.items()
        ),
        *_undescribed_in_words(files.undescribed, sum(files.damaged.values())),
    ]
    return [Message("error", text) for text in texts]


def _undescribed_in_words(undescribed: Mapping[str, int], damaged: int) -> list[str]:
    if not undescribed:
        return []
    return [
        say(
            "{records} records of {kinds} cannot be shown: the first one, which describes them, "
            "is damaged",
            records=f"{max(undescribed.values()) - damaged:,}",
            kinds=", ".join(sorted({tag.split("/")[1] for tag in undescribed})),
        )
    ]


def _unread_in_words(path: str, reason: str) -> str:
    return say("{path} cannot be read: {reason}", path=path, reason=reason)


def _damage_in_words(path: str, events: int) -> str:
    if events == 1:
        return say(
            "1 damaged event was left out of {path}: its data do not match their checksum",
            path=path,
        )
    return say(
        "{count} damaged events were left out of {path}: their data do not match their checksums",
        count=f"{events:,}",
        path=path,
    )


def _standing_series(
    parts: Sequence[FileRecords], values: Any, rows: FileRows | None = None
) -> Series:
    """Make a series of what no restart has ended."""
    step = np.concatenate([np.empty(0), *(part.step for part in parts)])
    wall_time = np.concatenate([np.empty(0), *(part.wall_time for part in parts)])
    kept = np.zeros(step.size, bool)
    kept[standing(step)] = True
    return Series(step, wall_time, values, rows=rows).only(kept)
