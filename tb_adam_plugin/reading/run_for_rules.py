"""One stored run as the rules of :mod:`tb_adam_plugin.diagnosis` read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from tb_adam_plugin import schema
from tb_adam_plugin.arrays import Float32s, Float64s
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedNorms, RecordedRun
from tb_adam_plugin.diagnosis.rules.registry import STATISTICS_NEEDED
from tb_adam_plugin.languages.sentences import say
from tb_adam_plugin.reading.answers import NamedRecords
from tb_adam_plugin.reading.byte_cache import ByteCache
from tb_adam_plugin.reading.record_source import Experiment, UnreadableError
from tb_adam_plugin.reading.run import LOSS_TAGS, StoredRun
from tb_adam_plugin.reading.store import Store

# A statistic of 5,000 records of 723 parameters takes 14 MB, and rules use several at once.
_KEPT_BYTES = 160 << 20
_AT_ONCE_BYTES = 64 << 20


def recorded_run(store: Store, experiment: Experiment, name: str) -> RecordedRun:
    """Read what the rules need of one run.

    Raises:
        tensorboard.errors.NotFoundError: If there is no such run.
        tb_adam_plugin.reading.record_source.UnreadableError: If TensorBoard cannot read the data.
    """
    run = store.run(experiment, name)
    layout = run.layout
    names = tuple(s for s in STATISTICS_NEEDED if s in layout.statistics)
    statistics = StoredStatistics(store, experiment, name, names)
    step, wall_time = statistics.step, statistics.wall_time
    every_step = _every_step(store, experiment, run)
    return RecordedRun(
        run.name,
        layout.parameters,
        layout.groups,
        step,
        wall_time,
        statistics,
        _at_steps(store.hyperparameters(experiment, name), step),
        every_step,
        layout.newest.unoptimized,
        _gradient_norms(store, experiment, run),
        tuple(store.layouts(experiment, name)),
        _expected_total_steps(every_step),
    )


class StoredStatistics(Mapping[str, Float32s]):
    """The statistics of a run for the rules: each is read on first use.

    Attributes:
        step: Steps of the records, float64 ``[records]``.
        wall_time: Seconds since the epoch, float64 ``[records]``.
    """

    def __init__(
        self, store: Store, experiment: Experiment, run: str, names: tuple[str, ...]
    ) -> None:
        """Look at the steps of the records; nothing else is read yet."""
        self._store = store
        self._experiment = experiment
        self._run = run
        self._names = names
        self._parameters = len(store.run(experiment, run).layout.parameters)
        self._kept: ByteCache[Float32s] = ByteCache(_KEPT_BYTES, lambda kept: int(kept.nbytes))
        self.step, self.wall_time = np.empty(0), np.empty(0)
        if names:
            axis = store.records(experiment, run)
            self.step, self.wall_time = axis.step, axis.wall_time

    def __len__(self) -> int:
        """Number of statistics."""
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._names)

    def __getitem__(self, name: str) -> Float32s:
        """Return a statistic, float32 ``[records, parameters]``.

        Raises:
            KeyError: If there is no statistic with that name.
            tb_adam_plugin.reading.record_source.UnreadableError: If it cannot be read, or a restart
                has rewritten the records.
        """
        kept = self._kept.get(name)
        if kept is not None:
            return kept
        if name not in self._names:
            raise KeyError(name)
        self._read_neighbours(name)
        records = self._store.statistic(self._experiment, self._run, name)
        count = self.step.size
        if not np.array_equal(records.step[:count], self.step):
            raise UnreadableError(
                say("Run {run} was restarted while it was being read.", run=self._run)
            )
        values = records.values[:count]
        self._kept.put(name, values)
        return values

    def _read_neighbours(self, name: str) -> None:
        """Read a statistic together with those that rules request before and after it."""
        column = 4 * self.step.size * self._parameters
        at_once = max(1, _AT_ONCE_BYTES // max(1, column))
        first = self._names.index(name) // at_once * at_once
        together = [n for n in self._names[first : first + at_once] if self._kept.get(n) is None]
        if len(together) > 1:
            self._store.prepare(self._experiment, self._run, together)

    def release(self) -> None:
        """Drop what was read; it is reread when needed."""
        self._kept.clear()


def _expected_total_steps(every_step: Mapping[str, Float64s]) -> int:
    """How many steps the run will take, as last given by the user; 0 if unknown."""
    said = every_step.get("expected_total_steps", np.empty(0))
    said = said[np.isfinite(said) & (said > 0) & (said < 2**53)]
    return int(said[-1]) if said.size else 0


def _at_steps(records: NamedRecords, step: Float64s) -> dict[str, Float64s]:
    """Hyperparameters at the steps of the statistics, float64 ``[records, groups]`` by name."""
    groups = records.values.shape[0]
    place = np.searchsorted(records.step, step).clip(max=max(0, records.step.size - 1))
    known = records.step[place] == step if records.step.size else np.zeros(step.shape, bool)
    aligned = {}
    for row, name in enumerate(records.names):
        values = np.full((step.size, groups), np.nan)
        values[known] = records.values[:, row, :].T[place[known]]
        aligned[name] = values
    return aligned


def _every_step(store: Store, experiment: Experiment, run: StoredRun) -> dict[str, Float64s]:
    if not run.steps:
        return {}
    records = store.steps(experiment, run.run)
    columns = dict(zip(records.names, records.values, strict=True))
    # With several models, it is unknown which one a loss beside them belongs to. A loss that the
    # user calls a surrogate is not a measure either.
    if not {schema.LOSS, schema.SURROGATE_LOSS} & columns.keys() and run.number == 1:
        loss = _loss_beside(store, experiment, run, records.step)
        if loss is not None:
            columns[schema.LOSS] = loss
    return columns


def _loss_beside(
    store: Store, experiment: Experiment, run: StoredRun, step: Float64s
) -> Float64s | None:
    """The loss that was logged as an ordinary scalar, at our steps; NaN between them."""
    by_tag = {scalar.tag.lower(): scalar for scalar in run.scalars}
    for tag in LOSS_TAGS:
        if tag not in by_tag or not step.size:
            continue
        records = store.scalar(experiment, *by_tag[tag])
        common, ours, theirs = np.intersect1d(step, records.step, return_indices=True)
        # A counter of epochs only matches our first steps.
        if common.size and common[-1] >= step[-1] / 2:
            values = np.full(step.shape, np.nan)
            values[ours] = records.values[0][theirs]
            return values
    return None


def _gradient_norms(store: Store, experiment: Experiment, run: StoredRun) -> RecordedNorms | None:
    records = store.gradient_norms(experiment, run.run)
    if not records.step.size:
        return None
    parameters = run.layout.parameters
    roots = np.sqrt([max(1, parameter.elements) for parameter in parameters])
    names = tuple(parameter.name for parameter in parameters)
    return RecordedNorms(records.step, names, records.values.astype(np.float64) * roots)
