"""Reads TensorBoard's data provider, as rarely as possible. The only caller of it.

The data provider is TensorBoard's Rust data server or, if that does not run, its Python loader.
Neither can return only new data: a series that has grown is reread as a whole, one that has not is
never read or decoded twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from tensorboard import errors
from tensorboard.data import provider

from tb_adam_plugin import schema
from tb_adam_plugin.languages.sentences import say
from tb_adam_plugin.reading.record_source import (
    NOTHING,
    Experiment,
    Listing,
    Notes,
    Stored,
    UnreadableError,
    version,
)
from tb_adam_plugin.reading.records import (
    RowsInMemory,
    Series,
    decode_blocks,
    decode_scalars,
    decode_statistics,
)
from tb_adam_plugin.reading.run import Message, TimeSeries, damage_messages
from tb_adam_plugin.reading.run_listing import RunListing
from tb_adam_plugin.reading.run_parts import folder_of, runs_beside
from tb_adam_plugin.reading.series_cache import SeriesCache
from tb_adam_plugin.schema import Layout

_Answer = TypeVar("_Answer")

_CACHE_BYTES = 1 << 30
# More than TensorBoard keeps, so we get all it has kept.
_ALL_RECORDS = 1_000_000
# The data server sends at most 256 MiB per answer.
_ANSWER_BYTES = 200 << 20
# With the Python loader, a listing iterates over every record. A listing is reused for ten times as
# long as it took, so polling costs at most a tenth of a core.
_REUSE = 10
# A local TensorBoard accepts any id in the address and ignores it.
_KEPT_EXPERIMENTS = 16


class ProviderSource(Notes):
    """Listings and series of the data provider. Thread-safe."""

    def __init__(self, data_provider: Any, kept_records: int | None = None) -> None:
        """Create a reader; nothing is read yet.

        Args:
            data_provider: TensorBoard's ``DataProvider``.
            kept_records: Number of records per series that TensorBoard keeps; None or 0 for all.
        """
        super().__init__()
        self._provider = data_provider
        self._kept_records = kept_records or _ALL_RECORDS
        self._series: SeriesCache[Series] = SeriesCache(_CACHE_BYTES, lambda s: s.nbytes)
        self._listings: dict[str, tuple[float, Listing]] = {}
        self._listing_lock = threading.Lock()
        self._limits: dict[tuple[str, str, str], int] = {}

    def listing(self, experiment: Experiment) -> Listing:
        """Return which runs there are and what they hold.

        Raises:
            UnreadableError: If the data provider fails.
        """
        with self._listing_lock:
            good_until, listing = self._listings.get(experiment.id, (0.0, NOTHING))
            start = time.monotonic()
            if start >= good_until:
                listing = self._list(experiment)
                end = time.monotonic()
                self._listings[experiment.id] = (end + _REUSE * (end - start), listing)
                if len(self._listings) > _KEPT_EXPERIMENTS:
                    oldest = next(iter(self._listings))
                    del self._listings[oldest]
                    self.forget(oldest)
            return listing

    def small(self, stored: Stored, decode: Callable[[Any], Series]) -> Series:
        """Return a series; see :class:`.record_source.RecordSource`."""
        experiment, run, tag, listed = stored

        def load() -> Series:
            data, sampling = self._read_all(experiment, run, str(tag))
            series = decode(data)
            damage = damage_messages(tag, series.damage)
            self.note(experiment, run, str(tag), *damage, *sampling)
            return series

        return self._series.get((experiment.id, run, tag), version(listed), load)

    def statistics(self, stored: Stored, layout: Layout, names: Sequence[str]) -> Series:
        """Return some statistics of all parameters."""
        series = self.small(stored, partial(decode_statistics, layout=layout))
        columns = [layout.statistics.index(name) for name in names]
        if len(columns) == 1:  # a view of what is kept anyway
            return replace(series, values=series.values[columns[0] : columns[0] + 1])
        return replace(series, values=series.values[columns])

    def records(self, stored: Stored, layout: Layout) -> Series:
        """Return the records of statistics: all of them are read together."""
        series = self.small(stored, partial(decode_statistics, layout=layout))
        rows = RowsInMemory(layout.statistics, series.values)
        return replace(series, values=series.values[:0], rows=rows)

    def parameter(self, stored: Stored, layout: Layout, row: int) -> Series:
        """Return all statistics of one parameter."""
        series = self.small(stored, partial(decode_statistics, layout=layout))
        return replace(series, values=series.values[:, :, row : row + 1])

    def blocks(self, stored: Stored) -> Series:
        """Return histograms, still packed."""
        return self.small(stored, decode_blocks)

    def scalars(self, experiment: Experiment, run: str, tag: str, listed: TimeSeries) -> Series:
        """Return an ordinary scalar series, as :meth:`tensors` does."""

        def load() -> Series:
            read = partial(self._provider.read_scalars, plugin_name="scalars")
            what = f"{tag} of run {run}"
            return decode_scalars(_ask(what, lambda: _read(read, experiment, run, tag)))

        return self._series.get((experiment.id, run, tag), version(listed), load)

    def _list(self, experiment: Experiment) -> Listing:
        def tensors() -> Mapping[str, Mapping[str, TimeSeries]]:
            found: Mapping[str, Mapping[str, TimeSeries]] = self._provider.list_tensors(
                experiment.context, experiment_id=experiment.id, plugin_name=schema.PLUGIN_NAME
            )
            return found

        ours = _ask("the list of runs", tensors)
        folders = {name for run in ours for name in runs_beside(folder_of(run, ours), [run])}

        beside = self.list_scalars(experiment, sorted(folders)) if ours else {}
        runs, messages = RunListing().describe(ours, beside)
        return Listing(tuple(runs), tuple(messages), beside)

    def list_scalars(
        self, experiment: Experiment, runs: Sequence[str]
    ) -> Mapping[str, Mapping[str, TimeSeries]]:
        """Return the ordinary scalar series of some runs, by run and tag."""

        def scalars() -> Mapping[str, Mapping[str, TimeSeries]]:
            found: Mapping[str, Mapping[str, TimeSeries]] = self._provider.list_scalars(
                experiment.context,
                experiment_id=experiment.id,
                plugin_name="scalars",
                run_tag_filter=provider.RunTagFilter(runs=runs),
            )
            return found

        return _ask("the list of scalars", scalars)

    def _read_all(
        self, experiment: Experiment, run: str, tag: str
    ) -> tuple[list[Any], list[Message]]:
        key = (experiment.id, run, tag)
        what = f"{tag} of run {run}"
        read = partial(self._provider.read_tensors, plugin_name=schema.PLUGIN_NAME)
        limit = self._limits.get(key, _ALL_RECORDS)
        while True:
            try:
                data = _read(read, experiment, run, tag, limit)
                break
            except Exception as error:
                if not _is_too_large(error) or limit <= 1:
                    raise _explained(what, error) from error
            if limit == _ALL_RECORDS:
                one = _ask(what, lambda: _read(read, experiment, run, tag, 1))
                limit = max(1, _ANSWER_BYTES // max(1, sum(datum.numpy.nbytes for datum in one)))
            else:
                limit //= 2
            self._limits[key] = limit
        return data, _sampling(len(data), limit, self._kept_records)


def _read(
    read: Callable[..., Mapping[str, Mapping[str, Iterable[Any]]]],
    experiment: Experiment,
    run: str,
    tag: str,
    limit: int = _ALL_RECORDS,
) -> list[Any]:
    found = read(
        experiment.context,
        experiment_id=experiment.id,
        downsample=limit,
        run_tag_filter=provider.RunTagFilter(runs=[run], tags=[tag]),
    )
    return list(found.get(run, {}).get(tag, ()))


def _ask(what: str, question: Callable[[], _Answer]) -> _Answer:
    try:
        return question()
    except Exception as error:
        raise _explained(what, error) from error


def _explained(what: str, error: Exception) -> Exception:
    if isinstance(error, errors.PublicError):
        public: Exception = error
        return public
    details = getattr(error, "details", None)
    reason = str((details() if callable(details) else None) or error).split("\n")[0]
    reason = reason[:300] or type(error).__name__
    return UnreadableError(
        say("TensorBoard cannot read {what}: {reason}", what=what, reason=reason)
    )


def _is_too_large(error: Exception) -> bool:
    code = getattr(error, "code", None)
    return callable(code) and getattr(code(), "name", "") == "RESOURCE_EXHAUSTED"


def _sampling(records: int, limit: int, kept: int) -> list[Message]:
    if records >= kept:
        text = say(
            "TensorBoard keeps {count} records of a run, chosen at random. Start it with "
            "--samples_per_plugin={plugin}=0 to see all of them.",
            count=kept,
            plugin=schema.PLUGIN_NAME,
        )
    elif records >= limit:
        text = say(
            "{count} records are shown, chosen at random: all of them exceed what TensorBoard's "
            "data server sends at once. Start TensorBoard with --load_fast=false to see all of "
            "them.",
            count=records,
        )
    else:
        return []
    return [Message("warning", text)]
