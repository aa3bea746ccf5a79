"""Reads TensorBoard's data provider, as rarely as possible. The only caller of it.

The data provider is TensorBoard's Rust data server or, where that does not run, its Python loader.
Neither can return what is new alone: a series that grew is read again as a whole, one that did not
is never read or decoded twice.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeVar

from tensorboard import errors
from tensorboard.data import provider

from tb_adam_plugin import schema
from tb_adam_plugin.reading.records import Series, decode_scalars
from tb_adam_plugin.reading.run import Message, StoredRun, TimeSeries
from tb_adam_plugin.reading.run_listing import describe_runs
from tb_adam_plugin.reading.run_parts import folder_of
from tb_adam_plugin.reading.series_cache import SeriesCache

_Answer = TypeVar("_Answer")

_CACHE_BYTES = 1 << 30
# More than TensorBoard keeps: what it kept is what we get.
_ALL_RECORDS = 1_000_000
# The data server sends at most 256 MiB in one answer.
_ANSWER_BYTES = 200 << 20
# With the Python loader a listing walks over every record there is. A listing is used again for
# ten times as long as it took, so that polling costs no more than a tenth of a core.
_REUSE = 10
# A local TensorBoard takes any id from the address and ignores it.
_KEPT_EXPERIMENTS = 16


class Experiment(NamedTuple):
    """Whose data a request asks for.

    Attributes:
        context: TensorBoard's ``RequestContext``.
        id: TensorBoard's experiment id; "" in a local TensorBoard.
    """

    context: Any
    id: str


class UnreadableError(Exception):
    """TensorBoard cannot read the data. The text is for the user."""


class Listing(NamedTuple):
    """What is known without reading a tensor.

    Attributes:
        runs: By name.
        messages: About runs that cannot be shown.
        scalars: Ordinary scalar series of these runs, by run and tag.
    """

    runs: tuple[StoredRun, ...]
    messages: tuple[Message, ...]
    scalars: Mapping[str, Mapping[str, TimeSeries]]


class EventData:
    """Listings and series of the data provider. Safe to use from several threads."""

    def __init__(self, data_provider: Any, kept_records: int | None = None) -> None:
        """Create a reader; nothing is read yet.

        Args:
            data_provider: TensorBoard's ``DataProvider``.
            kept_records: How many records of a series TensorBoard keeps; None or 0 for all.
        """
        self._provider = data_provider
        self._kept_records = kept_records or _ALL_RECORDS
        self._series: SeriesCache[Series] = SeriesCache(_CACHE_BYTES, lambda s: s.nbytes)
        self._listings: dict[str, tuple[float, Listing]] = {}
        self._listing_lock = threading.Lock()
        self._notes: dict[tuple[str, str], dict[str, tuple[Message, ...]]] = defaultdict(dict)
        self._notes_lock = threading.Lock()
        self._limits: dict[tuple[str, str, str], int] = {}

    def listing(self, experiment: Experiment) -> Listing:
        """Return which runs there are and what they hold.

        Raises:
            UnreadableError: If the data provider fails.
        """
        with self._listing_lock:
            good_until, listing = self._listings.get(experiment.id, (0.0, _NOTHING))
            start = time.monotonic()
            if start >= good_until:
                listing = self._list(experiment)
                end = time.monotonic()
                self._listings[experiment.id] = (end + _REUSE * (end - start), listing)
                if len(self._listings) > _KEPT_EXPERIMENTS:
                    self._forget(next(iter(self._listings)))
            return listing

    def tensors(
        self,
        experiment: Experiment,
        run: str,
        tag: str,
        listed: TimeSeries,
        decode: Callable[[Any], Series],
    ) -> Series:
        """Return a decoded series of ours; what is wrong with it goes to :meth:`notes`.

        Args:
            experiment: Whose.
            run: TensorBoard's name of the run.
            tag: Which series.
            listed: What the listing says about it, by which a change is noticed.
            decode: Turns the records into a series.

        Raises:
            UnreadableError: If the data provider fails.
        """

        def load() -> Series:
            data, sampling = self._read_all(experiment, run, tag)
            series = decode(data)
            damage = [Message("error", f"{tag}: {series.damage}")] if series.damage else []
            self.note(experiment, run, tag, *damage, *sampling)
            return series

        return self._series.get((experiment.id, run, tag), _version(listed), load)

    def scalars(self, experiment: Experiment, run: str, tag: str, listed: TimeSeries) -> Series:
        """Return an ordinary scalar series, as :meth:`tensors` does."""

        def load() -> Series:
            read = partial(self._provider.read_scalars, plugin_name="scalars")
            what = f"{tag} of run {run}"
            return decode_scalars(_ask(what, lambda: _read(read, experiment, run, tag)))

        return self._series.get((experiment.id, run, tag), _version(listed), load)

    def note(self, experiment: Experiment, run: str, about: str, *messages: Message) -> None:
        """Replace what is to be told about one thing in a run."""
        with self._notes_lock:
            self._notes[experiment.id, run][about] = messages

    def notes(self, experiment: Experiment, run: str) -> tuple[Message, ...]:
        """Return what reading has shown so far, each message once."""
        with self._notes_lock:
            noted = list(self._notes.get((experiment.id, run), {}).values())
        return tuple(dict.fromkeys(message for messages in noted for message in messages))

    def _forget(self, experiment_id: str) -> None:
        del self._listings[experiment_id]
        with self._notes_lock:
            for key in [key for key in self._notes if key[0] == experiment_id]:
                del self._notes[key]

    def _list(self, experiment: Experiment) -> Listing:
        def tensors() -> Mapping[str, Mapping[str, TimeSeries]]:
            found: Mapping[str, Mapping[str, TimeSeries]] = self._provider.list_tensors(
                experiment.context, experiment_id=experiment.id, plugin_name=schema.PLUGIN_NAME
            )
            return found

        ours = _ask("the list of runs", tensors)
        folders = {folder_of(run, ours) for run in ours} | set(ours)

        def scalars() -> Mapping[str, Mapping[str, TimeSeries]]:
            found: Mapping[str, Mapping[str, TimeSeries]] = self._provider.list_scalars(
                experiment.context,
                experiment_id=experiment.id,
                plugin_name="scalars",
                run_tag_filter=provider.RunTagFilter(runs=sorted(folders)),
            )
            return found

        beside = _ask("the list of scalars", scalars) if ours else {}
        runs, messages = describe_runs(ours, beside)
        return Listing(tuple(runs), tuple(messages), beside)

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


_NOTHING = Listing((), (), {})


def _version(listed: TimeSeries) -> tuple[int, float]:
    return listed.max_step, listed.max_wall_time


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
    return UnreadableError(
        f"TensorBoard cannot read {what}: {reason[:300] or type(error).__name__}"
    )


def _is_too_large(error: Exception) -> bool:
    code = getattr(error, "code", None)
    return callable(code) and getattr(code(), "name", "") == "RESOURCE_EXHAUSTED"


def _sampling(records: int, limit: int, kept: int) -> list[Message]:
    if records >= kept:
        text = (
            f"TensorBoard keeps {kept} records of a run, chosen at random. Start it with "
            f"--samples_per_plugin={schema.PLUGIN_NAME}=0 to see every one."
        )
    elif records >= limit:
        text = (
            f"{records} records are shown, chosen at random: all of them exceed what TensorBoard's "
            "data server sends at once. Start TensorBoard with --load_fast=false to see every one."
        )
    else:
        return []
    return [Message("warning", text)]
