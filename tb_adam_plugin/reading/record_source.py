"""Sources of records: the interface that :mod:`.store` uses.

There are two implementations: :mod:`.file_source`, which reads event files on this machine itself,
and :mod:`.provider_source`, which asks TensorBoard.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from tb_adam_plugin.reading.records import Series
from tb_adam_plugin.reading.run import Message, StoredRun, TimeSeries
from tb_adam_plugin.schema import Layout, Tag


class Experiment(NamedTuple):
    """Identifies the data that a request asks for.

    Attributes:
        context: TensorBoard's ``RequestContext``.
        id: TensorBoard's experiment id; "" in a local TensorBoard.
    """

    context: Any
    id: str


class UnreadableError(Exception):
    """The data cannot be read. The text is for the user."""


class Listing(NamedTuple):
    """What is known about the runs without reading a tensor.

    Attributes:
        runs: The runs, by name.
        messages: Messages about runs that cannot be shown.
        scalars: Ordinary scalar series of these runs, by run and tag.
    """

    runs: tuple[StoredRun, ...]
    messages: tuple[Message, ...]
    scalars: Mapping[str, Mapping[str, TimeSeries]]


NOTHING = Listing((), (), {})


class Stored(NamedTuple):
    """A requested series.

    Attributes:
        experiment: Its experiment.
        run: TensorBoard's name of its run, or of the part that it is in.
        tag: Its tag.
        listed: Its entry in the listing, used to detect changes.
    """

    experiment: Experiment
    run: str
    tag: Tag
    listed: TimeSeries


class ScalarSource(Protocol):
    """A source of the ordinary scalar series beside our runs."""

    def list_scalars(
        self, experiment: Experiment, runs: Sequence[str]
    ) -> Mapping[str, Mapping[str, TimeSeries]]:
        """Return the series of some runs, by run and tag."""

    def scalars(self, experiment: Experiment, run: str, tag: str, listed: TimeSeries) -> Series:
        """Return a series, float32 ``[1, points]``."""


class RecordSource(Protocol):
    """Listings and series. Thread-safe.

    Every method raises :class:`UnreadableError` if the data cannot be read. Damaged records of a
    series, and records with another shape, are left out and reported by :meth:`notes`.
    """

    def listing(self, experiment: Experiment) -> Listing:
        """Return which runs there are and what they hold."""

    def small(self, stored: Stored, decode: Callable[[Any], Series]) -> Series:
        """Return a series that is needed as a whole, from its records by ``decode``."""

    def statistics(self, stored: Stored, layout: Layout, names: Sequence[str]) -> Series:
        """Return some statistics of all parameters.

        Args:
            stored: The series.
            layout: Its layout.
            names: Names of statistics of the layout; empty if only the steps are needed.

        Returns:
            With ``values`` ``[names, steps, parameters]``.
        """

    def records(self, stored: Stored, layout: Layout) -> Series:
        """Return the records of statistics, with ``rows``, which are read when they are taken."""

    def parameter(self, stored: Stored, layout: Layout, row: int) -> Series:
        """Return all statistics of one parameter, with ``values`` ``[statistics, steps, 1]``."""

    def blocks(self, stored: Stored) -> Series:
        """Return histograms, still packed."""

    def scalars(self, experiment: Experiment, run: str, tag: str, listed: TimeSeries) -> Series:
        """Return an ordinary scalar series, float32 ``[1, points]``."""

    def note(self, experiment: Experiment, run: str, about: str, *messages: Message) -> None:
        """Replace the messages about one subject in a run."""

    def notes(self, experiment: Experiment, run: str) -> tuple[Message, ...]:
        """Return the messages found while reading, each once."""

    @property
    def noted(self) -> int:
        """Counts the changes of the messages."""


class Notes:
    """Messages about runs. Thread-safe."""

    def __init__(self) -> None:
        """Start empty."""
        self._notes: dict[tuple[str, str], dict[str, tuple[Message, ...]]] = defaultdict(dict)
        self._notes_lock = threading.Lock()
        self._noted = 0

    @property
    def noted(self) -> int:
        """Counts the changes of the messages."""
        return self._noted

    def note(self, experiment: Experiment, run: str, about: str, *messages: Message) -> None:
        """Replace the messages about one subject in a run."""
        with self._notes_lock:
            about_run = self._notes[experiment.id, run]
            self._noted += about_run.get(about, ()) != messages
            about_run[about] = messages

    def notes(self, experiment: Experiment, run: str) -> tuple[Message, ...]:
        """Return the messages about a run, each once."""
        with self._notes_lock:
            noted = list(self._notes.get((experiment.id, run), {}).values())
        return tuple(dict.fromkeys(message for messages in noted for message in messages))

    def forget(self, experiment_id: str) -> None:
        """Drop the messages about an experiment."""
        with self._notes_lock:
            for key in [key for key in self._notes if key[0] == experiment_id]:
                del self._notes[key]


def version(listed: TimeSeries) -> tuple[object, ...]:
    """Return a value that changes whenever a series does."""
    others = getattr(listed, "records", 0), getattr(listed, "files", ())
    return listed.max_step, listed.max_wall_time, *others
