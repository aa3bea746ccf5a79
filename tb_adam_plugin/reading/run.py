"""The content of one run, as far as it is known without reading a tensor."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, Protocol

from tb_adam_plugin import schema
from tb_adam_plugin.languages.sentences import Sentence, say
from tb_adam_plugin.reading.joined_layouts import JoinedLayout, join_layouts, union
from tb_adam_plugin.reading.limits import shown_columns
from tb_adam_plugin.schema import Columns, Tag

# Tags of a training loss that is logged beside our run, ignoring case: the first one counts.
LOSS_TAGS = (
    "loss", "train/loss", "loss/train", "train_loss", "loss_train", "training_loss",
    "train/loss_step", "train_loss_step",
)  # fmt: skip


class TimeSeries(Protocol):
    """A tag as listed by TensorBoard's data provider."""

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


def of_run(run: str, text: str) -> Sentence:
    """Prefix a text with its run."""
    return say("Run {run}: {text}", run=run, text=text)


def damage_messages(tag: object, damage: str) -> tuple[Message, ...]:
    """Return a message about the damage of a series, if any.

    Args:
        tag: The series.
        damage: What was left out, in one sentence, or "".
    """
    if not damage:
        return ()
    return (Message("error", say("{tag}: {text}", tag=tag, text=damage)),)


class Scalar(NamedTuple):
    """Name of an ordinary scalar series."""

    run: str
    tag: str


class PartSteps(NamedTuple):
    """The steps of another part of a run.

    Attributes:
        run: TensorBoard's name of the part.
        id: Id of the steps tag.
        columns: Its columns.
        series: Its entry in the listing.
    """

    run: str
    id: str
    columns: Columns
    series: TimeSeries


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One run with our data.

    Attributes:
        run: TensorBoard's name of it.
        name: The name to show: the run folder that a SummaryWriter would use.
        layout: Its joined layouts.
        tags: Our readable series.
        hyperparameters: Columns of each layout's hyperparameters tag, by layout id.
        steps: Columns of each steps tag by its id, the newest first.
        gradient_norms: Columns of each gradient norms tag by its id, the newest first.
        scalars: Ordinary scalar series of the same training.
        messages: What could not be understood.
        homes: TensorBoard's names of the other parts that contain some of :attr:`tags`.
        part_steps: The steps of the other parts.
        number: Index of the callback among those that wrote into one folder at the same time, from
            1.
        ended: Data written up to this time, seconds since the epoch, belong to another model.
        last_step: The last step that does not belong to another model, if known.
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
    def all_step_columns(self) -> tuple[str, ...]:
        """Columns of all steps tags."""
        others = (part.columns.names for part in self.part_steps)
        return union([*(columns.names for columns in self.steps.values()), *others])

    @property
    def step_columns(self) -> tuple[str, ...]:
        """The steps columns that are shown."""
        return shown_columns(self.all_step_columns)

    @property
    def all_hyperparameters(self) -> tuple[str, ...]:
        """Columns of the hyperparameters of all layouts."""
        known = (c.names for id_, c in self.hyperparameters.items() if id_ in self.layout.layouts)
        return union(known)

    @property
    def shown_hyperparameters(self) -> tuple[str, ...]:
        """The hyperparameters that are shown."""
        return shown_columns(self.all_hyperparameters, schema.HYPERPARAMETERS.names)

    @property
    def parts(self) -> tuple[str, ...]:
        """TensorBoard's names of all parts, starting with the first one."""
        return tuple(dict.fromkeys([self.run, *self.homes.values()]))

    def home(self, tag: Tag) -> str:
        """Return TensorBoard's name of the part that a tag is in."""
        return self.homes.get(tag, self.run)

    @property
    def last(self) -> tuple[int, float]:
        """Last step and latest wall time of everything logged.

        A restarted training may not have got as far as the previous one: so the step is that of
        each part's latest data.
        """
        by_part: dict[str, list[TimeSeries]] = {}
        for tag, series in self.tags.items():
            if tag.kind in ("statistics", "steps"):  # the others are only written at times
                by_part.setdefault(self.home(tag), []).append(series)
        for part in self.part_steps:
            by_part.setdefault(part.run, []).append(part.series)
        newest = [max(map(_written_last, of_part)) for of_part in by_part.values()]
        last = max(step for _, step in newest) if self.last_step is None else self.last_step
        return last, max(0.0, *(time for time, _ in newest))

    def steps_by_part(self) -> dict[str, list[PartSteps]]:
        """Return the steps tags of each part, by TensorBoard's name of it, the first part first."""
        own = [
            PartSteps(self.run, id_, columns, self.tags[Tag("steps", id_)])
            for id_, columns in self.steps.items()
        ]
        by_part: dict[str, list[PartSteps]] = {self.run: own}
        for part in self.part_steps:
            by_part.setdefault(part.run, []).append(part)
        return by_part

    def without_parts(self, over: Container[str]) -> StoredRun:
        """Return the run without some of its parts, given by TensorBoard's names."""
        tags = {tag: series for tag, series in self.tags.items() if self.home(tag) not in over}
        kept = {tag.id for tag in tags if tag.kind == "statistics"}
        layouts = {id_: layout for id_, layout in self.layout.layouts.items() if id_ in kept}
        return replace(
            self,
            layout=join_layouts(layouts),
            tags=tags,
            gradient_norms={
                id_: columns
                for id_, columns in self.gradient_norms.items()
                if Tag("gradient_norms", id_) in tags
            },
            homes={tag: home for tag, home in self.homes.items() if home not in over},
            part_steps=tuple(part for part in self.part_steps if part.run not in over),
        )

    def without_layouts(self, over: Container[str], ended: float) -> StoredRun:
        """Return the run without some of its layouts.

        Args:
            over: Their ids.
            ended: See :attr:`ended`.
        """
        layouts = {id_: layout for id_, layout in self.layout.layouts.items() if id_ not in over}
        tags = {tag: series for tag, series in self.tags.items() if tag.id not in over}
        return replace(self, layout=join_layouts(layouts), tags=tags, ended=ended)


def _written_last(series: TimeSeries) -> tuple[float, int]:
    """The time and step of a series' newest record; -inf if unknown."""
    time = series.max_wall_time
    return (time if math.isfinite(time) else -math.inf), series.max_step
