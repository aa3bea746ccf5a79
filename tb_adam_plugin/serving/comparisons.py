"""Comparisons of stored runs, cached until something new is logged."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from tensorboard import errors

from tb_adam_plugin.comparison.compare import Comparison, compare
from tb_adam_plugin.reading.record_source import Experiment
from tb_adam_plugin.reading.run_for_rules import recorded_run
from tb_adam_plugin.reading.store import Store
from tb_adam_plugin.serving.free_memory import give_back

# A larger table is hard to read, and each run takes as long as its diagnosis.
MOST_RUNS = 50
_KEPT = 8


class Comparisons:
    """The most recent comparisons. Thread-safe."""

    def __init__(self, store: Store) -> None:
        """Create an empty cache for the runs of a store."""
        self._store = store
        self._kept: OrderedDict[object, tuple[object, Comparison]] = OrderedDict()
        self._lock = threading.Lock()  # one at a time: it keeps a core busy

    def get(
        self, experiment: Experiment, runs: Sequence[str]
    ) -> tuple[Comparison, Mapping[str, str]]:
        """Return the comparison of some runs, and TensorBoard's names by their display names.

        Raises:
            tensorboard.errors.InvalidArgumentError: If there are too few or too many.
            tensorboard.errors.NotFoundError: If a run does not exist.
            tb_adam_plugin.reading.record_source.UnreadableError: If the data cannot be read.
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
                recorded = (recorded_run(self._store, experiment, run) for run in runs)
                kept = version, compare(dict(zip(ids, recorded, strict=True)))
                give_back()
            self._kept[key] = kept
            self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return kept[1], ids
