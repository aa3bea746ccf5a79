"""Comparisons of stored runs, cached until something new is logged."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tensorboard import errors

from tb_adam_plugin.comparison.compare import Comparison, compare
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun
from tb_adam_plugin.reading.record_source import Experiment, UnreadableError
from tb_adam_plugin.reading.run_for_rules import recorded_run
from tb_adam_plugin.reading.store import Store
from tb_adam_plugin.serving.free_memory import give_back

# A larger table is hard to read, and each run takes as long as its diagnosis.
MOST_RUNS = 50
_KEPT = 8


class Compared(NamedTuple):
    """A comparison, and the runs in it.

    Attributes:
        comparison: Of those that can be read.
        ids: TensorBoard's names of these, by those that are shown.
        left_out: Why others cannot be read, by TensorBoard's name.
    """

    comparison: Comparison
    ids: Mapping[str, str]
    left_out: Mapping[str, str]


class Comparisons:
    """The most recent comparisons. Thread-safe."""

    def __init__(self, store: Store) -> None:
        """Create an empty cache for the runs of a store."""
        self._store = store
        self._kept: OrderedDict[object, tuple[object, Compared]] = OrderedDict()
        self._lock = threading.Lock()  # one at a time: it keeps a core busy

    def get(self, experiment: Experiment, runs: Sequence[str]) -> Compared:
        """Return the comparison of some runs.

        Raises:
            tensorboard.errors.InvalidArgumentError: If there are too few or too many.
            tensorboard.errors.NotFoundError: If a run does not exist.
            tb_adam_plugin.reading.record_source.UnreadableError: If fewer than two can be read.
        """
        if not 2 <= len(runs) <= MOST_RUNS:
            raise errors.InvalidArgumentError(f"expected 2 to {MOST_RUNS} runs, got {len(runs)}")
        key = experiment.id, tuple(runs)
        shown = [self._store.run(experiment, run).name for run in runs]
        ids = dict(zip(shown if len(set(shown)) == len(runs) else runs, runs, strict=True))
        version = [self._store.version(experiment, run) for run in runs]
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or kept[0] != version:
                kept = version, self._compare(experiment, ids)
                give_back()
            if kept[1].left_out:  # it may be read next time
                return kept[1]
            self._kept[key] = kept
            self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return kept[1]

    def _compare(self, experiment: Experiment, ids: Mapping[str, str]) -> Compared:
        """Compare the runs, or those of them that can be read."""
        try:
            read = {name: self._read(experiment, run) for name, run in ids.items()}
            return Compared(compare(read), ids, {})
        except UnreadableError:
            # Statistics are read one by one while they are compared: which run it was is not known.
            left_out = {run: text for run in ids.values() if (text := self._fault(experiment, run))}
            readable = {name: run for name, run in ids.items() if run not in left_out}
            if not left_out or len(readable) < 2:
                raise
        read = {name: self._read(experiment, run) for name, run in readable.items()}
        return Compared(compare(read), readable, left_out)

    def _read(self, experiment: Experiment, run: str) -> RecordedRun:
        return recorded_run(self._store, experiment, run)

    def _fault(self, experiment: Experiment, run: str) -> str:
        """Say why a run cannot be read, or ""."""
        try:
            statistics = self._read(experiment, run).statistics
            for name in statistics:
                statistics[name]
        except UnreadableError as error:
            text: str = error.args[0]  # a sentence, which knows its translations
            return text
        return ""
