"""What is recorded of every parameter: which there are, how they are read, one step's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch.optim import Optimizer

from tb_adam_plugin import schema

from ..attach.watched_parameters import Parameters, find_parameters
from ..measure.measurement import Measured, Measurement, Sums, finished
from ..measure.tensors import States
from ..optimizer_state.base import OptimizerState
from ..optimizer_state.storage import Storage, joined_types, storage_types
from ..ranks.ranks import Place, Ranks
from ..ranks.shard_sums import ShardSums, Taker, check_intact, joined
from ..shards.local_gradients import LocalGradients

# Fewer elements than this of one parameter say too little of it.
_LEAST_SAMPLED_ELEMENTS = 256
_SAMPLED_ELEMENTS_WITHOUT_EXACT = 16_384
_Number = TypeVar("_Number", bound=np.generic)


class StepRecord(NamedTuple):
    """One step of all parameters, in the order of the layout.

    Attributes:
        tensors: What goes into the event file.
        statistics: float32 ``[parameters, len(schema.STATISTICS)]``.
        hyperparameters: float64 ``[groups, hyperparameters]``.
        squared_gradients: Σg² over all elements of each parameter, float64 ``[parameters]``.
        has_gradient: bool ``[parameters]``.
    """

    tensors: list[schema.TaggedTensor]
    statistics: npt.NDArray[np.float32]
    hyperparameters: npt.NDArray[np.float64]
    squared_gradients: npt.NDArray[np.float64]
    has_gradient: npt.NDArray[np.bool_]


class ParameterRecords:
    """Measures the steps of all parameters of an optimizer.

    Attributes:
        notices: Sentences that the user should be warned with since the last rebuild.
        parameters: The recorded parameters.
        followed: Those, then the optimizer's other ones.
        gradients: Of the followed parameters, where processes share them; else None.
        layout: Of the last record; None before the first one.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Optimizer,
        state: OptimizerState,
        max_sampled_elements: int | None,
        quantities: Sequence[schema.Quantity],
        place: Place,
    ) -> None:
        """Find the parameters and choose the elements to read.

        Args:
            model: A module, or a list of pairs of name and parameter.
            optimizer: Whose parameters are recorded.
            state: Its adapter.
            max_sampled_elements: See :class:`..read.panel.Panel`.
            quantities: Those to make histograms of, beside further tensors of the state.
            place: What of the parameters is here.
        """
        self._model = model
        self._place = place
        self._quantities = quantities
        self._optimizer = optimizer
        self._state = state
        self._max_sampled_elements = max_sampled_elements
        self._excluded: set[str] = set()
        self.layout: schema.Layout | None = None
        self._storage: list[Storage | None] = []
        self._measurements: list[Measurement] = []
        self._shard_sums: list[ShardSums] = []
        self._sums: list[Sums] = []
        self.followed: list[torch.Tensor] = []
        self.parameters = Parameters((), (), ())
        self.gradients: LocalGradients | None = None
        self._rebuild()

    def refresh(self) -> bool:
        """Find out whether there is something else to record than before; return whether so."""
        changed = self._fingerprint != self.parameters.fingerprint(self._state)
        if changed:
            self._rebuild()
        return changed

    def shrink(self) -> bool:
        """Read fewer elements, so that less memory is needed; return whether that is possible."""
        now = self._max_sampled_elements or 2 * _SAMPLED_ELEMENTS_WITHOUT_EXACT
        if now // 2 < _LEAST_SAMPLED_ELEMENTS:
            return False
        self._max_sampled_elements = now // 2
        self._measurements = []  # their memory first
        self._rebuild()
        return True

    def release(self) -> None:
        """Let go of the memory: nothing is recorded any more."""
        self._measurements, self._shard_sums, self._sums = [], [], []

    def forget(self) -> None:
        """Let go of the model and the optimizer, too; nothing but the layout can be asked for."""
        self.release()
        self.parameters = Parameters((), (), ())
        self.followed, self.gradients = [], None
        del self._model, self._optimizer, self._state

    def exclude(self, name: str) -> bool:
        """Record a parameter no more; return whether others are left."""
        if {w.name for w in self.parameters.watched} <= self._excluded | {name}:
            return False
        self._excluded.add(name)
        self._rebuild()
        return True

    def before_step(self) -> None:
        """Read what a step is about to change."""
        self._state.before_step()
        for measurement in self._measurements:
            measurement.before_step()

    def after_step(
        self, with_histograms: bool, loss: float | torch.Tensor = float("nan"), step: int = 0
    ) -> StepRecord:
        """Measure the step since :meth:`before_step`.

        Args:
            with_histograms: Whether to count them.
            loss: Of the step, if it is known.
            step: Its number.
        """
        states = [measurement.states() for measurement in self._measurements]
        self._describe(states)
        parts = [
            measurement.after_step(with_histograms, self._others, of_measurement, loss, step)
            for measurement, of_measurement in zip(self._measurements, states, strict=True)
        ]
        return self._record(parts)

    def measure(self, with_histograms: bool, loss: float | torch.Tensor, step: int) -> None:
        """Measure what is here of the step since :meth:`before_step`, for :meth:`share`.

        The arguments are those of :meth:`after_step`.
        """
        states = [measurement.states() for measurement in self._measurements]
        found = [storage for part in states for storage in part.storage]
        self.is_changed = self.layout is None or found != self._storage
        self._found = found
        self._others_here = _other_keys(found)
        self._sums = [
            measurement.sums(with_histograms, self._others_here, of_measurement, loss, step)
            for measurement, of_measurement in zip(self._measurements, states, strict=True)
        ]

    def squares_here(self) -> tuple[npt.NDArray[np.float64], Sequence[bool]]:
        """Return Σg² of what :meth:`measure` found of each parameter, and which have a gradient."""
        squares = self._in_order([sums.of.exact["g²"] for sums in self._sums])
        has_gradient = self._in_order([sums.of.has_gradient for sums in self._sums])
        return squares, has_gradient.tolist()

    def share(self, ranks: Ranks, is_changed: bool) -> StepRecord | None:
        """Bring together what all processes have measured; all of them must call this.

        Args:
            ranks: The processes.
            is_changed: Whether :attr:`is_changed` is set in any of them.

        Returns:
            The record, in the first process; None in the others.
        """
        if is_changed:
            self._agree_on_layout(ranks)
        self._storage = self._found
        here = self._names_of_quantities(self._others_here)
        everywhere = self._names_of_quantities(self._others)
        parts = zip(self._shard_sums, self._sums, strict=True)
        of_all = ranks.reduce(joined([part.pack(sums, here, everywhere) for part, sums in parts]))
        if not ranks.is_first:
            return None
        check_intact(of_all, ranks.size)
        taker = Taker(of_all)
        measured = []
        for part, sums in zip(self._shard_sums, self._sums, strict=True):
            with_counts = sums.counts is not None
            whole = part.unpack(taker, sums.of.loss, with_counts, len(everywhere))
            measured.append(finished(*whole))
        return self._record(measured)

    def _record(self, parts: list[Measured]) -> StepRecord:
        layout = self.layout
        assert layout is not None
        statistics = self._in_order([part.statistics for part in parts])
        statistics[self._undefined] = np.nan
        groups = self._optimizer.param_groups
        hyperparameters = np.array([self._state.hyperparameters(group) for group in groups])
        columns = schema.Columns(self._state.hyperparameter_names)
        tensors = [
            schema.statistics_tensor(layout, statistics),
            schema.hyperparameters_tensor(layout, hyperparameters, columns),
        ]
        counts = [part.counts for part in parts if part.counts is not None]
        if counts:
            found = schema.SparseHistograms.joined(counts)
            if len(counts) > 1:
                found = found.take(self._order)
            tensors += schema.histogram_tensors(layout, found)
        return StepRecord(
            tensors,
            statistics,
            hyperparameters,
            self._in_order([part.squared_gradients for part in parts]),
            self._in_order([part.has_gradient for part in parts]),
        )

    def _in_order(self, parts: list[npt.NDArray[_Number]]) -> npt.NDArray[_Number]:
        """Put what measurements give, a row a parameter, into the order of the layout."""
        return parts[0] if len(parts) == 1 else np.concatenate(parts)[self._order]

    def _rebuild(self) -> None:
        groups = self._place.groups or self._optimizer.param_groups
        parameters = find_parameters(self._model, groups, self._excluded, self._place.shard_of)
        known = {id(w.parameter) for w in parameters.watched}
        self.followed = [
            *(w.parameter for w in parameters.watched),
            *(p for group in groups for p in group["params"] if id(p) not in known),
        ]
        self.gradients = self._local_gradients(parameters)
        kinds: dict[tuple[torch.device, bool], list[int]] = {}
        for i, watched in enumerate(parameters.watched):
            is_double = watched.parameter.dtype.to_real() == torch.float64
            kinds.setdefault((watched.parameter.device, is_double), []).append(i)
        self._measurements = [
            Measurement(
                [parameters.watched[i] for i in indices],
                self._state,
                self._max_sampled_elements,
                self._quantities,
                self.gradients,
            )
            for indices in kinds.values()
        ]
        ranks = self._place.ranks
        self._shard_sums = (
            []
            if ranks is None
            else [
                ShardSums(
                    [s for i in indices if (s := parameters.watched[i].shard) is not None],
                    self._max_sampled_elements,
                    ranks.size,
                )
                for indices in kinds.values()
            ]
        )
        # Measurements come device by device, the layout's rows in the optimizer's order.
        self._order = np.argsort([i for indices in kinds.values() for i in indices])
        self.parameters = parameters
        self._fingerprint = parameters.fingerprint(self._state)
        self._described: object = None
        self._storage = []
        self.is_changed = True
        notice = () if self._state.notice is None else (self._state.notice,)
        self.notices: Sequence[str] = (*parameters.notices, *notice)

    def _local_gradients(self, parameters: Parameters) -> LocalGradients | None:
        shard_of = self._place.shard_of
        if shard_of is None:
            return None
        shards = [w.shard for w in parameters.watched if w.shard is not None]
        others = self.followed[len(shards) :]
        return LocalGradients(self.followed, [*shards, *(shard_of("", p) for p in others)])

    def _agree_on_layout(self, ranks: Ranks) -> None:
        """Find out what tensors the optimizer has in any process, and describe them all."""
        found = ranks.gather((self._others_here, self._storage_by_group(self._found)))
        storage = [joined_types(of_group) for of_group in zip(*(s for _, s in found), strict=True)]
        self._set_layout(sorted({key for keys, _ in found for key in keys}), storage)

    def _names_of_quantities(self, others: Sequence[str]) -> list[str]:
        return [q.name for q in (*self._quantities, *map(schema.state_quantity, others))]

    def _describe(self, states: list[States]) -> None:
        """Make a new layout where the state of the optimizer is another one than before.

        Its tensors are known only after a step, and a checkpoint may bring others.

        Args:
            states: Of the parameters of each measurement.
        """
        found = [storage for part in states for storage in part.storage]
        if self.layout is None or found != self._storage:
            self._set_layout(_other_keys(found), self._storage_by_group(found))
            self._storage = found

    def _storage_by_group(self, found: Sequence[Storage | None]) -> list[Mapping[str, str]]:
        """Return in what types each group's state is stored."""
        groups = [w.group for w in self.parameters.watched]
        by_group: list[list[Storage | None]] = [[] for _ in self._optimizer.param_groups]
        for i, group in zip(self._order, groups, strict=True):
            by_group[group].append(found[i])
        return [storage_types(of_group) for of_group in by_group]

    def _set_layout(self, others: list[str], storage: Sequence[Mapping[str, str]]) -> None:
        self._others = others
        if self._described == (others, storage) and self.layout is not None:
            return
        self._described = (others, storage)
        read = np.concatenate(
            [part.elements_read for part in self._shard_sums]
            or [measurement.panel.elements_read for measurement in self._measurements]
        )
        self.layout = self.parameters.layout(
            self._state,
            read[self._order].tolist(),
            (*self._quantities, *map(schema.state_quantity, others)),
            storage,
        )
        undefined = [
            [name in group.undefined for name in self.layout.statistics]
            for group in self.layout.groups
        ]
        self._undefined = np.array([undefined[p.group] for p in self.layout.parameters])


def _other_keys(storage: Sequence[Storage | None]) -> list[str]:
    return sorted({key for s in storage if s is not None for key, _ in s.others})
