"""The rows of every step of the parts of runs, cached because every answer needs them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tb_adam_plugin.reading.record_source import Experiment, RecordSource, Stored, version
from tb_adam_plugin.reading.records import decode_steps
from tb_adam_plugin.reading.run import PartSteps
from tb_adam_plugin.reading.series_cache import SeriesCache
from tb_adam_plugin.reading.sessions import Standing
from tb_adam_plugin.schema import Tag

_CACHE_BYTES = 1 << 28


class StepsOfParts:
    """The steps as restarts have left them. Thread-safe."""

    def __init__(self, source: RecordSource) -> None:
        """Start without reading anything."""
        self._source = source
        # A run has thousands of steps tags if a scalar gets a new name at every step.
        self._kept: SeriesCache[Standing] = SeriesCache(_CACHE_BYTES, lambda s: s.nbytes)

    def read(self, experiment: Experiment, tags: Sequence[PartSteps], ended: float) -> Standing:
        """Read the rows of every step of one part of a run.

        Args:
            experiment: The experiment.
            tags: All steps tags of the part.
            ended: See :attr:`.run.StoredRun.ended`.

        Raises:
            tb_adam_plugin.reading.record_source.UnreadableError: If the data cannot be read.
        """

        def load() -> Standing:
            logs = [
                self._source.small(
                    Stored(experiment, tag.run, Tag("steps", tag.id), tag.series),
                    partial(decode_steps, columns=tag.columns),
                )
                for tag in tags
            ]
            return Standing(logs, ended)

        written = tuple((tag.id, version(tag.series)) for tag in tags)
        return self._kept.get((experiment.id, *{tag.run for tag in tags}, ended), written, load)
