"""The input of the rules: everything recorded of one run, as plain arrays."""

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

# Parts of a name that identify a matrix as a table of rows, of which a step uses only a few.
_EMBEDDING_WORDS = ("emb", "wte", "wpe", "lookup", "codebook")
# Parts of a last name that identify a matrix as mixing features.
_WEIGHT_WORDS = ("weight", "kernel", "proj", "lora", "w")
_MIXING_MODULES = ("linear", "conv", "attention", "rnn", "lstm", "gru")
# PyTorch's names of the weights of recurrent layers.
_RECURRENT_WEIGHTS = ("weight_ih", "weight_hh")
_WITHOUT_GATES = ("rnn", "rnncell")
_LEAST_MATRIX = 64
# The first steps of a warm-up have a learning rate of 0.
_LEAST_RECORDS_AT_REST = 3


@dataclass(frozen=True, repr=False)  # no slots: derived values are cached
class RecordedRun:
    """One run, its layouts joined. Anything may be missing.

    Attributes:
        name: Name of the run.
        parameters: The rows of the statistics, in the optimizer's order.
        groups: Parameter groups; ``Parameter.group`` is an index into them.
        unoptimized: Parameters of the model that are in no group.
        step: float64 ``[records]``, ascending: the steps with statistics.
        wall_time: float64 ``[records]``, seconds since the epoch.
        statistics: float32 ``[records, parameters]`` by name; NaN if unknown.
        hyperparameters: float64 ``[records, groups]`` by name; NaN if unknown.
        every_step: float64 ``[steps]`` by column, one value for **every** optimizer step; all of
            the same length, including ``step``, ascending.
        gradient_norms: The norm of each parameter's gradient around events.
        layouts: The layouts with their first steps, ascending.
        total_steps: How many steps the run will take; 0 if unknown.
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
        """Drop statistics that can be reread."""
        if isinstance(self.statistics, StatisticsByRecord):
            self.statistics.release()

    def __repr__(self) -> str:
        """Name the run, without the numbers."""
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
        """Parameters of two or more dimensions, except small and, if others move, resting ones."""
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
        """Matrices that are not embeddings, i.e. that mix features."""
        return np.setdiff1d(self.matrices, self.embeddings)

    @cached_property
    def weights_or_matrices(self) -> Indices:
        """The weights; without any, all matrices including small ones, or else all parameters."""
        everything = np.arange(len(self.parameters))
        # A bias of one element may be close to 0, and any step is large relative to it.
        small = np.flatnonzero([len(p.shape) >= 2 for p in self.parameters])
        chosen = (self.weights, self.matrices, small, everything)
        return next(x for x in chosen if x.size or x is everything)

    @cached_property
    def main_group(self) -> int:
        """The group with the most elements of the weights: rules refer to its settings."""
        weights = self.weights_or_matrices
        held = np.bincount(self.group_of[weights], weights=self.elements[weights])
        return int(held.argmax()) if held.size else 0

    @cached_property
    def last_step(self) -> float:
        """The last step with any data; 0 without any."""
        ends = [*self.step[-1:].tolist(), *self.every_step.get("step", self.step)[-1:].tolist()]
        return max(ends, default=0.0)

    @cached_property
    def length(self) -> float:
        """The last step that the run will have, as far as known."""
        return max(self.last_step, float(self.total_steps))

    @cached_property
    def first_step(self) -> float:
        """The first step with any data; 0 without any."""
        starts = [*self.step[:1].tolist(), *self.every_step.get("step", self.step)[:1].tolist()]
        return min(starts, default=0.0)

    def hyperparameter(self, name: str, parameter: int) -> Float64s:
        """A hyperparameter of a parameter's group, float64 ``[records]``; NaN if unknown."""
        values = self.hyperparameters.get(name)
        group = self.parameters[parameter].group
        if values is None or group >= values.shape[1]:
            return np.full(self.step.shape, np.nan)
        return values[:, group]

    def option(self, name: str, parameter: int) -> Any:
        """An option of a parameter's group, or None."""
        return self.groups[self.parameters[parameter].group].options.get(name)

    def optimizer_of(self, parameter: int) -> str:
        """Class name of a parameter's optimizer."""
        return self.groups[self.parameters[parameter].group].optimizer


@dataclass(frozen=True, slots=True)
class RecordedNorms:
    """Gradient norms around events.

    Attributes:
        step: float64 ``[steps]``, ascending.
        names: Names of the parameters.
        norms: float64 ``[steps, names]``; NaN without a gradient.
    """

    step: Float64s
    names: tuple[str, ...]
    norms: Float64s


def in_order(run: RecordedRun) -> RecordedRun:
    """Return a run with ascending steps; of equal ones the last stored one counts.

    They may not ascend if the user sets the counter back during training.
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
    """Indices that sort unique steps; None if they already are."""
    if (step[1:] > step[:-1]).all():
        return None
    _, last = np.unique(step[::-1], return_index=True)
    return step.size - 1 - last


def is_embedding(parameter: Parameter) -> bool:
    """Whether a parameter is a table of rows, by its module or else by its name."""
    module = parameter.module.lower()
    if any(word in module for word in _MIXING_MODULES):
        return False
    return "embedding" in module or any(w in parameter.name.lower() for w in _EMBEDDING_WORDS)


def is_gates(parameter: Parameter) -> bool:
    """Whether the rows of a matrix are gates of a recurrent layer rather than units.

    This holds for an LSTM or a GRU, and for weights with the same names unless they are known to
    belong to a layer without gates.
    """
    module = parameter.module.lower()
    if "lstm" in module or "gru" in module:
        return True
    last = parameter.name.rsplit(".", 1)[-1]
    return last.startswith(_RECURRENT_WEIGHTS) and module not in _WITHOUT_GATES


def may_be_table(parameter: Parameter) -> bool:
    """Whether a matrix may be a table or a codebook: its name is not that of a layer's weight."""
    last = parameter.name.rsplit(".", 1)[-1].lower()
    return len(parameter.shape) == 2 and not any(word in last for word in _WEIGHT_WORDS)


def is_stack(parameter: Parameter) -> bool:
    """Whether the rows of a parameter are matrices themselves, such as experts, not channels."""
    is_conv = "conv" in parameter.module.lower()
    return len(parameter.shape) == 3 and min(parameter.shape) > 1 and not is_conv


def fan_in(parameter: Parameter) -> int:
    """Number of inputs per output of a weight: the elements of a row along dim 0."""
    return parameter.elements // max(1, parameter.shape[0])
