"""Folders beside one another that are parts of one run, or runs of their own.

Processes of distributed training that have parameters of their own write into folders beside one
another. These are joined by parameter name.

Callbacks that wrote into one folder at the same time have numbered folders beside one another.
These are runs of their own: two models may have parameters of one name.
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
    """Where a run is: TensorBoard's name of it, taken apart. In the order to show runs in."""

    folder: str
    number: int
    rank: int

    @classmethod
    def of(cls, run: str) -> Place:
        """Take the name of a run apart."""
        head, separator, own = run.replace("\\", "/").rpartition("/")
        part = schema.part_of(own)
        if part is None:
            return cls(run, 1, 0)
        # TensorBoard calls the log directory itself ".".
        return cls(run[: len(head)] if separator else ".", *part)


def folder_of(run: str, runs: Container[str]) -> str:
    """Return the folder that a run is about: that above our own, unless that is a run as well."""
    place = Place.of(run)
    return run if place.number == 1 and place.folder in runs else place.folder


def runs_beside(folder: str, parts: Iterable[str]) -> tuple[str, ...]:
    """Return what TensorBoard may call the scalars beside a run: its folder's, and its parts'."""
    parts = tuple(parts)
    # A folder that --logdir_spec names is called so, but what lies in it directly is "name/.".
    separators = {p[len(folder)] for p in parts if p.startswith(folder) and p != folder}
    roots = [f"{folder}{separator}." for separator in sorted(separators & {"/", "\\"})]
    return tuple(dict.fromkeys((folder, *roots, *parts)))


def run_name(run: str, runs: Container[str]) -> str:
    """Return the name to show for a run: its folder; of a second run in it, with a number."""
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
