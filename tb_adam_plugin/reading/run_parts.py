"""Which neighbouring folders are parts of one run, and which are separate runs.

Processes of distributed training with their own parameters write to neighbouring folders. These are
joined by parameter name.

Callbacks that wrote into one folder at the same time have numbered folders next to each other.
These are separate runs: two models may have parameters with the same name.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tb_adam_plugin import schema
from tb_adam_plugin.reading.joined_layouts import join_layouts
from tb_adam_plugin.reading.left_out import shown_scalars
from tb_adam_plugin.reading.run import Message, PartSteps, Scalar, StoredRun, TimeSeries
from tb_adam_plugin.schema import Columns, Layout, Tag


@dataclass(slots=True)
class Contents:
    """The contents of the tags of one part of a run."""

    tags: dict[Tag, TimeSeries] = field(default_factory=dict)
    layouts: dict[str, Layout] = field(default_factory=dict)
    hyperparameters: dict[str, Columns] = field(default_factory=dict)
    steps: dict[str, Columns] = field(default_factory=dict)
    gradient_norms: dict[str, Columns] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)


class Place(NamedTuple):
    """TensorBoard's name of a run, parsed. Sorts in display order."""

    folder: str
    number: int
    rank: int

    @classmethod
    def of(cls, run: str) -> Place:
        """Parse the name of a run."""
        head, separator, own = run.replace("\\", "/").rpartition("/")
        part = schema.part_of(own)
        if part is None:
            return cls(run, 1, 0)
        # TensorBoard calls the log directory itself ".".
        return cls(run[: len(head)] if separator else ".", *part)


def folder_of(run: str, runs: Container[str]) -> str:
    """Return the folder that a run is about: the parent of ours, unless it is a run as well."""
    place = Place.of(run)
    return run if place.number == 1 and place.folder in runs else place.folder


def runs_beside(folder: str, parts: Iterable[str]) -> tuple[str, ...]:
    """Return the possible run names of the scalars beside a run: its folder's and its parts'."""
    parts = tuple(parts)
    # A folder named by --logdir_spec has that name, but its direct content is "name/.".
    separators = {p[len(folder)] for p in parts if p.startswith(folder) and p != folder}
    roots = [f"{folder}{separator}." for separator in sorted(separators & {"/", "\\"})]
    return tuple(dict.fromkeys((folder, *roots, *parts)))


def run_name(run: str, runs: Container[str]) -> str:
    """Return the display name of a run: its folder; for a second run in it, with a number."""
    folder, number, _ = Place.of(run)
    if number == 1:
        return folder_of(run, runs)
    name = f"{folder} ({number})"
    own = run[len(folder)] if run.startswith(folder) else "/"
    return run if name in runs or f"{name}{own}{schema.RUN_FOLDER}" in runs else name


def join_parts(
    name: str,
    folder: str,
    number: int,
    parts: Mapping[str, Contents],
    scalars: Mapping[str, Iterable[str]],
) -> StoredRun:
    """Make one run of its parts, in order; a part without new data is left out."""
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
    beside, not_listed = shown_scalars(_scalars_of(runs_beside(folder, parts), scalars))
    return StoredRun(
        first,
        name,
        join_layouts(layouts),
        tags,
        hyperparameters,
        main.steps,
        gradient_norms,
        beside,
        (*messages, *not_listed),
        homes,
        tuple(part_steps),
        number,
    )


def _names(contents: Contents) -> set[str]:
    return {p.name for layout in contents.layouts.values() for p in layout.parameters}


def _scalars_of(runs: Iterable[str], scalars: Mapping[str, Iterable[str]]) -> tuple[Scalar, ...]:
    mirrors = f"{schema.PLUGIN_NAME}/"
    return tuple(
        Scalar(run, tag)
        for run in runs
        for tag in sorted(scalars.get(run, ()))
        if not tag.startswith(mirrors)
    )
