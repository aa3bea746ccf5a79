"""Records that answer the tab's questions: the layouts of a run joined into one."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from tensorboard import errors

from tb_adam_plugin import schema
from tb_adam_plugin.reading.comparison import Positioned, compare
from tb_adam_plugin.reading.event_data import EventData, Experiment
from tb_adam_plugin.reading.records import (
    Float64s,
    Series,
    damaged_records,
    decode_block,
    decode_blocks,
    decode_gradient_norms,
    decode_hyperparameters,
    decode_statistics,
    decode_steps,
    merge_steps,
)
from tb_adam_plugin.reading.run_listing import Message, PartSteps, Run, join_layouts
from tb_adam_plugin.reading.sessions import Standing
from tb_adam_plugin.reading.thinning import RATIO, evenly_spread
from tb_adam_plugin.schema import FormatError, Layout, Parameter, Quantity, Tag

_MAX_NAMED = 20
# Seconds by which the clocks of machines that train together may differ.
_CLOCKS_DIFFER = 10.0

Axis = Literal["step", "relative", "wall"]
AXES: tuple[Axis, ...] = ("step", "relative", "wall")


@dataclass(frozen=True, slots=True)
class Runs:
    """What is known without reading a tensor.

    Attributes:
        runs: By name. Their messages include what reading has shown to be damaged so far.
        messages: About runs that cannot be shown.
        revision: Changes whenever one of these runs has new data or messages.
    """

    runs: tuple[Run, ...]
    messages: tuple[Message, ...]
    revision: str


@dataclass(frozen=True, slots=True)
class StatisticRecords:
    """One statistic of all parameters of a run.

    Attributes:
        step: float64 ``[steps]``.
        wall_time: float64 ``[steps]``, seconds since the epoch.
        values: float32 ``[steps, parameters]``; NaN where nothing was logged.
        logged: bool of that shape, or None where everything was logged.
    """

    step: Float64s
    wall_time: Float64s
    values: npt.NDArray[np.float32]
    logged: npt.NDArray[np.bool_] | None


@dataclass(frozen=True, slots=True)
class NamedRecords:
    """Named quantities over time.

    Attributes:
        step: float64 ``[steps]``.
        wall_time: float64 ``[steps]``, seconds since the epoch.
        names: Of the rows of ``values``.
        values: ``[names, steps]`` or, of parameter groups, ``[groups, names, steps]``; NaN where
            nothing was logged.
    """

    step: Float64s
    wall_time: Float64s
    names: tuple[str, ...]
    values: npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class HistogramRecords:
    """Histograms of one parameter.

    Attributes:
        parameter: Which.
        step: float64 ``[steps]``, those that are kept.
        wall_time: float64 ``[steps]``, seconds since the epoch.
        quantities: What was counted.
        counts: int64 ``[steps, quantities, BINS + len(SPECIAL)]``.
        logged_step: float64, every step with histograms, also those that are not among ``step``.
        logged_wall_time: float64 of that shape.
        earlier: How many of them were not asked for, because the asker has them.
    """

    parameter: Parameter
    step: Float64s
    wall_time: Float64s
    quantities: tuple[Quantity, ...]
    counts: schema.Counts
    logged_step: Float64s
    logged_wall_time: Float64s
    earlier: int


class Store:
    """Answers questions about the logged data. Safe to use from several threads.

    Every method raises :class:`.event_data.UnreadableError` if TensorBoard cannot read the data,
    and ``tensorboard.errors.NotFoundError`` if there is no such run or no such thing in it.
    """

    def __init__(self, events: EventData) -> None:
        """Create a store; nothing is read yet."""
        self._events = events

    def runs(self, experiment: Experiment) -> Runs:
        """Return which runs there are and what they hold."""
        listing = self._events.listing(experiment)
        runs = tuple(
            replace(
                run,
                messages=run.messages
                + tuple(
                    note for part in run.parts for note in self._events.notes(experiment, part)
                ),
            )
            for run in (self._standing_run(experiment, listed) for listed in listing.runs)
        )
        state = repr(
            (
                [_state(run) for run in runs],
                [
                    (run, tag, series.max_step, series.max_wall_time)
                    for run, tags in sorted(listing.scalars.items())
                    for tag, series in sorted(tags.items())
                ],
                listing.messages,
            )
        )
        revision = schema.short_hash(state.encode("utf-8", "surrogatepass"))
        return Runs(runs, listing.messages, revision)

    def statistic(self, experiment: Experiment, run: str, statistic: str) -> StatisticRecords:
        """Return one statistic of all parameters of a run."""
        found = self.run(experiment, run)
        layout = found.layout
        _require(statistic, "statistic", run, layout.statistics)
        logs = self._statistics(experiment, found, list(layout.layouts))
        homes = [found.home(Tag("statistics", id_)) for id_ in layout.layouts]
        step, wall_time, placements = merge_steps(logs, homes)
        if len(logs) == 1:
            row = layout.newest.statistics.index(statistic)
            return StatisticRecords(step, wall_time, logs[0].values[row], None)
        names = [p.name for p in layout.parameters]
        values = np.full((step.size, len(names)), np.nan, np.float32)
        logged = np.zeros(values.shape, dtype=bool)
        parts = zip(layout.layouts.values(), logs, placements, strict=True)
        for part, series, (rows, positions) in parts:
            if statistic in part.statistics:
                cells = np.ix_(positions, _rows([p.name for p in part.parameters], names))
                values[cells] = series.values[part.statistics.index(statistic)][rows]
                logged[cells] = True
        return StatisticRecords(step, wall_time, values, None if logged.all() else logged)

    def comparison(
        self,
        experiment: Experiment,
        run: str,
        statistic: str,
        against: str,
        axis: Axis,
        *,
        difference: bool,
    ) -> StatisticRecords:
        """Return how a statistic of a run compares with that of another, at the same point.

        Args:
            experiment: Which.
            run: What is compared.
            statistic: Its name.
            against: The run that it is compared with.
            axis: What "the same point" means: the same step, the same time since the first step,
                or the same wall time.
            difference: Whether to subtract, rather than to divide.
        """
        records = self.statistic(experiment, run, statistic)
        compared, logged = compare(
            self._positioned(experiment, run, records, axis),
            self._positioned(
                experiment, against, self.statistic(experiment, against, statistic), axis
            ),
            difference=difference,
        )
        if statistic == RATIO:
            logged &= ~np.isposinf(records.values)  # the weight was still zero
        return replace(records, values=compared, logged=logged)

    def _positioned(
        self, experiment: Experiment, run: str, records: StatisticRecords, axis: Axis
    ) -> Positioned:
        position = records.step if axis == "step" else records.wall_time
        if axis == "relative":
            started = self.steps(experiment, run).wall_time
            started = started[np.isfinite(started)]
            position = position - (started[0] if started.size else position[:1].sum())
        names = [p.name for p in self.run(experiment, run).layout.parameters]
        # A restarted run may have steps that are out of order in time.
        return Positioned(names, np.maximum.accumulate(position), records.values, records.logged)

    def parameter(self, experiment: Experiment, run: str, parameter: str) -> NamedRecords:
        """Return all statistics of one parameter, float32, at the steps that logged it."""
        found = self.run(experiment, run)
        layout = found.layout
        _require_parameter(parameter, found)
        rows_of = layout.rows_of(parameter)
        logs = self._statistics(experiment, found, list(rows_of))
        step, wall_time, placements = merge_steps(logs)
        values = np.full((len(layout.statistics), step.size), np.nan, np.float32)
        for part, series, (rows, positions) in zip(rows_of, logs, placements, strict=True):
            names = layout.layouts[part].statistics
            cells = np.ix_(_rows(names, layout.statistics), positions)
            values[cells] = series.values[:, rows, rows_of[part]]
        return NamedRecords(step, wall_time, layout.statistics, values)

    def steps(self, experiment: Experiment, run: str) -> NamedRecords:
        """Return the row of every optimizer step of a run, float64."""
        found = self.run(experiment, run)
        names = found.step_columns
        by_part = _steps_by_part(found)
        records = [
            self._steps(tags, self._rows_of(experiment, tags, found.ended).rows, names)
            for tags in by_part.values()
        ]
        return records[0] if len(records) == 1 else _joined_steps(records, names)

    def _rows_of(self, experiment: Experiment, tags: Sequence[PartSteps], ended: float) -> Standing:
        """Read the rows of every step of one part of a run."""
        logs = [
            self._events.tensors(
                experiment,
                tag.run,
                str(Tag("steps", tag.id)),
                tag.series,
                partial(decode_steps, columns=tag.columns),
            )
            for tag in tags
        ]
        return Standing(logs, ended)

    @staticmethod
    def _steps(
        tags: Sequence[PartSteps], logs: Sequence[Series], names: tuple[str, ...]
    ) -> NamedRecords:
        """Return the steps of one part of a run."""
        step, wall_time, placements = merge_steps(logs)
        values = np.full((len(names), step.size), np.nan)
        for tag, series, (rows, positions) in zip(tags, logs, placements, strict=True):
            cells = np.ix_(_rows(tag.columns.names, names), positions)
            values[cells] = series.values[:, rows]
        return NamedRecords(step, wall_time, names, values)

    def gradient_norms(
        self, experiment: Experiment, run: str, parameter: str | None = None
    ) -> StatisticRecords:
        """Return the gradient RMS at the steps around a jump of the gradient norm, recorded or not.

        Args:
            experiment: Which.
            run: Which.
            parameter: The only one to return; None for all.

        Returns:
            Norm / √elements, as the statistic ``gradient_rms``; in its columns the one parameter,
            or all of the run. Not logged where a parameter had no gradient.
        """
        found = self.run(experiment, run)
        parameters = found.layout.parameters
        if parameter is not None:
            parameters = (_require_parameter(parameter, found),)
        logs = []
        for id_, columns in found.gradient_norms.items():
            decode = partial(decode_gradient_norms, columns=columns)
            logs.append(self._read(experiment, found, Tag("gradient_norms", id_), decode))
        homes = [found.home(Tag("gradient_norms", id_)) for id_ in found.gradient_norms]
        step, wall_time, placements = merge_steps(logs, homes)
        names = [p.name for p in parameters]
        norms = np.full((step.size, len(names)), np.nan)
        parts = zip(found.gradient_norms.values(), logs, placements, strict=True)
        for columns, series, (rows, positions) in parts:
            stored = {name: column for column, name in enumerate(columns.names[1:])}
            here = [row for row, name in enumerate(names) if name in stored]
            there = [stored[names[row]] for row in here]
            cells = np.ix_(positions, np.array(here, np.intp))
            norms[cells] = series.values[there][:, rows].T
        every = self.steps(experiment, run)
        at, known = _find(step, every.step)
        wall_time = wall_time.copy()  # kept for the next question as it is
        wall_time[known] = every.wall_time[at[known]]
        # NaN is no gradient, unless the norm of all gradients is not finite either.
        logged = np.isfinite(norms) | np.isinf(norms)
        if "gradient_norm" in every.names:
            everything = every.values[every.names.index("gradient_norm")][at[known]]
            logged[known] |= ~np.isfinite(everything)[:, None] & logged.any(axis=0)
        roots = np.sqrt([max(1, p.elements) for p in parameters])
        with np.errstate(over="ignore"):
            values = (norms / roots).astype(np.float32)
        return StatisticRecords(step, wall_time, values, None if logged.all() else logged)

    def hyperparameters(self, experiment: Experiment, run: str) -> NamedRecords:
        """Return the hyperparameters of all parameter groups of a run, float64."""
        found = self.run(experiment, run)
        groups = found.layout.group_rows
        readable = {id_: c for id_, c in found.hyperparameters.items() if id_ in groups}
        logs = []
        for id_, columns in readable.items():
            decode = partial(decode_hyperparameters, groups=len(groups[id_]), columns=columns)
            logs.append(self._read(experiment, found, Tag("hyperparameters", id_), decode))
        homes = [found.home(Tag("hyperparameters", id_)) for id_ in readable]
        step, wall_time, placements = merge_steps(logs, homes)
        names = tuple(dict.fromkeys(name for c in readable.values() for name in c.names))
        values = np.full((len(found.layout.groups), len(names), step.size), np.nan)
        parts = zip(readable.items(), logs, placements, strict=True)
        for (id_, columns), series, (rows, positions) in parts:
            cells = np.ix_(np.array(groups[id_], np.intp), _rows(columns.names, names), positions)
            values[cells] = series.values[:, rows, :].transpose(2, 0, 1)
        return NamedRecords(step, wall_time, names, values)

    def scalar(self, experiment: Experiment, run: str, tag: str) -> NamedRecords:
        """Return an ordinary scalar series beside our runs, float32 ``[1, points]``."""
        listed = self._events.listing(experiment).scalars
        if run not in listed:
            raise errors.NotFoundError(f"no scalars in a run {_shown(run)}; {_choice(listed)}")
        _require(tag, "scalar", run, listed[run])
        series = self._events.scalars(experiment, run, tag, listed[run][tag])
        return NamedRecords(series.step, series.wall_time, (tag,), series.values)

    def histograms(
        self,
        experiment: Experiment,
        run: str,
        parameter: str,
        quantities: Sequence[str],
        columns: int,
        since: float = -math.inf,
    ) -> HistogramRecords:
        """Return at most ``columns`` histograms of one parameter, evenly spread after ``since``."""
        found = self.run(experiment, run)
        described = _require_parameter(parameter, found)
        by_name = {q.name: q for q in found.layout.quantities}
        for name in quantities:
            _require(name, "quantity", run, by_name)
        wanted = tuple(by_name[name] for name in quantities)
        rows_of = found.layout.rows_of(parameter)
        places = {
            Tag("histograms", id_, block): place
            for id_, row in rows_of.items()
            for block, *place in [found.layout.layouts[id_].block_of(row)]
        }
        tags = [tag for tag in places if tag in found.tags]
        logs = [self._read(experiment, found, tag, decode_blocks) for tag in tags]
        step, wall_time, placements = merge_steps(logs)
        earlier = int(np.searchsorted(step, since, "right"))
        kept = earlier + evenly_spread(step.size - earlier, columns)
        counts: dict[int, schema.Counts] = {}
        for tag, series, (rows, positions) in zip(tags, logs, placements, strict=True):
            chosen = np.isin(positions, kept)
            stored = found.layout.layouts[tag.id].quantities
            place, parameters = places[tag]
            decode = partial(
                decode_block,
                quantities=stored,
                wanted=wanted,
                place=place,
                parameters=parameters,
            )
            decoded, damage = _decode_blocks(series, rows[chosen], decode)
            counts |= {int(positions[chosen][i]): row for i, row in decoded.items()}
            note = [Message("error", f"{tag}: {damage}")] if damage else []
            self._events.note(experiment, run, f"{tag} blocks", *note)
        intact = np.array(sorted(counts), np.intp)
        shape = (0, len(wanted), schema.BINS + len(schema.SPECIAL))
        stacked = np.stack([counts[i] for i in intact]) if counts else np.empty(shape, np.int64)
        return HistogramRecords(
            described,
            step[intact],
            wall_time[intact],
            wanted,
            stacked,
            step,
            wall_time,
            earlier,
        )

    def layouts(self, experiment: Experiment, run: str) -> list[tuple[float, Layout]]:
        """Return the layouts of a run with the first step of each, in the order of their steps."""
        found = self.run(experiment, run)
        ids = list(found.layout.layouts)
        logs = self._statistics(experiment, found, ids)
        starts = [
            (float(series.step[0]), found.layout.layouts[id_])
            for id_, series in zip(ids, logs, strict=True)
            if series.step.size
        ]
        return sorted(starts, key=lambda start: start[0])

    def version(self, experiment: Experiment, run: str) -> object:
        """Return something that is equal as long as nothing of a run has changed."""
        found = self.run(experiment, run)
        beside = self._events.listing(experiment).scalars
        scalars = [
            (scalar, series.max_step, series.max_wall_time)
            for scalar in found.scalars
            if (series := beside.get(scalar.run, {}).get(scalar.tag)) is not None
        ]
        return _state(found), scalars

    def run(self, experiment: Experiment, run: str) -> Run:
        """Return what a run holds."""
        runs = {found.run: found for found in self._events.listing(experiment).runs}
        if run not in runs:
            raise errors.NotFoundError(f"no run {_shown(run)} with our data; {_choice(runs)}")
        return self._standing_run(experiment, runs[run])

    def _standing_run(self, experiment: Experiment, run: Run) -> Run:
        """Leave out the parts and layouts of which a restart has left nothing."""
        return self._without_over_layouts(experiment, self._without_over_parts(experiment, run))

    def _without_over_parts(self, experiment: Experiment, run: Run) -> Run:
        """Leave out the parts of processes that an earlier training had, and this one has not."""
        by_part = _steps_by_part(run)
        if len(by_part) == 1:
            return run
        written = {
            part: np.concatenate(
                [rows.written for rows in self._rows_of(experiment, tags, run.ended).rows]
            )
            for part, tags in by_part.items()
            if tags
        }
        began = np.min(written.pop(run.run, np.empty(0)), initial=np.inf)
        over = {
            part
            for part, times in written.items()
            if np.isfinite(began) and times.size and times.max() + _CLOCKS_DIFFER < began
        }
        if not over:
            return run
        tags = {tag: series for tag, series in run.tags.items() if run.home(tag) not in over}
        kept = {tag.id for tag in tags if tag.kind == "statistics"}
        layouts = {id_: layout for id_, layout in run.layout.layouts.items() if id_ in kept}
        return replace(
            run,
            layout=join_layouts(layouts),
            tags=tags,
            gradient_norms={
                id_: columns
                for id_, columns in run.gradient_norms.items()
                if Tag("gradient_norms", id_) in tags
            },
            homes={tag: home for tag, home in run.homes.items() if home not in over},
            part_steps=tuple(part for part in run.part_steps if part.run not in over),
        )

    def _without_over_layouts(self, experiment: Experiment, run: Run) -> Run:
        """Leave out the layouts of which nothing is left, such as another model's."""
        over: set[str] = set()
        ended = run.ended
        by_part: dict[str, list[str]] = {}
        for id_ in run.layout.layouts:
            by_part.setdefault(run.home(Tag("statistics", id_)), []).append(id_)
        for newest, *older in by_part.values():
            kept = _shapes(run.layout.layouts[newest])
            # Other layouts tell nothing that the newest one does not. Reading takes time.
            for id_ in [i for i in older if not _shapes(run.layout.layouts[i]) <= kept]:
                (stored,) = self._statistics(experiment, run, [id_], everything=True)
                (standing,) = self._statistics(experiment, run, [id_])
                is_another_model = not _shapes(run.layout.layouts[id_]) & kept
                if standing.step.size < stored.step.size and (
                    not standing.step.size or is_another_model
                ):
                    over.add(id_)
                    if is_another_model:
                        ended = max(ended, float(stored.written.max()))
        if not over:
            return run
        layouts = {id_: layout for id_, layout in run.layout.layouts.items() if id_ not in over}
        tags = {tag: series for tag, series in run.tags.items() if tag.id not in over}
        run = replace(run, layout=join_layouts(layouts), tags=tags, ended=ended)
        # Columns, too, that only the other model had.
        own = _steps_by_part(run)[run.run]
        rows = self._rows_of(experiment, own, ended).rows
        steps = {tag.id: tag.columns for tag, left in zip(own, rows, strict=True) if left.step.size}
        last = max((int(left.step[-1]) for left in rows if left.step.size), default=None)
        return replace(run, steps=steps, last_step=last)

    def _statistics(
        self,
        experiment: Experiment,
        run: Run,
        layout_ids: Sequence[str],
        *,
        everything: bool = False,
    ) -> list[Series]:
        logs = []
        for id_ in layout_ids:
            decode = partial(decode_statistics, layout=run.layout.layouts[id_])
            tag = Tag("statistics", id_)
            logs.append(self._read(experiment, run, tag, decode, everything=everything))
        return logs

    def _read(
        self, experiment: Experiment, run: Run, tag: Tag, decode: Any, *, everything: bool = False
    ) -> Series:
        """Read a series: what restarts have left of it, or everything."""
        home = run.home(tag)
        series = self._events.tensors(experiment, home, str(tag), run.tags[tag], decode)
        if everything:
            return series
        steps = _steps_by_part(run).get(home, [])
        return self._rows_of(experiment, steps, run.ended).of(series)


def _steps_by_part(run: Run) -> dict[str, list[PartSteps]]:
    """Return the steps tags of each part of a run, the first part first."""
    own = [
        PartSteps(run.run, id_, columns, run.tags[Tag("steps", id_)])
        for id_, columns in run.steps.items()
    ]
    by_part: dict[str, list[PartSteps]] = {run.run: own}
    for part in run.part_steps:
        by_part.setdefault(part.run, []).append(part)
    return by_part


def _shapes(layout: Layout) -> set[tuple[str, tuple[int, ...]]]:
    return {(p.name, p.shape) for p in layout.parameters}


def _decode_blocks(
    series: Series,
    rows: npt.NDArray[np.intp],
    decode: Callable[[bytes], schema.Counts],
) -> tuple[dict[int, schema.Counts], str]:
    decoded: dict[int, schema.Counts] = {}
    damaged: list[int] = []
    reason = ""
    for i, row in enumerate(rows.tolist()):
        try:
            decoded[i] = decode(series.blocks[row])
        except FormatError as error:
            damaged.append(int(series.step[row]))
            reason = reason or str(error)
    return decoded, damaged_records(damaged, reason)


def _joined_steps(parts: Sequence[NamedRecords], names: tuple[str, ...]) -> NamedRecords:
    """Join the steps of the parts of a run.

    Each has gradients of its own, whose squared norms add up where all parts have the step. Of
    other columns the first part that has one counts.
    """
    step = np.unique(np.concatenate([part.step for part in parts]))
    wall_time = np.full(step.shape, np.nan)
    values = np.full((len(names), step.size), np.nan)
    squares = np.zeros(step.shape)
    seen = np.zeros(step.shape, np.intp)
    norm = names.index("gradient_norm") if "gradient_norm" in names else None
    for part in parts:
        at = np.searchsorted(step, part.step)
        wall_time[at] = np.fmax(wall_time[at], part.wall_time)
        values[:, at] = np.where(np.isnan(values[:, at]), part.values, values[:, at])
        seen[at] += 1
        if norm is not None:
            with np.errstate(over="ignore"):
                squares[at] += part.values[norm] ** 2
    if norm is not None:
        values[norm] = np.where(seen == len(parts), np.sqrt(squares), np.nan)
    return NamedRecords(step, wall_time, names, values)


def _rows(names: Sequence[str], of: Sequence[str]) -> npt.NDArray[np.intp]:
    place = {name: row for row, name in enumerate(of)}
    return np.array([place[name] for name in names], np.intp)


def _find(wanted: Float64s, among: Float64s) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Return where values are in an ascending array, and whether they are there."""
    if not among.size:
        return np.zeros(wanted.size, np.intp), np.zeros(wanted.size, bool)
    at = np.minimum(np.searchsorted(among, wanted), among.size - 1)
    return at, among[at] == wanted


def _state(run: Run) -> tuple[object, ...]:
    tags = sorted(
        [(str(tag), s.max_step, s.max_wall_time) for tag, s in run.tags.items()]
        + [(part.run, part.series.max_step, part.series.max_wall_time) for part in run.part_steps]
    )
    return run.run, tags, run.messages


def _require(name: str, kind: str, run: str, known: Collection[str]) -> None:
    if name not in known:
        raise errors.NotFoundError(f"run {run} has no {kind} {_shown(name)}; {_choice(known)}")


def _require_parameter(name: str, run: Run) -> Parameter:
    by_name = {p.name: p for p in run.layout.parameters}
    _require(name, "parameter", run.run, by_name)
    return by_name[name]


def _choice(known: Collection[str]) -> str:
    if not known:
        return "there is none"
    if len(known) > _MAX_NAMED:
        return f"there are {len(known)}"
    return "there is: " + ", ".join(known)


def _shown(name: str) -> str:
    return repr(name if len(name) <= 100 else name[:100] + "…")
