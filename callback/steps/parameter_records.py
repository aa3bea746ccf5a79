"""Records every parameter: which there are, how they are read, and one step's result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, SupportsFloat, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch.optim import Optimizer

from tb_adam_plugin import schema

from ..attach.replaced_parameters import FollowedModel
from ..attach.watched_parameters import Parameters, find_parameters
from ..measure.measurement import Measured, Measurement
from ..optimizer_state.base import OptimizerState
from ..optimizer_state.formula_fit import FormulaFit
from ..ranks.placement import Placement
from ..ranks.ranks import Ranks
from ..ranks.shard_sums import ShardSums
from ..shards.local_gradients import LocalGradients
from ..write.step_event import Histograms
from .current_layout import CurrentLayout
from .samples import Samples
from .shared_measurements import SharedMeasurements

_Number = TypeVar("_Number", bound=np.generic)


class StepRecord(NamedTuple):
    """One step of all parameters, in layout order.

    Attributes:
        tensors: The tensors for the event file, without the histograms.
        histograms: The histograms, not packed yet; None if they were not counted.
        statistics: float32 ``[parameters, len(schema.STATISTICS)]``.
        hyperparameters: float64 ``[groups, hyperparameters]``.
        squared_gradients: Σg² over all elements of each parameter, float64 ``[parameters]``.
        has_gradient: bool ``[parameters]``.
    """

    tensors: list[schema.TaggedTensor]
    histograms: Histograms | None
    statistics: npt.NDArray[np.float32]
    hyperparameters: npt.NDArray[np.float64]
    squared_gradients: npt.NDArray[np.float64]
    has_gradient: npt.NDArray[np.bool_]


class ParameterRecords:
    """Measures the steps of all parameters of an optimizer.

    Attributes:
        parameters: The recorded parameters.
        followed: The recorded parameters, then the optimizer's other ones.
        gradients: Gradients of the followed parameters, if processes share them; else None.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Optimizer,
        state: OptimizerState,
        max_sampled_elements: int | None,
        quantities: Sequence[schema.Quantity],
        placement: Placement,
    ) -> None:
        """Find the parameters and choose the elements to read.

        Args:
            model: A module, or a list of pairs of name and parameter.
            optimizer: The optimizer to record.
            state: Its adapter.
            max_sampled_elements: See :class:`..read.panel.Panel`.
            quantities: Quantities to make histograms of, besides additional state tensors.
            placement: Which part of the parameters this process has.
        """
        is_sharded = placement.ranks is not None or placement.shard_of is not None
        self._model = FollowedModel(model, is_sharded=is_sharded)
        self._placement = placement
        self._optimizer = optimizer
        self._state = state
        self._samples = Samples(max_sampled_elements)
        self._excluded: set[str] = set()
        self._quantities = quantities
        fit = FormulaFit(state, is_alone=placement.ranks is None)
        self._current = CurrentLayout(quantities, fit)
        self._measurements: list[Measurement] = []
        self._shared: SharedMeasurements | None = None
        self.followed: list[torch.Tensor] = []
        self.parameters = Parameters((), (), ())
        self.gradients: LocalGradients | None = None
        self._rebuild()

    @property
    def layout(self) -> schema.Layout | None:
        """Layout of the last record; None before the first one."""
        return self._current.layout

    @property
    def notices(self) -> Sequence[str]:
        """Sentences to warn the user with."""
        notice = () if self._state.notice is None else (self._state.notice,)
        return (*self.parameters.notices, *notice)

    @property
    def layout_notice(self) -> str | None:
        """Another warning, if there have been too many layouts."""
        return self._current.notice

    def refresh(self) -> bool:
        """Check whether the parameters to record have changed; return whether they have."""
        fingerprint = self.parameters.fingerprint(self._state)
        changed = self._fingerprint != fingerprint or self._model.has_changed()
        if changed:
            self._rebuild()
        return changed

    def shrink(self) -> bool:
        """Read fewer elements, to save memory; return whether that is possible."""
        if not self._samples.shrink():
            return False
        self._measurements = []  # free their memory first
        self._rebuild()
        return True

    def grow(self) -> bool:
        """Read more of parameters whose sample cannot tell its error; return whether any grew.

        Sharded parameters stay as they are: only the first process knows what their samples tell.
        """
        if not self._samples.grow([w.name for w in self.parameters.watched]):
            return False
        ages = [measurement.row_ages for measurement in self._measurements]
        self._measurements = []  # free their memory first
        self._rebuild()
        for measurement, before in zip(self._measurements, ages, strict=True):
            measurement.row_ages.take_over(before)
        return True

    def release(self) -> None:
        """Free the memory: nothing is recorded any more."""
        self._measurements, self._shared = [], None

    def forget(self) -> None:
        """Let go of the model and the optimizer, too; only the layout remains available."""
        self.release()
        self.parameters = Parameters((), (), ())
        self.followed, self.gradients = [], None
        self._current.forget()
        del self._model, self._optimizer, self._state, self._placement

    def exclude(self, name: str) -> bool:
        """Stop recording a parameter; return whether others are left."""
        if {w.name for w in self.parameters.watched} <= self._excluded | {name}:
            return False
        self._excluded.add(name)
        self._rebuild()
        return True

    def before_step(self) -> None:
        """Read what the step is about to change."""
        self._state.before_step()
        self._current.before_step(self._optimizer.param_groups)
        for measurement in self._measurements:
            measurement.before_step()

    def keep_gradients(self) -> None:
        """Read the gradients that the step overwrites again: its closure has computed new ones."""
        for measurement in self._measurements:
            measurement.keep_gradients()

    def after_step(
        self, with_histograms: bool, loss: SupportsFloat = float("nan"), step: int = 0
    ) -> StepRecord:
        """Measure the step since :meth:`before_step`.

        Args:
            with_histograms: Whether to count histograms.
            loss: The loss of the step, if known.
            step: The step number.
        """
        states = [measurement.states() for measurement in self._measurements]
        storage = [storage for part in states for storage in part.storage]
        others = self._current.describe(self._state, storage)
        parts = [
            measurement.after_step(with_histograms, others, of_measurement, loss, step)
            for measurement, of_measurement in zip(self._measurements, states, strict=True)
        ]
        record = self._record(parts)
        if self._placement.shard_of is None and self.layout is not None:
            self._samples.note(self.layout, record.statistics)
        return record

    def measure(self, with_histograms: bool, loss: SupportsFloat, step: int) -> bool:
        """Measure this process's part of the step since :meth:`before_step`, for :meth:`share`.

        The arguments are those of :meth:`after_step`.

        Returns:
            Whether the optimizer's state tensors have changed here.
        """
        assert self._shared is not None
        self._shared.measure(self._measurements, with_histograms, loss, step)
        return self._shared.is_changed

    def squares_here(self) -> tuple[npt.NDArray[np.float64], Sequence[bool]]:
        """Return Σg² of each parameter as :meth:`measure` found it, and which have a gradient."""
        assert self._shared is not None
        squares, has_gradient = self._shared.squares()
        return self._in_order(squares), self._in_order(has_gradient).tolist()

    def share(self, ranks: Ranks, is_changed: bool) -> StepRecord | None:
        """Combine the measurements of all processes; all of them must call this.

        Args:
            ranks: The processes.
            is_changed: Whether :meth:`measure` returned True in any of them.

        Returns:
            The record, in the first process; None in the others.
        """
        assert self._shared is not None
        measured = self._shared.share(ranks, is_changed, self._state)
        return None if measured is None else self._record(measured)

    def _record(self, parts: list[Measured]) -> StepRecord:
        layout = self.layout
        assert layout is not None
        statistics = self._in_order([part.statistics for part in parts])
        self._current.leave_out(statistics, self._in_order([part.requested_rms for part in parts]))
        groups = self._optimizer.param_groups
        hyperparameters = np.array([self._state.hyperparameters(group) for group in groups])
        columns = schema.Columns(self._state.hyperparameter_names)
        tensors = [
            schema.statistics_tensor(layout, statistics),
            schema.hyperparameters_tensor(layout, hyperparameters, columns),
        ]
        for one in tensors:
            one.tensor.flags.writeable = False  # so it can be handed over without a copy
        return StepRecord(
            tensors,
            self._histograms(layout, parts),
            statistics,
            hyperparameters,
            self._in_order([part.squared_gradients for part in parts]),
            self._in_order([part.has_gradient for part in parts]),
        )

    def _histograms(self, layout: schema.Layout, parts: list[Measured]) -> Histograms | None:
        counts = [part.counts for part in parts if part.counts is not None]
        if not counts:
            return None
        found = schema.SparseHistograms.joined(counts)
        return Histograms.checked(layout, found if len(counts) == 1 else found.take(self._order))

    def _in_order(self, parts: list[npt.NDArray[_Number]]) -> npt.NDArray[_Number]:
        """Reorder rows of measurements, one per parameter, into layout order."""
        return parts[0] if len(parts) == 1 else np.concatenate(parts)[self._order]

    def _rebuild(self) -> None:
        groups = self._placement.groups or self._optimizer.param_groups
        parameters = find_parameters(
            self._model.model,
            groups,
            self._excluded,
            self._placement.shard_of,
            {id(w.parameter): w.name for w in self.parameters.watched},
        )
        known = {id(w.parameter) for w in parameters.watched}
        self.followed = [
            *(w.parameter for w in parameters.watched),
            *(p for group in groups for p in group["params"] if id(p) not in known),
        ]
        self._model.know([*self.followed, *(p for _, p in parameters.unoptimized)])
        self.gradients = self._local_gradients(parameters)
        kinds: dict[tuple[torch.device, bool], list[int]] = {}
        for i, watched in enumerate(parameters.watched):
            is_double = watched.parameter.dtype.to_real() == torch.float64
            kinds.setdefault((watched.parameter.device, is_double), []).append(i)
        self._measurements = [
            Measurement(
                [parameters.watched[i] for i in indices],
                self._state,
                self._samples.most,
                self._quantities,
                self.gradients,
                self._samples.grown,
            )
            for indices in kinds.values()
        ]
        # Measurements are grouped by device, the layout's rows follow the optimizer's order.
        self._order = np.argsort([i for indices in kinds.values() for i in indices])
        self.parameters = parameters
        self._fingerprint = parameters.fingerprint(self._state)
        shard_sums = self._shard_sums(kinds.values())
        self._shared = SharedMeasurements(self._current, shard_sums) if shard_sums else None
        read = np.concatenate(
            [part.elements_read for part in shard_sums]
            or [measurement.panel.elements_read for measurement in self._measurements]
        )
        self._current.begin_anew(parameters, read[self._order].tolist(), self._order)

    def _shard_sums(self, kinds: Iterable[Sequence[int]]) -> list[ShardSums]:
        """Return what packs the sums of each kind of parameters, if processes share them."""
        ranks = self._placement.ranks
        if ranks is None:
            return []
        watched = self.parameters.watched
        return [
            ShardSums(
                {
                    watched[i].name: shard
                    for i in indices
                    if (shard := watched[i].shard) is not None
                },
                self._samples.most,
                ranks.size,
            )
            for indices in kinds
        ]

    def _local_gradients(self, parameters: Parameters) -> LocalGradients | None:
        shard_of = self._placement.shard_of
        if shard_of is None:
            return None
        shards = [w.shard for w in parameters.watched if w.shard is not None]
        others = self.followed[len(shards) :]
        return LocalGradients(self.followed, [*shards, *(shard_of("", p) for p in others)])
