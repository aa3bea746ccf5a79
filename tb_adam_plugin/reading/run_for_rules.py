"""One stored run as the rules of :mod:`tb_adam_plugin.diagnosis` read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tb_adam_plugin import schema
from tb_adam_plugin.arrays import Float32s, Float64s
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedNorms, RecordedRun
from tb_adam_plugin.diagnosis.engine.statistic import StatisticsByRecord
from tb_adam_plugin.diagnosis.rules.registry import STATISTICS_NEEDED
from tb_adam_plugin.reading.answers import NamedRecords
from tb_adam_plugin.reading.byte_cache import ByteCache
from tb_adam_plugin.reading.record_source import Experiment
from tb_adam_plugin.reading.run import LOSS_TAGS, StoredRun
from tb_adam_plugin.reading.run_records import RunRecords
from tb_adam_plugin.reading.store import Store

# Of 723 parameters a record takes 64 kB, and a statistic of 5,000 records 14 MB.
_BLOCK_BYTES = 32 << 20
_SINGLE_BYTES = 24 << 20
_WHOLE_BYTES = 32 << 20


def recorded_run(
    store: Store,
    experiment: Experiment,
    name: str,
    make_way: Callable[[], None] | None = None,
) -> RecordedRun:
    """Read what the rules need of one run.

    Args:
        store: Of the run.
        experiment: Of the run.
        name: Of the run.
        make_way: Called before statistics are read, which happens when rules look at them.

    Raises:
        tensorboard.errors.NotFoundError: If there is no such run.
        tb_adam_plugin.reading.record_source.UnreadableError: If TensorBoard cannot read the data.
    """
    run = store.run(experiment, name)
    layout = run.layout
    names = tuple(s for s in STATISTICS_NEEDED if s in layout.statistics)
    statistics = StoredStatistics(store, experiment, name, names, make_way)
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


class StoredStatistics(StatisticsByRecord):
    """The statistics of a run as rules ask for them: records are read when they are looked at.

    They are read as a block: neighbouring records with all statistics. A block, some single
    records and the last few statistics that were read as a whole are kept.

    Attributes:
        step: Steps of the records, float64 ``[records]``.
        wall_time: Seconds since the epoch, float64 ``[records]``.
    """

    def __init__(
        self,
        store: Store,
        experiment: Experiment,
        run: str,
        names: tuple[str, ...],
        make_way: Callable[[], None] | None = None,
    ) -> None:
        """Look at the steps of the records; nothing else is read yet.

        Args:
            store: Of the run.
            experiment: Of the run.
            run: Its name.
            names: Of the statistics.
            make_way: Called before anything is read.
        """
        self._names = names
        self._place = {name: i for i, name in enumerate(names)}
        self._make_way = make_way or _go_on
        self._records: RunRecords | None = None
        self.step, self.wall_time = np.empty(0), np.empty(0)
        if names:
            self._records = store.records(experiment, run)
            self.step, self.wall_time = self._records.step, self._records.wall_time
        width = len(names) * len(store.run(experiment, run).layout.parameters)
        self._at_once = max(1, _BLOCK_BYTES // max(1, 4 * width))
        self._block = _NOTHING
        self._single: ByteCache[Float32s] = ByteCache(_SINGLE_BYTES, _nbytes)
        self._whole: ByteCache[Float32s] = ByteCache(_WHOLE_BYTES, _nbytes)

    def __len__(self) -> int:
        """Number of statistics."""
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        """Whether there is one of a name, without reading it."""
        return name in self._place

    def __getitem__(self, name: str) -> Float32s:
        """Return a statistic, float32 ``[records, parameters]``.

        Raises:
            KeyError: If there is none of that name.
            tb_adam_plugin.reading.record_source.UnreadableError: If it cannot be read.
        """
        return self.records(name, 0, self.step.size)

    @property
    def at_once(self) -> int:
        """How many neighbouring records are read together."""
        return self._at_once

    def records(self, name: str, start: int, stop: int) -> Float32s:
        """Return some records of a statistic, float32 ``[stop - start, parameters]``.

        Raises:
            KeyError: If there is none of that name.
            tb_adam_plugin.reading.record_source.UnreadableError: If they cannot be read.
        """
        place = self._place[name]
        found = self._block.of(place, start, stop)
        if found is not None:
            return found
        if stop - start == 1:
            return self._one(start, place)
        whole = self._whole.get(name)
        # A change looks at the record before.
        if whole is None and stop - start > self._at_once + 1:
            whole = self._read((name,), 0, self.step.size)[0]
            self._whole.put(name, whole)
        if whole is not None:
            return whole[start:stop]
        first = max(0, start - 1)
        self._block = _NOTHING  # before the next one is read: each is large
        self._block = _Block(first, self._read(self._names, first, stop))
        found = self._block.of(place, start, stop)
        assert found is not None
        return found

    def _one(self, record: int, place: int) -> Float32s:
        """Return a statistic of a single record, ``[1, parameters]``."""
        found = self._single.get(record)
        if found is None:
            found = self._read(self._names, record, record + 1)
            self._single.put(record, found)
        one: Float32s = found[place]
        return one

    def _read(self, names: Sequence[str], start: int, stop: int) -> Float32s:
        assert self._records is not None
        self._make_way()
        return self._records.read(names, start, stop)

    def release(self) -> None:
        """Let go of what was read; what is looked at again is read again."""
        self._block = _NOTHING
        self._single.clear()
        self._whole.clear()


class _Block(NamedTuple):
    """Neighbouring records.

    Attributes:
        start: The first one.
        values: float32 ``[statistics, records, parameters]``.
    """

    start: int
    values: Float32s

    def of(self, place: int, start: int, stop: int) -> Float32s | None:
        """Return some records of a statistic; None if they are not all in it."""
        if start < self.start or stop > self.start + self.values.shape[1] or self is _NOTHING:
            return None
        found: Float32s = self.values[place, start - self.start : stop - self.start]
        return found


_NOTHING = _Block(0, np.empty((0, 0, 0), np.float32))


def _nbytes(values: Float32s) -> int:
    return int(values.nbytes)


def _go_on() -> None:
    """Make way for nobody."""


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
