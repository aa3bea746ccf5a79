"""Diagnoses of stored runs, cached, and extended when something new is logged."""

from __future__ import annotations

from tb_adam_plugin.diagnosis.diagnose import Diagnosis, diagnose
from tb_adam_plugin.reading.byte_cache import ByteCache
from tb_adam_plugin.reading.record_source import Experiment
from tb_adam_plugin.reading.run_for_rules import recorded_run
from tb_adam_plugin.reading.store import Store
from tb_adam_plugin.serving.free_memory import give_back
from tb_adam_plugin.serving.turns import Turns

# The intermediate results of a run with 723 parameters and 5,000 records take some 30 MB.
_MAX_BYTES = 160 << 20


class FindingsCache:
    """Diagnoses by experiment and run. Thread-safe.

    Attributes:
        turns: At a diagnosis.
    """

    def __init__(self, store: Store) -> None:
        """Create an empty cache for the runs of a store."""
        self._store = store
        self._kept: ByteCache[tuple[object, Diagnosis]] = ByteCache(
            _MAX_BYTES, lambda kept: kept[1].signals.nbytes
        )
        # One diagnosis at a time: it keeps a core busy, and takes memory meanwhile.
        self.turns = Turns()

    def kept(self, experiment: Experiment, run: str) -> Diagnosis | None:
        """Return the diagnosis of a run if it is cached and still current, without waiting.

        Raises:
            tensorboard.errors.NotFoundError: If the run does not exist.
            tb_adam_plugin.reading.record_source.UnreadableError: If the data cannot be read.
        """
        kept = self._kept.get((experiment.id, run))
        is_new = kept is not None and kept[0] == self._store.version(experiment, run)
        return kept[1] if kept is not None and is_new else None

    def get(self, experiment: Experiment, run: str) -> Diagnosis:
        """Return the diagnosis of a run.

        Raises:
            tensorboard.errors.NotFoundError: If the run does not exist.
            tb_adam_plugin.reading.record_source.UnreadableError: If the data cannot be read.
        """
        key = (experiment.id, run)
        version = self._store.version(experiment, run)
        kept = self._kept.get(key)
        if kept is not None and kept[0] == version:
            return kept[1]
        with self.turns.of_request():
            kept = self._kept.get(key)
            if kept is not None and kept[0] == version:
                return kept[1]
            give_back()  # what others have left
            found = diagnose(
                recorded_run(self._store, experiment, run), None if kept is None else kept[1]
            )
            self._kept.put(key, (version, found))
            give_back()
            return found
