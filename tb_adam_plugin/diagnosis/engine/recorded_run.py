"""What rules read: everything recorded of one run, as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from tb_adam_plugin.arrays import Float32s, Float64s, Indices
from tb_adam_plugin.schema import Group, Layout, Parameter, Unoptimized

from .statistic import Statistic, StatisticsByRecord

# Parts of a name that say a matrix is a table of rows, of which a step uses a few.
_EMBEDDING_WORDS = ("emb", "wte", "wpe", "lookup", "codebook")
# Parts of a last name that say a matrix mixes features.
_WEIGHT_WORDS = ("weight", "kernel", "proj", "lora", "w")
_MIXING_MODULES = ("linear", "conv", "attention", "rnn", "lstm", "gru")
# How PyTorch calls the weights of recurrent layers, and those of them whose rows are units.
_RECURRENT_WEIGHTS = ("weight_ih", "weight_hh")
_WITHOUT_GATES = ("rnn", "rnncell")
_LEAST_MATRIX = 64
# The first steps of a warm-up have a learning rate of 0.
_LEAST_RECORDS_AT_REST = 3


@dataclass(frozen=True, repr=False)  # no slots: what is derived from it is computed once
class RecordedRun:
    """One run, its layouts joined. Anything may be missing.

    Attributes:
        name: Of the run.
        parameters: The rows of the statistics, in the optimizer's order.
        groups: Parameter groups; ``Parameter.group`` is an index into them.
        unoptimized: Parameters of the model that no group holds.
        step: float64 ``[records]``, ascending: the steps with statistics.
        wall_time: float64 ``[records]``, seconds since the epoch.
        statistics: float32 ``[records, parameters]`` by name; NaN where nothing is known.
        hyperparameters: float64 ``[records, groups]`` by name; NaN where nothing is known.
        every_step: float64 ``[steps]`` by column, one value for **every** optimizer step; of one
            length, ``step`` among them, ascending.
        gradient_norms: The norm of each parameter's gradient around events.
        layouts: With the first step of each, ascending.
        total_steps: How many steps the run will have; 0 if that is not known.
    """

    name: str
    parameters: tuple[Parameter, ...]
    groups: tuple[Group, ...]
    step: Float64s
    wall_time: Float64s
    statistics: Mapping[str, Float32s]
    hyperparameters: Mapping[str, Float64s] = field(default_factory=dict)
    every_step: Mapping[str, Float64s] = field(default_factory=dict)
    unoptimized: tuple[Unoptimized, ...] = ()
    gradient_norms: RecordedNorms | None = None
    layouts: tuple[tuple[float, Layout], ...] = ()
    total_steps: int = 0

    def statistic(self, name: str) -> Statistic:
        """A statistic, float32 ``[records, parameters]``; NaN where it was not recorded."""
        statistics, records = self.statistics, self.step.size
        if name not in statistics:
            width = len(self.parameters)
            return Statistic(
                lambda start, stop: np.full((stop - start, width), np.nan, np.float32), records
            )
        if isinstance(statistics, StatisticsByRecord):
            return Statistic(partial(statistics.records, name), records)
        values = statistics[name]
        return Statistic(lambda start, stop: values[start:stop], records)

    def release(self) -> None:
        """Let go of statistics that can be read again."""
        if isinstance(self.statistics, StatisticsByRecord):
            self.statistics.release()

    def __repr__(self) -> str:
        """Say what it is, without the numbers."""
        size = f"{len(self.parameters)} parameters, {self.step.size} records"
        return f"RecordedRun({self.name!r}, {size})"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(p.name for p in self.parameters)

    @cached_property
    def elements(self) -> npt.NDArray[np.int64]:
        """Elements of each parameter, int64 ``[parameters]``."""
        return np.array([p.elements for p in self.parameters], np.int64)

    @cached_property
    def group_of(self) -> Indices:
        """The group of each parameter, ``[parameters]``."""
        return np.array([p.group for p in self.parameters], np.intp)

    @cached_property
    def resting(self) -> Indices:
        """Parameters of groups whose learning rate was 0 at every one of several records."""
        lr = self.hyperparameters.get("lr")
        if lr is None or len(lr) < _LEAST_RECORDS_AT_REST:
            return np.empty(0, np.intp)
        return np.flatnonzero(np.isin(self.group_of, np.flatnonzero((lr == 0).all(axis=0))))

    @cached_property
    def matrices(self) -> Indices:
        """Parameters of two or more dimensions, without small ones and, if others move, resting."""
        chosen = [len(p.shape) >= 2 and p.elements >= _LEAST_MATRIX for p in self.parameters]
        matrices = np.flatnonzero(chosen)
        moving = np.setdiff1d(matrices, self.resting)
        return moving if moving.size else matrices

    @cached_property
    def embeddings(self) -> Indices:
        """Matrices that are tables of rows."""
        return np.array([i for i in self.matrices if is_embedding(self.parameters[i])], np.intp)

    @cached_property
    def weights(self) -> Indices:
        """Matrices that are no embeddings: what mixes features."""
        return np.setdiff1d(self.matrices, self.embeddings)

    @cached_property
    def weights_or_matrices(self) -> Indices:
        """The weights; every matrix, a small one too, or every parameter, of a run without."""
        everything = np.arange(len(self.parameters))
        # A bias of one element may be next to 0, and any step is long beside it.
        small = np.flatnonzero([len(p.shape) >= 2 for p in self.parameters])
        chosen = (self.weights, self.matrices, small, everything)
        return next(x for x in chosen if x.size or x is everything)

    @cached_property
    def main_group(self) -> int:
        """The group that holds most elements of the weights: rules speak of its settings."""
        weights = self.weights_or_matrices
        held = np.bincount(self.group_of[weights], weights=self.elements[weights])
        return int(held.argmax()) if held.size else 0

    @cached_property
    def last_step(self) -> float:
        """The last step of which anything is known; 0 without any."""
        ends = [*self.step[-1:].tolist(), *self.every_step.get("step", self.step)[-1:].tolist()]
        return max(ends, default=0.0)

    @cached_property
    def length(self) -> float:
        """The last step that there will be, as far as that is known."""
        return max(self.last_step, float(self.total_steps))

    @cached_property
    def first_step(self) -> float:
        """The first step of which anything is known; 0 without any."""
        starts = [*self.step[:1].tolist(), *self.every_step.get("step", self.step)[:1].tolist()]
        return min(starts, default=0.0)

    def hyperparameter(self, name: str, parameter: int) -> Float64s:
        """A hyperparameter of a parameter's group, float64 ``[records]``; NaN where unknown."""
        values = self.hyperparameters.get(name)
        group = self.parameters[parameter].group
        if values is None or group >= values.shape[1]:
            return np.full(self.step.shape, np.nan)
        return values[:, group]

    def option(self, name: str, parameter: int) -> Any:
        """An option of a parameter's group, or None."""
        return self.groups[self.parameters[parameter].group].options.get(name)

    def optimizer_of(self, parameter: int) -> str:
        """Class name of the optimizer of a parameter."""
        return self.groups[self.parameters[parameter].group].optimizer


@dataclass(frozen=True, slots=True)
class RecordedNorms:
    """Norms around events.

    Attributes:
        step: float64 ``[steps]``, ascending.
        names: Of the parameters.
        norms: float64 ``[steps, names]``; NaN without a gradient.
    """

    step: Float64s
    names: tuple[str, ...]
    norms: Float64s


def in_order(run: RecordedRun) -> RecordedRun:
    """Return a run whose steps ascend; of equal ones the last one counts, as where it is stored.

    A counter that the user sets back while training leaves them otherwise.
    """
    records = _ascending(run.step)
    if records is not None:
        run = replace(
            run,
            step=run.step[records],
            wall_time=run.wall_time[records],
            statistics={name: values[records] for name, values in run.statistics.items()},
            hyperparameters={name: values[records] for name, values in run.hyperparameters.items()},
        )
    steps = _ascending(run.every_step.get("step", run.step))
    if steps is not None:
        run = replace(
            run, every_step={name: values[steps] for name, values in run.every_step.items()}
        )
    return run


def common_records(earlier: RecordedRun, run: RecordedRun) -> int:
    """Return how many records at the start are the same in both."""
    if earlier.parameters != run.parameters or earlier.statistics.keys() != run.statistics.keys():
        return 0
    if not np.array_equal(earlier.matrices, run.matrices):  # some no longer rest
        return 0
    n = min(earlier.step.size, run.step.size)
    same = (earlier.step[:n] == run.step[:n]) & (earlier.wall_time[:n] == run.wall_time[:n])
    return n if same.all() else int(np.argmin(same))


def _ascending(step: Float64s) -> Indices | None:
    """Indices that put steps into order, each once; None where they are."""
    if (step[1:] > step[:-1]).all():
        return None
    _, last = np.unique(step[::-1], return_index=True)
    return step.size - 1 - last


def is_embedding(parameter: Parameter) -> bool:
    """Whether a parameter is a table of rows: its module says so, or else its name."""
    module = parameter.module.lower()
    if any(word in module for word in _MIXING_MODULES):
        return False
    return "embedding" in module or any(w in parameter.name.lower() for w in _EMBEDDING_WORDS)


def is_gates(parameter: Parameter) -> bool:
    """Whether the rows of a matrix are the gates of a recurrent layer, and no units of it.

    Those of an LSTM or a GRU are, and what has the names of their weights and is not known to
    belong to a layer without gates.
    """
    module = parameter.module.lower()
    if "lstm" in module or "gru" in module:
        return True
    last = parameter.name.rsplit(".", 1)[-1]
    return last.startswith(_RECURRENT_WEIGHTS) and module not in _WITHOUT_GATES


def may_be_table(parameter: Parameter) -> bool:
    """Whether a matrix may be a table or a codebook: no weight of a layer, by its name."""
    last = parameter.name.rsplit(".", 1)[-1].lower()
    return len(parameter.shape) == 2 and not any(word in last for word in _WEIGHT_WORDS)


def is_stack(parameter: Parameter) -> bool:
    """Whether the rows of a parameter are matrices themselves: experts, say, and no channels."""
    is_conv = "conv" in parameter.module.lower()
    return len(parameter.shape) == 3 and min(parameter.shape) > 1 and not is_conv


def fan_in(parameter: Parameter) -> int:
    """How many inputs one output of a weight has: the elements of a row along dim 0."""
    return parameter.elements // max(1, parameter.shape[0])
