"""What is recorded of every parameter: which there are, how they are read, one step's result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch.optim import Optimizer

from tb_adam_plugin import schema

from .measurement import Measurement, States
from .optimizer_state.base import OptimizerState
from .state_storage import Storage, storage_types
from .watched_parameters import Parameters, find_parameters

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
        layout: Of the last record; None before the first one.
    """

    def __init__(
        self,
        model: Any,
        optimizer: Optimizer,
        state: OptimizerState,
        max_sampled_elements: int | None,
        quantities: Sequence[schema.Quantity],
    ) -> None:
        """Find the parameters and choose the elements to read.

        Args:
            model: A module, or a list of pairs of name and parameter.
            optimizer: Whose parameters are recorded.
            state: Its adapter.
            max_sampled_elements: See :class:`.capture.Panel`.
            quantities: Those to make histograms of, beside further tensors of the state.
        """
        self._model = model
        self._quantities = quantities
        self._optimizer = optimizer
        self._state = state
        self._max_sampled_elements = max_sampled_elements
        self._excluded: set[str] = set()
        self.layout: schema.Layout | None = None
        self._measurements: list[Measurement] = []
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
        layout = self._describe(states)
        parts = [
            measurement.after_step(with_histograms, self._others, of_measurement, loss, step)
            for measurement, of_measurement in zip(self._measurements, states, strict=True)
        ]
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
            tensors += schema.histogram_tensors(layout, self._in_order(counts))
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
        parameters = find_parameters(self._model, self._optimizer.param_groups, self._excluded)
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
            )
            for indices in kinds.values()
        ]
        # Measurements come device by device, the layout's rows in the optimizer's order.
        self._order = np.argsort([i for indices in kinds.values() for i in indices])
        self.parameters: Parameters = parameters
        self._fingerprint = parameters.fingerprint(self._state)
        self._described: object = None
        self._storage: object = None
        notice = () if self._state.notice is None else (self._state.notice,)
        self.notices: Sequence[str] = (*parameters.notices, *notice)

    def _describe(self, states: list[States]) -> schema.Layout:
        """Return the layout; a new one where the state of the optimizer is another one than before.

        Its tensors are known only after a step, and a checkpoint may bring others.

        Args:
            states: Of the parameters of each measurement.
        """
        found = [storage for part in states for storage in part.storage]
        if self.layout is not None and found == self._storage:
            return self.layout
        groups = [w.group for w in self.parameters.watched]
        by_group: list[list[Storage | None]] = [[] for _ in self._optimizer.param_groups]
        for i, group in zip(self._order, groups, strict=True):
            by_group[group].append(found[i])
        storage = [storage_types(of_group) for of_group in by_group]
        self._others = sorted({key for s in found if s is not None for key, _ in s.others})
        if self._described != (self._others, storage) or self.layout is None:
            self._described = (self._others, storage)
            read = np.concatenate([m.panel.elements_read for m in self._measurements])
            self.layout = self.parameters.layout(
                self._state,
                read[self._order].tolist(),
                (*self._quantities, *map(schema.state_quantity, self._others)),
                storage,
            )
            undefined = [
                [name in group.undefined for name in self.layout.statistics]
                for group in self.layout.groups
            ]
            self._undefined = np.array([undefined[p.group] for p in self.layout.parameters])
        self._storage = found
        return self.layout
