"""Which runs there are and what they hold, from TensorBoard's list of series. Reads no tensor.

A run may have several layouts: a layer was unfrozen, or training went on in the same folder with
another model. They are joined by parameter name, and the newest layout has the say.

A run may also have several parts: processes of distributed training that have parameters of their
own write into folders beside one another. These are joined by parameter name, too.

Callbacks that wrote into one folder at the same time have numbered folders beside one another.
These are runs of their own: two models may have parameters of one name.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal, NamedTuple, Protocol

from tb_adam_plugin import schema
from tb_adam_plugin.schema import Columns, FormatError, Group, Layout, Parameter, Quantity, Tag

# Decoding a layout of thousands of parameters takes milliseconds, and polling would repeat it.
_read_layout = lru_cache(maxsize=256)(Layout.from_content)
_read_columns = lru_cache(maxsize=256)(Columns.from_content)


class TimeSeries(Protocol):
    """What TensorBoard's data provider lists about one tag."""

    @property
    def max_step(self) -> int:
        """Largest step."""

    @property
    def max_wall_time(self) -> float:
        """Latest wall time, seconds since the epoch."""

    @property
    def plugin_content(self) -> bytes:
        """The content of the tag's first summary."""


class Message(NamedTuple):
    """A sentence to show to the user."""

    severity: Literal["warning", "error"]
    text: str


class Scalar(NamedTuple):
    """Name of an ordinary scalar series."""

    run: str
    tag: str


@dataclass(frozen=True, slots=True)
class JoinedLayout:
    """The layouts of a run as one.

    Attributes:
        layouts: By layout id, the newest first.
        parameters: Those of any layout, as the newest that has them says; ``group`` is an index
            into :attr:`groups`.
        groups: Those of the newest layout, then those that only older ones have.
        group_rows: For each layout id, where its groups are in :attr:`groups`.
        statistics: Those of any layout.
        quantities: Those of any layout.
    """

    layouts: Mapping[str, Layout]
    parameters: tuple[Parameter, ...]
    groups: tuple[Group, ...]
    group_rows: Mapping[str, tuple[int, ...]]
    statistics: tuple[str, ...]
    quantities: tuple[Quantity, ...]

    @property
    def newest(self) -> Layout:
        """The layout that was written last."""
        return next(iter(self.layouts.values()))

    def rows_of(self, parameter: str) -> dict[str, int]:
        """Return the row of a parameter in each layout that has it, by layout id."""
        return {
            layout_id: row
            for layout_id, layout in self.layouts.items()
            for row, p in enumerate(layout.parameters)
            if p.name == parameter
        }


class PartSteps(NamedTuple):
    """The steps of another part of a run.

    Attributes:
        run: TensorBoard's name of the part.
        id: Of the steps tag.
        columns: Its columns.
        series: What is listed of it.
    """

    run: str
    id: str
    columns: Columns
    series: TimeSeries


@dataclass(frozen=True, slots=True)
class Run:
    """One run with our data.

    Attributes:
        run: TensorBoard's name of it.
        name: What to show; the run folder that a SummaryWriter would use.
        layout: Its layouts as one.
        tags: Our readable series.
        hyperparameters: Columns of the hyperparameters tag of each layout id.
        steps: Columns of each steps tag by its id, the newest first.
        gradient_norms: Columns of each gradient norms tag by its id, the newest first.
        scalars: Ordinary scalar series of the same training.
        messages: What could not be understood.
        homes: TensorBoard's names of the other parts that :attr:`tags` are in.
        part_steps: The steps of the other parts.
        number: Which of the callbacks that wrote into one folder at the same time, from 1.
        ended: What was written until then, seconds since the epoch, was another model's.
        last_step: Where that is known: the last step of those that are not another model's.
    """

    run: str
    name: str
    layout: JoinedLayout
    tags: Mapping[Tag, TimeSeries]
    hyperparameters: Mapping[str, Columns]
    steps: Mapping[str, Columns]
    gradient_norms: Mapping[str, Columns] = field(default_factory=dict)
    scalars: tuple[Scalar, ...] = ()
    messages: tuple[Message, ...] = ()
    homes: Mapping[Tag, str] = field(default_factory=dict)
    part_steps: tuple[PartSteps, ...] = ()
    number: int = 1
    ended: float = -math.inf
    last_step: int | None = None

    @property
    def step_columns(self) -> tuple[str, ...]:
        """Columns of the steps, those of all tags."""
        others = (part.columns.names for part in self.part_steps)
        return _union([*(columns.names for columns in self.steps.values()), *others])

    @property
    def parts(self) -> tuple[str, ...]:
        """TensorBoard's names of all parts, the first one's first."""
        return tuple(dict.fromkeys([self.run, *self.homes.values()]))

    def home(self, tag: Tag) -> str:
        """Return TensorBoard's name of the part that a tag is in."""
        return self.homes.get(tag, self.run)

    @property
    def last(self) -> tuple[int, float]:
        """Last step and latest wall time of all that was logged."""
        series = [*self.tags.values(), *(part.series for part in self.part_steps)]
        times = [s.max_wall_time for s in series if math.isfinite(s.max_wall_time)]
        last = max(s.max_step for s in series) if self.last_step is None else self.last_step
        return last, max(times, default=0.0)


@dataclass(slots=True)
class _Contents:
    """The contents of a run's tags, while they are being read."""

    tags: dict[Tag, TimeSeries] = field(default_factory=dict)
    layouts: dict[str, Layout] = field(default_factory=dict)
    hyperparameters: dict[str, Columns] = field(default_factory=dict)
    steps: dict[str, Columns] = field(default_factory=dict)
    gradient_norms: dict[str, Columns] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)


def describe_runs(
    tensors: Mapping[str, Mapping[str, TimeSeries]], scalars: Mapping[str, Iterable[str]]
) -> tuple[list[Run], list[Message]]:
    """Read what the runs hold.

    Args:
        tensors: Our series by run and tag.
        scalars: Tags of the ordinary scalar series by run.

    Returns:
        The runs that have a layout we can read, by name; and messages about the others.
    """
    by_place: dict[tuple[str, int], dict[str, _Contents]] = {}
    messages: list[Message] = []
    for run in sorted(tensors, key=_Place.of):
        contents = _read_contents(tensors[run])
        if not contents.layouts:
            messages += [Message(m.severity, f"Run {run}: {m.text}") for m in contents.messages]
            continue
        place = _Place.of(run)
        by_place.setdefault((folder_of(run, tensors), place.number), {})[run] = contents
    runs = [
        _join_parts(run_name(next(iter(parts)), tensors), folder, number, parts, scalars)
        for (folder, number), parts in by_place.items()
    ]
    return sorted(runs, key=lambda run: run.run), messages


def _join_parts(
    name: str,
    folder: str,
    number: int,
    parts: Mapping[str, _Contents],
    scalars: Mapping[str, Iterable[str]],
) -> Run:
    """Make one run of its parts, the first one first; one that has nothing new is left out."""
    (first, main), *others = parts.items()
    layouts = dict(main.layouts)
    tags, hyperparameters = dict(main.tags), dict(main.hyperparameters)
    gradient_norms = dict(main.gradient_norms)
    messages = list(main.messages)
    homes: dict[Tag, str] = {}
    part_steps: list[PartSteps] = []
    known = _names(main)
    for run, part in others:
        if _names(part) <= known:
            continue
        known |= _names(part)
        layouts |= {id_: layout for id_, layout in part.layouts.items() if id_ not in layouts}
        hyperparameters |= part.hyperparameters
        gradient_norms |= part.gradient_norms
        messages += part.messages
        own = {tag: series for tag, series in part.tags.items() if tag.kind != "steps"}
        homes |= dict.fromkeys(own.keys() - tags.keys(), run)
        tags = own | tags
        part_steps += [
            PartSteps(run, id_, columns, part.tags[Tag("steps", id_)])
            for id_, columns in part.steps.items()
        ]
    return Run(
        first,
        name,
        join_layouts(layouts),
        tags,
        hyperparameters,
        main.steps,
        gradient_norms,
        _scalars_of(dict.fromkeys((folder, *parts)), scalars),
        tuple(messages),
        homes,
        tuple(part_steps),
        number,
    )


def _names(contents: _Contents) -> set[str]:
    return {p.name for layout in contents.layouts.values() for p in layout.parameters}


class _Place(NamedTuple):
    """Where a run is: TensorBoard's name of it, taken apart. In the order to show runs in."""

    folder: str
    number: int
    rank: int

    @classmethod
    def of(cls, run: str) -> _Place:
        head, separator, own = run.replace("\\", "/").rpartition("/")
        part = schema.part_of(own)
        if part is None:
            return cls(run, 1, 0)
        # TensorBoard calls the log directory itself ".".
        return cls(run[: len(head)] if separator else ".", *part)


def folder_of(run: str, runs: Container[str]) -> str:
    """Return the folder that a run is about: that above our own, unless that is a run as well."""
    place = _Place.of(run)
    return run if place.number == 1 and place.folder in runs else place.folder


def run_name(run: str, runs: Container[str]) -> str:
    """Return the name to show for a run: its folder; of a second run in it, with a number."""
    folder, number, _ = _Place.of(run)
    if number == 1:
        return folder_of(run, runs)
    name = f"{folder} ({number})"
    own = run[len(folder)] if run.startswith(folder) else "/"
    return run if name in runs or f"{name}{own}{schema.RUN_FOLDER}" in runs else name


def join_layouts(layouts: Mapping[str, Layout]) -> JoinedLayout:
    """Join layouts by parameter name.

    A group is the same as in the newest layout if it has the same place among the groups and the
    same optimizer; otherwise it is one of its own.

    Args:
        layouts: By layout id, the newest first; at least one.
    """
    groups: list[Group] = []
    places: dict[tuple[int, str], int] = {}
    group_rows: dict[str, tuple[int, ...]] = {}
    parameters: dict[str, Parameter] = {}
    for layout_id, layout in layouts.items():
        rows = []
        for index, group in enumerate(layout.groups):
            place = places.setdefault((index, group.optimizer), len(groups))
            if place == len(groups):
                groups.append(group)
            rows.append(place)
        group_rows[layout_id] = tuple(rows)
        for p in layout.parameters:
            parameters.setdefault(p.name, replace(p, group=rows[p.group]))
    by_name: dict[str, Quantity] = {}
    for quantity in (q for layout in layouts.values() for q in layout.quantities):
        by_name.setdefault(quantity.name, quantity)
    return JoinedLayout(
        layouts,
        tuple(parameters.values()),
        tuple(groups),
        group_rows,
        _union(layout.statistics for layout in layouts.values()),
        tuple(by_name.values()),
    )


def _read_contents(series: Mapping[str, TimeSeries]) -> _Contents:
    contents = _Contents()
    newest_first = sorted(series, key=lambda tag: series[tag].max_wall_time, reverse=True)
    for name in newest_first:
        tag = schema.parse_tag(name)
        if tag is None:
            continue
        try:
            _read_content(tag, series[name].plugin_content, contents)
        except FormatError as error:
            contents.messages.append(Message("error", f"{name} cannot be shown: {error}"))
        else:
            contents.tags[tag] = series[name]
    return contents


def _read_content(tag: Tag, content: bytes, contents: _Contents) -> None:
    if tag.kind == "statistics":
        contents.layouts[tag.id] = _read_layout(content)
    elif tag.kind == "hyperparameters":
        contents.hyperparameters[tag.id] = _read_columns(content)
    elif tag.kind == "steps":
        columns = _read_columns(content)
        if columns.names[:1] != ("step",) or "wall_time" not in columns.names:
            raise FormatError("the columns do not start with step, or lack wall_time")
        contents.steps[tag.id] = columns
    elif tag.kind == "gradient_norms":
        columns = _read_columns(content)
        if columns.names[:1] != ("step",):
            raise FormatError("the columns do not start with step")
        contents.gradient_norms[tag.id] = columns


def _scalars_of(runs: Iterable[str], scalars: Mapping[str, Iterable[str]]) -> tuple[Scalar, ...]:
    mirrors = f"{schema.PLUGIN_NAME}/"
    return tuple(
        Scalar(run, tag)
        for run in runs
        for tag in sorted(scalars.get(run, ()))
        if not tag.startswith(mirrors)
    )


def _union(names: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for several in names for name in several))
