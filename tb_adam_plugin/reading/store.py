"""Records that answer the tab's questions, with the layouts of a run joined into one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
from tensorboard import errors

from tb_adam_plugin import schema
from tb_adam_plugin.reading.answers import HistogramRecords, NamedRecords, Runs, StatisticRecords
from tb_adam_plugin.reading.comparison import Positioned, compare
from tb_adam_plugin.reading.gradient_norms import gradient_rms
from tb_adam_plugin.reading.joined_steps import join_steps, steps_of_part
from tb_adam_plugin.reading.left_out import few_messages, messages_of
from tb_adam_plugin.reading.merged_steps import common_rows, merge_steps, rows_of
from tb_adam_plugin.reading.not_found import choice, require, require_parameter
from tb_adam_plugin.reading.record_source import Experiment, Listing, RecordSource, version
from tb_adam_plugin.reading.records import (
    decode_gradient_norms,
    decode_hyperparameters,
)
from tb_adam_plugin.reading.run import StoredRun, damage_messages
from tb_adam_plugin.reading.run_records import RunRecords
from tb_adam_plugin.reading.standing_runs import standing_run
from tb_adam_plugin.reading.standing_series import StandingSeries
from tb_adam_plugin.reading.stored_histograms import places_of, unpack_histograms
from tb_adam_plugin.reading.thinning import RATIO
from tb_adam_plugin.schema import Layout, Tag
from tb_adam_plugin.untrusted_text import quoted

Axis = Literal["step", "relative", "wall"]
AXES: tuple[Axis, ...] = ("step", "relative", "wall")


class Store:
    """Answers questions about the logged data. Thread-safe.

    Every method raises :class:`.record_source.UnreadableError` if the data cannot be read, and
    ``tensorboard.errors.NotFoundError`` if the run, or something in it, does not exist.
    """

    def __init__(self, source: RecordSource) -> None:
        """Create a store; nothing is read yet."""
        self._source = source
        self._series = StandingSeries(source)
        self._runs: dict[str, tuple[Listing, int, Runs]] = {}  # of the last experiment
        self._versions: tuple[Listing, Mapping[str, int]] | None = None
        self._by_name: tuple[Listing | None, Mapping[str, StoredRun]] = None, {}

    def runs(self, experiment: Experiment) -> Runs:
        """Return the runs and their content."""
        listing, noted = self._source.listing(experiment), self._source.noted
        known = self._runs.get(experiment.id)
        if known is not None and known[0] is listing and known[1] == noted:
            return known[2]
        found = self._describe(experiment, listing)
        # Reading the steps may have found damage, too.
        self._runs = {experiment.id: (listing, self._source.noted, found)}
        return found

    def _describe(self, experiment: Experiment, listing: Listing) -> Runs:
        runs = tuple(
            replace(
                run,
                messages=messages_of(
                    run,
                    (note for part in run.parts for note in self._source.notes(experiment, part)),
                ),
            )
            for run in (standing_run(self._series, experiment, listed) for listed in listing.runs)
        )
        messages = few_messages(listing.messages)
        state = repr(
            (
                [_state(run) for run in runs],
                [
                    (run, tag, version(series))
                    for run, tags in sorted(listing.scalars.items())
                    for tag, series in sorted(tags.items())
                ],
                messages,
            )
        )
        revision = schema.short_hash(state.encode("utf-8", "surrogatepass"))
        return Runs(runs, messages, revision)

    def statistic(self, experiment: Experiment, run: str, statistic: str) -> StatisticRecords:
        """Return one statistic of all parameters of a run."""
        found = self.run(experiment, run)
        layout = found.layout
        require(statistic, "statistic", run, layout.statistics)
        logs = self._series.statistics(experiment, found, list(layout.layouts), [statistic])
        homes = [found.home(Tag("statistics", id_)) for id_ in layout.layouts]
        step, wall_time, placements = merge_steps(logs, homes)
        if len(logs) == 1:
            return StatisticRecords(step, wall_time, logs[0].values[0], None)
        names = [p.name for p in layout.parameters]
        values = np.full((step.size, len(names)), np.nan, np.float32)
        logged = np.zeros(values.shape, dtype=bool)
        parts = zip(layout.layouts.values(), logs, placements, strict=True)
        for part, series, (rows, positions) in parts:
            if statistic in part.statistics:
                cells = np.ix_(positions, rows_of([p.name for p in part.parameters], names))
                values[cells] = series.values[0][rows]
                logged[cells] = True
        return StatisticRecords(step, wall_time, values, None if logged.all() else logged)

    def records(self, experiment: Experiment, run: str) -> RunRecords:
        """Return the records of a run, whose statistics are read when they are taken."""
        found = self.run(experiment, run)
        logs = self._series.records(experiment, found)
        homes = [found.home(Tag("statistics", id_)) for id_ in found.layout.layouts]
        return RunRecords(found.layout, logs, homes)

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
            experiment: The experiment.
            run: The run to compare.
            statistic: Its name.
            against: The run to compare it with.
            axis: What "the same point" means: the same step, the same time since the first step, or
                the same wall time.
            difference: Whether to subtract instead of dividing.
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
        # In a restarted run, steps may not ascend in time.
        return Positioned(names, np.maximum.accumulate(position), records.values, records.logged)

    def parameter(self, experiment: Experiment, run: str, parameter: str) -> NamedRecords:
        """Return all statistics of one parameter, float32, at the steps that logged it."""
        found = self.run(experiment, run)
        layout = found.layout
        require_parameter(parameter, found)
        in_layouts = layout.rows_of(parameter)
        logs = self._series.parameter(experiment, found, in_layouts)
        step, wall_time, placements = merge_steps(logs)
        values = np.full((len(layout.statistics), step.size), np.nan, np.float32)
        for part, series, (rows, positions) in zip(in_layouts, logs, placements, strict=True):
            names = layout.layouts[part].statistics
            cells = np.ix_(rows_of(names, layout.statistics), positions)
            values[cells] = series.values[:, rows, 0]
        return NamedRecords(step, wall_time, layout.statistics, values)

    def steps(self, experiment: Experiment, run: str) -> NamedRecords:
        """Return the row of every optimizer step of a run, float64."""
        found = self.run(experiment, run)
        names = found.step_columns
        by_part = found.steps_by_part()
        records = [
            steps_of_part(tags, self._series.rows(experiment, tags, found.ended).rows, names)
            for tags in by_part.values()
        ]
        return records[0] if len(records) == 1 else join_steps(records, names)

    def gradient_norms(
        self, experiment: Experiment, run: str, parameter: str | None = None
    ) -> StatisticRecords:
        """Return the gradient RMS at the steps around a jump of the gradient norm, recorded or not.

        Args:
            experiment: The experiment.
            run: The run.
            parameter: The only parameter to return; None for all.

        Returns:
            Norm / √elements, like the statistic ``gradient_rms``; its columns are the one
            parameter, or all of the run. Not logged where a parameter had no gradient.
        """
        found = self.run(experiment, run)
        parameters = found.layout.parameters
        if parameter is not None:
            parameters = (require_parameter(parameter, found),)
        logs = self._series.small(
            experiment,
            found,
            {
                Tag("gradient_norms", id_): partial(decode_gradient_norms, columns=columns)
                for id_, columns in found.gradient_norms.items()
            },
        )
        homes = [found.home(Tag("gradient_norms", id_)) for id_ in found.gradient_norms]
        every = self.steps(experiment, run)
        return gradient_rms(parameters, list(found.gradient_norms.values()), logs, homes, every)

    def hyperparameters(self, experiment: Experiment, run: str) -> NamedRecords:
        """Return the hyperparameters of all parameter groups of a run, float64."""
        found = self.run(experiment, run)
        groups = found.layout.group_rows
        readable = {id_: c for id_, c in found.hyperparameters.items() if id_ in groups}
        decoders = {
            Tag("hyperparameters", id_): partial(
                decode_hyperparameters, groups=len(groups[id_]), columns=columns
            )
            for id_, columns in readable.items()
        }
        logs = self._series.small(experiment, found, decoders)
        homes = [found.home(Tag("hyperparameters", id_)) for id_ in readable]
        step, wall_time, placements = merge_steps(logs, homes)
        names = found.shown_hyperparameters
        place = {name: row for row, name in enumerate(names)}
        values = np.full((len(found.layout.groups), len(names), step.size), np.nan)
        parts = zip(readable.items(), logs, placements, strict=True)
        for (id_, columns), series, (rows, positions) in parts:
            here, there = common_rows(columns.names, place)
            cells = np.ix_(np.array(groups[id_], np.intp), there, positions)
            values[cells] = series.values[np.ix_(here, rows)].transpose(2, 0, 1)
        return NamedRecords(step, wall_time, names, values)

    def scalar(self, experiment: Experiment, run: str, tag: str) -> NamedRecords:
        """Return an ordinary scalar series beside our runs, float32 ``[1, points]``."""
        listed = self._source.listing(experiment).scalars
        if run not in listed:
            raise errors.NotFoundError(f"no scalars in a run {quoted(run)}; {choice(listed)}")
        require(tag, "scalar", run, listed[run])
        series = self._source.scalars(experiment, run, tag, listed[run][tag])
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
        described = require_parameter(parameter, found)
        by_name = {q.name: q for q in found.layout.quantities}
        for name in quantities:
            require(name, "quantity", run, by_name)
        wanted = tuple(by_name[name] for name in quantities)
        places = places_of(parameter, found)
        logs = self._series.blocks(experiment, found, list(places))
        records, damage = unpack_histograms(described, wanted, places, logs, columns, since)
        for tag, damaged in damage.items():
            note = damage_messages(tag, damaged)
            self._source.note(experiment, run, f"{tag} blocks", *note)
        return records

    def layouts(self, experiment: Experiment, run: str) -> list[tuple[float, Layout]]:
        """Return a run's layouts, each with its first step, ordered by it."""
        found = self.run(experiment, run)
        ids = list(found.layout.layouts)
        logs = self._series.statistics(experiment, found, ids, [])
        starts = [
            (float(series.step[0]), found.layout.layouts[id_])
            for id_, series in zip(ids, logs, strict=True)
            if series.step.size
        ]
        return sorted(starts, key=lambda start: start[0])

    def version(self, experiment: Experiment, run: str) -> object:
        """Return a value that stays equal until something of a run changes."""
        found = self.run(experiment, run)
        return _version_of(found, self._source.listing(experiment))

    def versions(self, experiment: Experiment) -> Mapping[str, int]:
        """Return a number for each run that changes whenever :meth:`version` does."""
        listing = self._source.listing(experiment)
        if self._versions is None or self._versions[0] is not listing:
            runs = (standing_run(self._series, experiment, run) for run in listing.runs)
            found = {run.run: hash(repr(_version_of(run, listing))) for run in runs}
            self._versions = listing, found
        return self._versions[1]

    def _named(self, listing: Listing) -> Mapping[str, StoredRun]:
        """The runs of a listing by name, cached because there may be thousands."""
        named = self._by_name
        if named[0] is not listing:
            self._by_name = named = listing, {found.run: found for found in listing.runs}
        return named[1]

    def run(self, experiment: Experiment, run: str) -> StoredRun:
        """Return the content of a run."""
        runs = self._named(self._source.listing(experiment))
        if run not in runs:
            raise errors.NotFoundError(f"no run {quoted(run)} with Adam Debug data; {choice(runs)}")
        return standing_run(self._series, experiment, runs[run])


def _version_of(run: StoredRun, listing: Listing) -> object:
    scalars = [
        (scalar, version(series))
        for scalar in run.scalars
        if (series := listing.scalars.get(scalar.run, {}).get(scalar.tag)) is not None
    ]
    return _state(run), scalars


def _state(run: StoredRun) -> tuple[object, ...]:
    tags = sorted(
        [(str(tag), version(s)) for tag, s in run.tags.items()]
        + [(part.run, version(part.series)) for part in run.part_steps]
    )
    return run.run, tags, run.messages
