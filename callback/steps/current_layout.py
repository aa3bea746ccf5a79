"""The layout of the records, rebuilt when the optimizer's state changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tb_adam_plugin import schema

from ..attach.watched_parameters import Parameters
from ..optimizer_state.base import OptimizerState
from ..optimizer_state.formula_fit import FormulaFit
from ..optimizer_state.storage import Storage, joined_types, storage_types
from ..ranks.ranks import Ranks

StorageOfParameters = Sequence[Storage | None]


class CurrentLayout:
    """Describes what is recorded.

    The tensors of an optimizer's state are known only after a step, and a checkpoint may add
    others.

    Attributes:
        layout: Layout of the last record; None before the first one.
    """

    def __init__(self, quantities: Sequence[schema.Quantity], fit: FormulaFit) -> None:
        """Describe nothing yet.

        Args:
            quantities: Quantities to make histograms of, besides additional state tensors.
            fit: Checks whether the optimizer's formula fits the measured update.
        """
        self.layout: schema.Layout | None = None
        self._fit: FormulaFit | None = fit
        self._undefined: npt.NDArray[np.bool_] = np.zeros((0, 0), np.bool_)
        self._quantities = quantities
        self._parameters = Parameters((), (), ())
        self._elements_read: list[int] = []
        self._order: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._others: list[str] = []
        self._storage: StorageOfParameters = []
        self._described: object = None
        self._ids: set[str] = set()

    @property
    def notice(self) -> str | None:
        """A sentence to warn the user with, if there have been too many layouts."""
        if len(self._ids) <= schema.MOST_LAYOUTS:
            return None
        return (
            f"the names, shapes or types of the recorded tensors have changed more than "
            f"{schema.MOST_LAYOUTS} times: the tab shows the newest {schema.MOST_LAYOUTS} sets of "
            "them. If these are different models, give each its own callback and log_dir"
        )

    def begin_anew(
        self, parameters: Parameters, elements_read: list[int], order: npt.NDArray[np.int64]
    ) -> None:
        """Describe these parameters from now on.

        Args:
            parameters: The recorded parameters.
            elements_read: Number of elements read of each parameter.
            order: Position of each parameter among those of all measurements, int64
                ``[parameters]``.
        """
        self._parameters = parameters
        self._elements_read = elements_read
        self._order = order
        self._storage, self._described = [], None

    def forget(self) -> None:
        """Let go of the parameters; only the layout remains available."""
        self._parameters = Parameters((), (), ())
        self._fit = None

    def before_step(self, groups: Sequence[Mapping[str, Any]]) -> None:
        """Save the inputs of the formula that a step may change.

        Args:
            groups: The optimizer's parameter groups.
        """
        if self._fit is not None:
            self._fit.before_step(
                [(w.parameter, groups[w.group]) for w in self._parameters.watched]
            )

    def leave_out(
        self, statistics: npt.NDArray[np.float32], requested_rms: npt.NDArray[np.float64]
    ) -> None:
        """Set to NaN what the optimizer does not define, and what its formula does not fit.

        Args:
            statistics: float32 ``[parameters, statistics]``, changed in place.
            requested_rms: See :class:`..measure.measurement.Measured`, ``[parameters]``.
        """
        statistics[self._undefined] = np.nan
        if self._fit is not None and self.layout is not None:
            self._fit.check(statistics, self.layout, requested_rms)

    def quantities(self, others: Sequence[str] | None = None) -> list[schema.Quantity]:
        """Return the quantities that have histograms.

        Args:
            others: Additional state tensors; by default those of the layout.
        """
        others = self._others if others is None else others
        return [*self._quantities, *map(schema.state_quantity, others)]

    def is_another(self, storage: StorageOfParameters) -> bool:
        """Whether the state's tensors have changed, or there is no layout yet.

        Args:
            storage: How each parameter's state is stored, measurement by measurement.
        """
        return self.layout is None or storage != self._storage

    def describe(self, state: OptimizerState, storage: StorageOfParameters) -> list[str]:
        """Make a new layout if something has changed; return the additional state tensors.

        Args:
            state: The optimizer's adapter.
            storage: See :meth:`is_another`.
        """
        if self.is_another(storage):
            self._set(state, other_keys(storage), self._by_group(state, storage))
            self._storage = storage
        return self._others

    def agree(self, state: OptimizerState, storage: StorageOfParameters, ranks: Ranks) -> None:
        """Describe the tensors that the optimizer has in any process; all must call this.

        Args:
            state: The optimizer's adapter.
            storage: See :meth:`is_another`.
            ranks: The processes.
        """
        found = ranks.gather((other_keys(storage), self._by_group(state, storage)))
        types = [joined_types(of_group) for of_group in zip(*(s for _, s in found), strict=True)]
        self._set(state, sorted({key for keys, _ in found for key in keys}), types)

    def keep(self, storage: StorageOfParameters) -> None:
        """Save the storage that the layout describes."""
        self._storage = storage

    def _by_group(
        self, state: OptimizerState, storage: StorageOfParameters
    ) -> list[Mapping[str, str]]:
        """Return the types that store each group's state."""
        groups = [w.group for w in self._parameters.watched]
        by_group: list[list[Storage | None]] = [[] for _ in state.optimizer.param_groups]
        for i, group in zip(self._order, groups, strict=True):
            by_group[group].append(storage[i])
        return [storage_types(of_group) for of_group in by_group]

    def _set(
        self, state: OptimizerState, others: list[str], storage: Sequence[Mapping[str, str]]
    ) -> None:
        self._others = others
        if self._described == (others, storage) and self.layout is not None:
            return
        self._described = (others, storage)
        layout = self._parameters.layout(state, self._elements_read, self.quantities(), storage)
        undefined = [
            [name in group.undefined for name in layout.statistics] for group in layout.groups
        ]
        self._undefined = np.array([undefined[p.group] for p in layout.parameters])
        self.layout = layout
        if len(self._ids) <= schema.MOST_LAYOUTS:
            self._ids.add(layout.id)


def other_keys(storage: StorageOfParameters) -> list[str]:
    """Return the keys of the state tensors that have no predefined quantity."""
    return sorted({key for s in storage if s is not None for key, _ in s.others})
