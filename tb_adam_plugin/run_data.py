"""Recorded runs for notebooks, scripts and continuous integration.

::

    from tb_adam_plugin.run_data import load_runs

    for run in load_runs("runs"):
        ratio = run.statistic("update_to_weight_ratio")  # [records, parameters]
        for finding in run.findings():
            print(run.name, finding.severity, finding.title, finding.advice)
"""

from __future__ import annotations

import os
import warnings
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tb_adam_plugin import schema
from tb_adam_plugin.diagnosis.diagnose import Diagnosis, diagnose
from tb_adam_plugin.diagnosis.rule import Finding
from tb_adam_plugin.event_files.log_roots import LogRoots
from tb_adam_plugin.languages.sentences import joined, say
from tb_adam_plugin.reading.answers import HistogramRecords, NamedRecords
from tb_adam_plugin.reading.file_scalars import FileScalars
from tb_adam_plugin.reading.file_source import FileSource
from tb_adam_plugin.reading.record_source import Experiment
from tb_adam_plugin.reading.run import StoredRun
from tb_adam_plugin.reading.run_for_rules import recorded_run
from tb_adam_plugin.reading.store import Store
from tb_adam_plugin.schema import Parameter

_ALL = Experiment(None, "")


class Run:
    """One recorded run."""

    def __init__(self, store: Store, listed: StoredRun) -> None:
        """Look at a run; its statistics are decoded when they are asked for."""
        self._store = store
        self._listed = listed

    @property
    def name(self) -> str:
        """The run's folder below the log folder."""
        return self._listed.name

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The recorded parameters, in the order of the columns of :meth:`statistic`."""
        return self._listed.layout.parameters

    @property
    def statistics(self) -> tuple[str, ...]:
        """Names of the recorded statistics."""
        return self._listed.layout.statistics

    @cached_property
    def steps(self) -> npt.NDArray[np.int64]:
        """The steps with statistics, int64 ``[records]``, ascending."""
        first = self.statistics[:1]
        if not first:
            return np.empty(0, np.int64)
        return self._store.statistic(_ALL, self._listed.run, first[0]).step.astype(np.int64)

    def statistic(self, name: str) -> npt.NDArray[np.float32]:
        """A statistic, float32 ``[records, parameters]``; NaN where nothing was recorded.

        Raises:
            KeyError: If the run has no such statistic.
        """
        if name not in self.statistics:
            raise KeyError(f"no statistic {name!r}; there is {', '.join(self.statistics)}")
        return self._store.statistic(_ALL, self._listed.run, name).values

    def histograms(self, quantity: str, parameter: str) -> HistogramRecords:
        """All histograms of a quantity of one parameter, by step.

        ``.counts[:, 0, :schema.BINS]`` are the bins, between
        ``schema.bin_edges(.quantities[0])``.

        Raises:
            KeyError: If the run has no such quantity or parameter.
        """
        if quantity not in [q.name for q in self._listed.layout.quantities]:
            raise KeyError(f"no quantity {quantity!r}")
        if parameter not in [p.name for p in self.parameters]:
            raise KeyError(f"no parameter {parameter!r}")
        return self._store.histograms(_ALL, self._listed.run, parameter, [quantity], _EVERY_ONE)

    def every_step(self) -> NamedRecords:
        """One row of scalars for every optimizer step: loss, gradient norm, lr and others.

        ``run.every_step()["loss"]`` is one of them, float64 ``[steps]``; ``.names`` says which
        there are, and ``.step`` at which steps.
        """
        return self._store.steps(_ALL, self._listed.run)

    def findings(self) -> tuple[Finding, ...]:
        """What the rules find in the run, root causes before their consequences.

        They are in English; ``finding.in_language("zh")`` says one in Chinese.
        """
        return self.diagnosis.findings

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """The findings, and the rules that could not be evaluated with the reason."""
        return diagnose(recorded_run(self._store, _ALL, self._listed.run))


_EVERY_ONE = 1 << 30


def load_runs(logdir: str | os.PathLike[str]) -> list[Run]:
    """Read the runs below a local log folder, by name.

    Of a run that cannot be read beside others there is a UserWarning.

    Args:
        logdir: As TensorBoard takes it.

    Raises:
        OSError: If the folder, or an event file in it, cannot be read.
        tb_adam_plugin.schema.FormatError: If there are runs of ours, and none can be read.
    """
    folder = os.path.expanduser(logdir)
    if not os.path.isdir(folder):
        raise NotADirectoryError(say("{folder} is not a folder", folder=os.fspath(logdir)))
    os.listdir(folder)  # which says why it cannot be read
    roots = LogRoots.of_folder(folder)
    store = Store(FileSource(roots, FileScalars(roots), strict=True))
    found = store.runs(_ALL)
    if not found.runs and found.messages:
        raise schema.FormatError(joined(message.text for message in found.messages))
    for message in found.messages:
        warnings.warn(message.text, stacklevel=2)
    return sorted((Run(store, run) for run in found.runs), key=lambda run: run.name)
