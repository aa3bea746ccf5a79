"""Recorded runs for notebooks, scripts and continuous integration.

::

    from tb_adam_plugin.run_data import load_runs

    for run in load_runs("runs"):
        ratio = run.statistic("update_to_weight_ratio")  # [records, parameters]
        for finding in run.findings():
            print(run.name, finding.severity, finding.title, finding.advice)

As the last expression of a notebook cell, a run shows its loss, its heat map and its findings;
``run.to_pandas()`` and ``run.plot()`` pass its numbers to pandas and matplotlib.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tb_adam_plugin import schema
from tb_adam_plugin.diagnosis.diagnose import Diagnosis, diagnose
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun
from tb_adam_plugin.diagnosis.rule import Finding
from tb_adam_plugin.event_files.log_roots import LogRoots
from tb_adam_plugin.languages.catalogues import known_language
from tb_adam_plugin.languages.sentences import joined, say
from tb_adam_plugin.notebook.show import page_of, picture_of
from tb_adam_plugin.notebook.tables import frame, plot_statistic
from tb_adam_plugin.reading.answers import HistogramRecords, NamedRecords
from tb_adam_plugin.reading.file_scalars import FileScalars
from tb_adam_plugin.reading.file_source import FileSource
from tb_adam_plugin.reading.record_source import Experiment
from tb_adam_plugin.reading.run import Message, StoredRun
from tb_adam_plugin.reading.run_for_rules import recorded_run
from tb_adam_plugin.reading.store import Store
from tb_adam_plugin.schema import Parameter

_ALL = Experiment(None, "")


class Run:
    """One recorded run."""

    def __init__(self, store: Store, listed: StoredRun) -> None:
        """Open a run; statistics are decoded on first use."""
        self._store = store
        self._listed = listed

    @property
    def name(self) -> str:
        """The run's folder, relative to the log folder."""
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
            raise KeyError(f"no statistic {name!r}; available: {', '.join(self.statistics)}")
        return self._store.statistic(_ALL, self._listed.run, name).values

    def histograms(self, quantity: str, parameter: str) -> HistogramRecords:
        """All histograms of one quantity of a parameter, by step.

        ``.counts[:, 0, :schema.BINS]`` are the bins; their edges are
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

        ``run.every_step()["loss"]`` is one column, float64 ``[steps]``; ``.names`` lists the
        columns and ``.step`` the steps.
        """
        return self._store.steps(_ALL, self._listed.run)

    @property
    def messages(self) -> tuple[Message, ...]:
        """Parts of the run that cannot be read or are left out, among those read so far."""
        runs = {run.run: run for run in self._store.runs(_ALL).runs}
        return runs[self._listed.run].messages

    def to_pandas(self, statistic: str | None = None) -> Any:
        """Return a ``pandas.DataFrame`` by step: a statistic with a column for each parameter.

        Args:
            statistic: Name of the statistic; by default the scalars of every step, such as loss and
                lr.

        Raises:
            KeyError: If the run has no such statistic.
            ImportError: If pandas is not installed.
        """
        if statistic is None:
            rows = self.every_step()
            return frame({name: rows[name] for name in rows.names if name != "step"}, rows.step)
        names = [parameter.name for parameter in self.parameters]
        return frame(self.statistic(statistic), self.steps, names)

    def plot(
        self,
        statistic: str = "update_to_weight_ratio",
        parameters: Sequence[str] | None = None,
        ax: Any = None,
    ) -> Any:
        """Plot a statistic over the steps with matplotlib, one line per parameter.

        Args:
            statistic: Name of the statistic.
            parameters: Names of the parameters; by default the matrices, as the rules define them.
            ax: The axes to draw into; new ones by default.

        Returns:
            The axes.

        Raises:
            KeyError: If the run has no such statistic or parameter.
            ImportError: If matplotlib is not installed: ``pip install tb-adam-plugin[plot]``.
        """
        names = [parameter.name for parameter in self.parameters]
        if parameters is None:
            parameters = [names[i] for i in self.recorded.weights_or_matrices]
        for name in parameters:
            if name not in names:
                raise KeyError(f"no parameter {name!r}")
        values = self.statistic(statistic)[:, [names.index(name) for name in parameters]]
        return plot_statistic(statistic, self.steps, values, parameters, ax)

    def __repr__(self) -> str:
        """Name the run, without reading a statistic."""
        last, _ = self._listed.last
        return f"Run({self.name!r}, {len(self.parameters)} parameters, last step {last})"

    def _repr_svg_(self) -> str:
        """Draw the loss and the update-to-weight ratios, for notebooks that only show SVG."""
        return picture_of(self.recorded, _language())

    def _repr_html_(self) -> str:
        """Show the loss, the update-to-weight ratios and the findings in a notebook."""
        return page_of(self.recorded, self.findings(), _language())

    def findings(self) -> tuple[Finding, ...]:
        """The findings of the rules, root causes before their consequences.

        They are in English; ``finding.in_language("zh")`` translates one to Chinese.
        """
        return self.diagnosis.findings

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """The findings, and the rules that could not be evaluated, with the reason."""
        return diagnose(self.recorded)

    @cached_property
    def recorded(self) -> RecordedRun:
        """Everything recorded, in the form the rules read; a statistic is read on first use."""
        return recorded_run(self._store, _ALL, self._listed.run)


_EVERY_ONE = 1 << 30


def _language() -> str:
    return known_language(os.environ.get("ADAM_DEBUG_LANG", ""))


def load_runs(logdir: str | os.PathLike[str]) -> list[Run]:
    """Read the runs below a local log folder, sorted by name.

    If only some of the runs can be read, or a run only in part, a UserWarning says so. Problems
    that only appear when records are read are in :attr:`Run.messages`.

    Args:
        logdir: A log folder, as for TensorBoard.

    Raises:
        OSError: If the folder, or an event file in it, cannot be read.
        tb_adam_plugin.schema.FormatError: If the folder has Adam Debug runs, but none can be read.
    """
    folder = os.path.expanduser(logdir)
    if not os.path.isdir(folder):
        raise NotADirectoryError(say("{folder} is not a folder", folder=os.fspath(logdir)))
    os.listdir(folder)  # raises if it cannot be read
    roots = LogRoots.of_folder(folder)
    store = Store(FileSource(roots, FileScalars(roots), strict=True))
    found = store.runs(_ALL)
    if not found.runs and found.messages:
        raise schema.FormatError(joined(message.text for message in found.messages))
    in_part = (m for run in found.runs for m in run.messages if m.severity == "error")
    for message in (*found.messages, *in_part):
        warnings.warn(message.text, stacklevel=2)
    return sorted((Run(store, run) for run in found.runs), key=lambda run: run.name)
