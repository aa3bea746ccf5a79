"""Where records come from: what :mod:`.store` asks, whoever answers.

Two answer: :mod:`.file_source`, which reads event files on this machine itself, and
:mod:`.provider_source`, which asks TensorBoard.
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
    """Whose data a request asks for.

    Attributes:
        context: TensorBoard's ``RequestContext``.
        id: TensorBoard's experiment id; "" in a local TensorBoard.
    """

    context: Any
    id: str


class UnreadableError(Exception):
    """The data cannot be read. The text is for the user."""


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


NOTHING = Listing((), (), {})


class Stored(NamedTuple):
    """A series that is asked for.

    Attributes:
        experiment: Whose.
        run: TensorBoard's name of the run, or of the part of one, that it is in.
        tag: Its tag.
        listed: What the listing says about it, by which a change is noticed.
    """

    experiment: Experiment
    run: str
    tag: Tag
    listed: TimeSeries


class ScalarSource(Protocol):
    """Who knows the ordinary scalar series beside our runs."""

    def list_scalars(
        self, experiment: Experiment, runs: Sequence[str]
    ) -> Mapping[str, Mapping[str, TimeSeries]]:
        """Return the series of some runs, by run and tag."""

    def scalars(self, experiment: Experiment, run: str, tag: str, listed: TimeSeries) -> Series:
        """Return a series, float32 ``[1, points]``."""


class RecordSource(Protocol):
    """Listings and series. Safe to use from several threads.

    Every method raises :class:`UnreadableError` if the data cannot be read. Of a series, records
    that are damaged or of another shape are left out and told by :meth:`notes`.
    """

    def listing(self, experiment: Experiment) -> Listing:
        """Return which runs there are and what they hold."""

    def small(self, stored: Stored, decode: Callable[[Any], Series]) -> Series:
        """Return a series of which everything is wanted, from its records by ``decode``."""

    def statistics(self, stored: Stored, layout: Layout, names: Sequence[str]) -> Series:
        """Return some statistics of all parameters.

        Args:
            stored: Which series.
            layout: Its layout.
            names: Of statistics of the layout; none, where the steps alone are wanted.

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
        """Replace what is to be told about one thing in a run."""

    def notes(self, experiment: Experiment, run: str) -> tuple[Message, ...]:
        """Return what reading has shown so far, each message once."""

    @property
    def noted(self) -> int:
        """How often what is to be told has changed."""


class Notes:
    """What is to be told about runs. Safe to use from several threads."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._notes: dict[tuple[str, str], dict[str, tuple[Message, ...]]] = defaultdict(dict)
        self._notes_lock = threading.Lock()
        self._noted = 0

    @property
    def noted(self) -> int:
        """How often what is to be told has changed."""
        return self._noted

    def note(self, experiment: Experiment, run: str, about: str, *messages: Message) -> None:
        """Replace what is to be told about one thing in a run."""
        with self._notes_lock:
            about_run = self._notes[experiment.id, run]
            self._noted += about_run.get(about, ()) != messages
            about_run[about] = messages

    def notes(self, experiment: Experiment, run: str) -> tuple[Message, ...]:
        """Return what is to be told about a run, each message once."""
        with self._notes_lock:
            noted = list(self._notes.get((experiment.id, run), {}).values())
        return tuple(dict.fromkeys(message for messages in noted for message in messages))

    def forget(self, experiment_id: str) -> None:
        """Drop what there is about an experiment."""
        with self._notes_lock:
            for key in [key for key in self._notes if key[0] == experiment_id]:
                del self._notes[key]


def version(listed: TimeSeries) -> tuple[object, ...]:
    """Return something that changes where a series does."""
    others = getattr(listed, "records", 0), getattr(listed, "files", ())
    return listed.max_step, listed.max_wall_time, *others
