"""The numbers of the formula in :mod:`.base`, and the columns that they are computed from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..memory.to_host import on_device
from .group_settings import GroupSettings, hyperparameter
from .parameter_state import ParameterState

# One number per row: float64 ``[rows]``.
Column = Tensor | npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Coefficients:
    """The numbers of the formula.

    Adapters return them as float64 ``[parameters]`` on the device of the step counts;
    :meth:`.base.OptimizerState.root` and :meth:`.base.OptimizerState.direction` get them as
    ``[rows, 1]`` in the dtype of the elements.

    Attributes:
        gradient_sign: -1 if the optimizer maximizes.
        coupled_weight_decay: Added to the gradient as ``coupled_weight_decay · b``.
        exp_avg_decay: ``m = exp_avg_decay · m_before + exp_avg_weight · g'``; NaN if exp_avg is not
            such an average of gradients.
        exp_avg_weight: See ``exp_avg_decay``.
        exp_avg_scale: 1 / (1 - beta1^t) if the optimizer corrects the bias, else 1.
        exp_avg_sq_decay: ``v = exp_avg_sq_decay · v_before + exp_avg_sq_weight · g'²``; NaN if it
            is computed differently.
        exp_avg_sq_weight: See ``exp_avg_sq_decay``.
        exp_avg_sq_scale: 1 / √(1 - beta2^t) if the optimizer corrects the bias, else 1.
        exp_avg_sq_scale_before: The same at the previous step; NaN at the first step.
        eps: The constant added to ``√v̂``, with which statistics compare it.
        numerator_exp_avg: In the direction.
        numerator_gradient: In the direction.
        denominator_root: In the direction: 1, or 0 if nothing is divided by √v̂.
        denominator_constant: In the direction: eps, or 1.
        step_size: The learning rate with all factors that scale the direction of all elements.
        weight_decay: Decoupled weight decay, as added to the direction.
        own: Numbers that only the adapter itself interprets.
        constants: Numbers that are always the same for all parameters, by name.
    """

    gradient_sign: Tensor
    coupled_weight_decay: Tensor
    exp_avg_decay: Tensor
    exp_avg_weight: Tensor
    exp_avg_scale: Tensor
    exp_avg_sq_decay: Tensor
    exp_avg_sq_weight: Tensor
    exp_avg_sq_scale: Tensor
    exp_avg_sq_scale_before: Tensor
    eps: Tensor
    numerator_exp_avg: Tensor
    numerator_gradient: Tensor
    denominator_root: Tensor
    denominator_constant: Tensor
    step_size: Tensor
    weight_decay: Tensor
    own: Mapping[str, Tensor] = field(default_factory=dict)
    constants: Mapping[str, float] = field(default_factory=dict)

    @staticmethod
    def of(table: StepTable, *, own: Any = None, **given: Column | float) -> Coefficients:
        """Fill in missing values: plain gradient descent without moments.

        Args:
            table: The parameters.
            own: See the attributes: a mapping, or None.
            **given: Attributes by name, ``[rows]`` of the table, or one number for all of them.
        """
        values: dict[str, Column | float] = {**_GRADIENT_DESCENT, **given}
        constants = {
            name: value
            for name, value in values.items()
            if not isinstance(value, Tensor | np.ndarray)
        }
        names, own = list(values), own or {}
        columns = table.of_parameters([*values.values(), *own.values()])
        return Coefficients(
            **dict(zip(names, columns, strict=False)),
            own=dict(zip(own, columns[len(names) :], strict=True)),
            constants=constants,
        )


_GRADIENT_DESCENT = {
    "gradient_sign": 1.0,
    "coupled_weight_decay": 0.0,
    "exp_avg_decay": float("nan"),
    "exp_avg_weight": float("nan"),
    "exp_avg_scale": 1.0,
    "exp_avg_sq_decay": float("nan"),
    "exp_avg_sq_weight": float("nan"),
    "exp_avg_sq_scale": 1.0,
    "exp_avg_sq_scale_before": 1.0,
    "eps": 0.0,
    "numerator_exp_avg": 0.0,
    "numerator_gradient": 1.0,
    "denominator_root": 0.0,
    "denominator_constant": 1.0,
    "step_size": 0.0,
    "weight_decay": 0.0,
}
COEFFICIENTS = tuple(f.name for f in fields(Coefficients) if f.name not in ("own", "constants"))


class StepTable:
    """Hyperparameters and step counts of some parameters as columns.

    A row stands for all parameters of one group with the same step count: usually one row per
    group. If states have their own numbers, or the steps are on a device, each parameter has a row.

    Attributes:
        groups: The group of each row.
        states: The state of each row's first parameter; None before its first step.
        steps: Steps taken by the row's parameters, float64 ``[rows]``; NaN if not counted.
    """

    def __init__(
        self,
        groups: Sequence[GroupSettings],
        states: Sequence[ParameterState | None],
        steps: Tensor,
        *,
        rows_of: StepTable | None = None,
    ) -> None:
        """Look at some parameters.

        Args:
            groups: The group of each parameter.
            states: The state of each parameter; None before its first step.
            steps: float64 ``[parameters]``, on the device that stores them.
            rows_of: Another table, if the arguments refer to its rows instead.
        """
        self._row_of: npt.NDArray[np.int64] | None = None
        if rows_of is not None:
            self._row_of = rows_of._row_of
        elif steps.device.type == "cpu" and not any([s and s.numbers for s in states]):
            first, self._row_of = _rows(groups, steps)
            groups, states = [groups[i] for i in first], [states[i] for i in first]
            steps = steps[first]
        self.groups = groups
        self.states = states
        self.steps = steps
        self._each_group = list({id(group): group for group in groups}.values())
        index = {id(group): i for i, group in enumerate(self._each_group)}
        self._group_of = torch.tensor(
            [index[id(group)] for group in groups], dtype=torch.int64, device="cpu"
        )

    def on_host(self) -> Columns:
        """Return columns as arrays if possible: each takes a fraction of the time."""
        if self._row_of is None or type(self) is not StepTable:
            return self
        return _HostColumns(self.groups, self.steps.numpy())

    def of_parameters(self, values: Sequence[Column | float]) -> Sequence[Tensor]:
        """Return numbers, each for all rows or ``[rows]``, as float64 ``[parameters]`` each."""
        if self._row_of is None:
            return [
                self.column(torch.from_numpy(v) if isinstance(v, np.ndarray) else v) for v in values
            ]
        table = np.empty((len(values), len(self.steps)))
        for row, value in zip(table, values, strict=True):
            if isinstance(value, Tensor):
                value = on_device(value, self.steps.device).numpy()
            row[:] = value
        return torch.from_numpy(np.ascontiguousarray(table[:, self._row_of])).unbind()

    def column(self, value: Tensor | float) -> Tensor:
        """Return a number, or one for each row, as float64 ``[rows]``."""
        return self._sent(value).expand(self.steps.shape)

    def number(self, name: str) -> Tensor:
        """Return a hyperparameter of each row's group; ``beta1`` … are from ``betas``.

        A flag is 1 or 0; NaN if it is missing or not a number.
        """
        return self.by_group(lambda group: hyperparameter(group, name))

    def flag(self, name: str) -> Tensor:
        """Return whether each row's group has a flag set: bool ``[rows]``."""
        return self.by_group(lambda group: float(bool(group.get(name)))) > 0

    def by_group(self, number: Callable[[GroupSettings], float]) -> Tensor:
        """Return a number from each row's group: float64 ``[rows]``."""
        numbers = [number(group) for group in self._each_group]
        if len(numbers) == 1:
            return self._column(numbers * len(self.steps))
        return self._column(numbers, self._group_of)

    def state_number(self, key: str) -> Tensor:
        """Return one of :attr:`ParameterState.numbers`; NaN for a row whose state lacks it.

        0 before the first step: nothing is known then, but the result multiplies the zeros that
        missing tensors are read as, and NaN would not leave them zero.
        """
        nan = float("nan")
        numbers = [0.0 if s is None else s.numbers.get(key, nan) for s in self.states]
        if all([number is nan for number in numbers]):
            return self.column(nan)
        if not any(
            isinstance(number, Tensor) and number.device.type != "cpu" for number in numbers
        ):
            return self._column([float(number) for number in numbers])
        return torch.stack([self._sent(number).reshape(()) for number in numbers])

    def gradient_sign(self) -> Tensor:
        """Return -1 for rows with the flag ``maximize``, else 1."""
        return self.by_group(_gradient_sign)

    def bias_correction(self, beta: Tensor, steps: Tensor | None = None) -> Tensor:
        """Return ``1 - beta^t``; 1 for a row that has taken no step."""
        steps = self.steps if steps is None else steps
        return torch.where(steps > 0, 1 - beta**steps, 1.0)

    def inverse_root(self, column: Tensor) -> Tensor:
        """Return 1 / √x."""
        return column.rsqrt()

    def _column(self, numbers: Sequence[float], chosen: Tensor | None = None) -> Tensor:
        column = torch.tensor(numbers, dtype=torch.float64, device="cpu")
        return on_device(column if chosen is None else column[chosen], self.steps.device)

    def _sent(self, number: Tensor | float) -> Tensor:
        """Return a number, or several, on the device of the steps, without waiting for CUDA."""
        device = self.steps.device
        if isinstance(number, Tensor):
            return on_device(number, device).to(torch.float64)
        return torch.full((), number, dtype=torch.float64, device=device)


class Columns(Protocol):
    """The interface of :class:`StepTable`, for tensors or arrays."""

    @property
    def steps(self) -> Any:
        """See :class:`StepTable`, as for the others."""

    def number(self, name: str) -> Any:
        """A hyperparameter."""

    def by_group(self, number: Callable[[GroupSettings], float]) -> Any:
        """A number from each group."""

    def gradient_sign(self) -> Any:
        """The sign given by the flag ``maximize``."""

    def bias_correction(self, beta: Any, steps: Any = None) -> Any:
        """``1 - beta^t``."""

    def inverse_root(self, column: Any) -> Any:
        """1 / √x."""


class _HostColumns:
    """The columns of a :class:`StepTable` as arrays; see there for the methods."""

    def __init__(self, groups: Sequence[GroupSettings], steps: npt.NDArray[np.float64]) -> None:
        self._groups = groups
        self.steps = steps

    def number(self, name: str) -> npt.NDArray[np.float64]:
        return self.by_group(lambda group: hyperparameter(group, name))

    def by_group(self, number: Callable[[GroupSettings], float]) -> npt.NDArray[np.float64]:
        return np.array([number(group) for group in self._groups])

    def gradient_sign(self) -> npt.NDArray[np.float64]:
        return self.by_group(_gradient_sign)

    def bias_correction(
        self, beta: npt.NDArray[np.float64], steps: npt.NDArray[np.float64] | None = None
    ) -> npt.NDArray[np.float64]:
        steps = self.steps if steps is None else steps
        # torch's power, whose last digit differs from NumPy's.
        power = torch.pow(torch.from_numpy(beta), torch.from_numpy(steps)).numpy()
        return np.where(steps > 0, 1 - power, 1.0)

    def inverse_root(self, column: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        inverse: npt.NDArray[np.float64] = 1 / np.sqrt(column)
        return inverse


def _gradient_sign(group: GroupSettings) -> float:
    return -1.0 if group.get("maximize") else 1.0


def _rows(
    groups: Sequence[GroupSettings], steps: Tensor
) -> tuple[list[int], npt.NDArray[np.int64]]:
    """Return which parameters are the first of their rows, and the row of each parameter."""
    ids = list(map(id, groups))
    counts = steps.numpy().view(np.int64)  # bitwise, because then NaN equals NaN
    if len(set(ids)) == 1 and (counts == counts[0]).all():
        return [0], np.zeros(len(ids), np.int64)
    index = {one: i for i, one in enumerate(dict.fromkeys(ids))}
    distinct, place = np.unique(counts, return_inverse=True)
    numbers = np.array([index[one] for one in ids]) * len(distinct) + place
    _, first, row_of = np.unique(numbers, return_index=True, return_inverse=True)
    return first.tolist(), row_of
