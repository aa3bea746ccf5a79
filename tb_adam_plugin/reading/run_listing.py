"""Lists the runs and their content, from TensorBoard's list of series. Reads no tensor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from tb_adam_plugin import schema
from tb_adam_plugin.languages.sentences import say
from tb_adam_plugin.reading.left_out import layouts_messages
from tb_adam_plugin.reading.limits import layouts_to_leave_out
from tb_adam_plugin.reading.run import Message, StoredRun, TimeSeries, of_run
from tb_adam_plugin.reading.run_parts import (
    Contents,
    Place,
    folder_of,
    join_parts,
    run_name,
    runs_beside,
)
from tb_adam_plugin.schema import Columns, FormatError, Layout, NewerVersionError, Tag

# Decoding a layout of thousands of parameters takes milliseconds, and polling would repeat it.
_read_layout = lru_cache(maxsize=256)(Layout.from_content)
_read_columns = lru_cache(maxsize=256)(Columns.from_content)

# Kinds of tags whose id is that of a layout.
_KINDS_OF_LAYOUTS = ("statistics", "hyperparameters", "histograms")


class RunListing:
    """Describes runs, each one again only when it changes. Not thread-safe."""

    def __init__(self) -> None:
        """Start empty."""
        self._contents: dict[str, tuple[Mapping[str, TimeSeries], Contents]] = {}
        self._runs: dict[tuple[str, int], tuple[_Described, StoredRun]] = {}

    def describe(
        self,
        tensors: Mapping[str, Mapping[str, TimeSeries]],
        scalars: Mapping[str, Iterable[str]],
    ) -> tuple[list[StoredRun], list[Message]]:
        """Read the content of the runs.

        Args:
            tensors: Our series by run and tag. For an unchanged run this may be the same object as
                before, which saves rereading it.
            scalars: Tags of the ordinary scalar series by run.

        Returns:
            The runs with a layout we can read, by name; and messages about the others.
        """
        by_place: dict[tuple[str, int], dict[str, Contents]] = {}
        messages: list[Message] = []
        known, self._contents = self._contents, {}
        for run in sorted(tensors, key=Place.of):
            before = known.get(run)
            is_same = before is not None and before[0] is tensors[run]
            contents = before[1] if before and is_same else _read_contents(tensors[run])
            self._contents[run] = tensors[run], contents
            if not contents.layouts:
                messages += [Message(m.severity, of_run(run, m.text)) for m in contents.messages]
                continue
            place = Place.of(run)
            by_place.setdefault((folder_of(run, tensors), place.number), {})[run] = contents
        self._runs = {
            place: self._join(place, parts, run_name(next(iter(parts)), tensors), scalars)
            for place, parts in by_place.items()
        }
        return sorted((run for _, run in self._runs.values()), key=lambda run: run.run), messages

    def _join(
        self,
        place: tuple[str, int],
        parts: Mapping[str, Contents],
        name: str,
        scalars: Mapping[str, Iterable[str]],
    ) -> tuple[_Described, StoredRun]:
        beside = tuple(tuple(scalars.get(run, ())) for run in runs_beside(place[0], parts))
        described = _Described(name, tuple(parts.values()), beside)
        known = self._runs.get(place)
        if known is not None and known[0].is_same(described):
            return known
        return described, join_parts(name, *place, parts, scalars)


class _Described(NamedTuple):
    """What the description of a run is based on."""

    name: str
    parts: tuple[Contents, ...]
    scalars: tuple[tuple[str, ...], ...]

    def is_same(self, other: _Described) -> bool:
        return (
            (self.name, self.scalars) == (other.name, other.scalars)
            and len(self.parts) == len(other.parts)
            and all(a is b for a, b in zip(self.parts, other.parts, strict=True))
        )


def _read_contents(series: Mapping[str, TimeSeries]) -> Contents:
    contents = Contents()
    newest_first = sorted(series, key=lambda tag: series[tag].max_wall_time, reverse=True)
    tags = {name: tag for name in newest_first if (tag := schema.parse_tag(name)) is not None}
    over = _tags_to_leave_out(series, tags, contents)
    for name, tag in tags.items():
        if tag in over:
            continue
        try:
            _read_content(tag, series[name].plugin_content, contents)
        except NewerVersionError as error:
            text = say(
                "{tag} cannot be shown: it was written by format version {version}, but this "
                "reader knows only versions up to {known}; update tb-adam-plugin.",
                tag=name,
                version=error.version,
                known=schema.VERSION,
            )
            contents.messages.append(Message("error", text))
        except FormatError as error:
            text = say("{tag} cannot be shown: {reason}", tag=name, reason=str(error))
            contents.messages.append(Message("error", text))
        else:
            contents.tags[tag] = series[name]
    return contents


def _tags_to_leave_out(
    series: Mapping[str, TimeSeries], newest_first: Mapping[str, Tag], contents: Contents
) -> set[Tag]:
    """Return the tags of excess layouts, and of excess sets of parameters."""

    def read(id_: str) -> Layout | None:
        try:
            return _read_layout(series[str(Tag("statistics", id_))].plugin_content)
        except FormatError:
            return None

    tags = newest_first.values()
    layouts = [tag.id for tag in tags if tag.kind == "statistics"]
    over = layouts_to_leave_out(layouts, read)
    contents.messages += layouts_messages(len(layouts), len(over))
    older_norms = [tag for tag in tags if tag.kind == "gradient_norms"][schema.MOST_LAYOUTS :]
    return {tag for tag in tags if tag.id in over and tag.kind in _KINDS_OF_LAYOUTS}.union(
        older_norms
    )


def _read_content(tag: Tag, content: bytes, contents: Contents) -> None:
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
