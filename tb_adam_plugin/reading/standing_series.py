"""Series of a run, without the records that a restart has superseded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from tb_adam_plugin.reading.record_source import Experiment, RecordSource, Stored
from tb_adam_plugin.reading.records import Series
from tb_adam_plugin.reading.run import PartSteps, StoredRun
from tb_adam_plugin.reading.sessions import Standing
from tb_adam_plugin.reading.steps_of_parts import StepsOfParts
from tb_adam_plugin.schema import Tag


class StandingSeries:
    """Series as restarts have left them. Thread-safe."""

    def __init__(self, source: RecordSource) -> None:
        """Start without reading anything."""
        self._source = source
        self._steps = StepsOfParts(source)

    def rows(self, experiment: Experiment, tags: Sequence[PartSteps], ended: float) -> Standing:
        """Return the rows of every step of one part of a run."""
        return self._steps.read(experiment, tags, ended)

    def statistics(
        self,
        experiment: Experiment,
        run: StoredRun,
        layout_ids: Sequence[str],
        names: Sequence[str],
        *,
        everything: bool = False,
    ) -> list[Series]:
        """Return some statistics of layouts.

        Args:
            experiment: The experiment.
            run: The run.
            layout_ids: Ids of the layouts.
            names: Names of the statistics; of each layout, those that it has.
            everything: Whether to include superseded records.
        """
        left = _Left(self._steps, experiment, run)
        logs = []
        for id_ in layout_ids:
            layout, tag = run.layout.layouts[id_], Tag("statistics", id_)
            had = [name for name in names if name in layout.statistics]
            series = self._source.statistics(stored_in(experiment, run, tag), layout, had)
            logs.append(series if everything else left.of(tag, series))
        return logs

    def records(self, experiment: Experiment, run: StoredRun) -> list[Series]:
        """Return the records of the statistics of each layout, with ``rows`` to take."""
        left = _Left(self._steps, experiment, run)
        tags = {Tag("statistics", id_): layout for id_, layout in run.layout.layouts.items()}
        return [
            left.of(tag, self._source.records(stored_in(experiment, run, tag), layout))
            for tag, layout in tags.items()
        ]

    def parameter(
        self, experiment: Experiment, run: StoredRun, rows: Mapping[str, int]
    ) -> list[Series]:
        """Return all statistics of one parameter, which is a row in each of some layouts."""
        left = _Left(self._steps, experiment, run)
        logs = []
        for id_, row in rows.items():
            tag = Tag("statistics", id_)
            stored = stored_in(experiment, run, tag)
            series = self._source.parameter(stored, run.layout.layouts[id_], row)
            logs.append(left.of(tag, series))
        return logs

    def small(
        self, experiment: Experiment, run: StoredRun, decoders: Mapping[Tag, Any]
    ) -> list[Series]:
        """Return small series, using their decoders."""
        left = _Left(self._steps, experiment, run)
        return [
            left.of(tag, self._source.small(stored_in(experiment, run, tag), decode))
            for tag, decode in decoders.items()
        ]

    def blocks(
        self, experiment: Experiment, run: StoredRun, tags: Sequence[Tag]
    ) -> dict[Tag, Series]:
        """Return histograms, still packed."""
        left = _Left(self._steps, experiment, run)
        return {
            tag: left.of(tag, self._source.blocks(stored_in(experiment, run, tag))) for tag in tags
        }


def stored_in(experiment: Experiment, run: StoredRun, tag: Tag) -> Stored:
    """Return the identity of a series of a run."""
    return Stored(experiment, run.home(tag), tag, run.tags[tag])


class _Left:
    """Leaves out superseded records of a run; reads the rows of its steps only once."""

    def __init__(self, steps: StepsOfParts, experiment: Experiment, run: StoredRun) -> None:
        by_part = run.steps_by_part()
        self._run = run
        self._standing = cache(lambda of: steps.read(experiment, by_part.get(of, []), run.ended))

    def of(self, tag: Tag, series: Series) -> Series:
        left: Series = self._standing(self._run.home(tag)).of(series)
        return left
