"""What the callback asks of an optimizer: the interface that every adapter fills.

An adapter explains the state of one family of optimizers in the terms of one formula, element by
element. With ``b`` the weight before the step, ``g`` the gradient as the step consumed it, ``m``
and ``v`` the moments after the step:

    g'        = gradient_sign · g + coupled_weight_decay · b
    m̂         = exp_avg_scale · m                                (bias-corrected)
    s         = exp_avg_sq_scale · √v                            (√v̂)
    direction = (numerator_exp_avg · m + numerator_gradient · g')
                / (denominator_root · s + denominator_constant)
    update    = -step_size · (direction + weight_decay · b)

:class:`Coefficients` holds the numbers, one of each per parameter. A family that does not fit
overrides :meth:`OptimizerState.root` or :meth:`OptimizerState.direction`; one whose update is no
function of each element alone sets ``update_is_known`` to False.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from tb_adam_plugin import schema

from ..memory.to_host import on_device
from . import undefined

GroupSettings = Mapping[str, Any]
# A tensor, or what makes one: a quantized state is unpacked only while it is read.
Source = Tensor | Callable[[], Tensor]


_NOTHING: Mapping[str, Any] = MappingProxyType({})


def _nothing() -> Mapping[str, Any]:
    """One empty mapping for all: a record has thousands of states with four of them."""
    return _NOTHING


@dataclass(slots=True)  # frozen would take three times as long to make, and many are made
class ParameterState:
    """What an optimizer keeps for one parameter, after a step. Every tensor has its shape.

    Attributes:
        exp_avg: The first moment, not bias-corrected; None where the family has none.
        exp_avg_sq: What the denominator is made of, not bias-corrected; None likewise.
        others: Further tensors, by the optimizer's own key.
        masks: Which elements the step moves, where it leaves some alone whatever the formula says:
            not 0, or 0; may be sparse. No state of the optimizer; :class:`Rows` has them, dense,
            among the others.
        step: How many steps this parameter has taken; a 0-dim tensor may live on any device. NaN
            where the optimizer does not count.
        numbers: Numbers beside the step that the formula needs, by the optimizer's own key.
        dtypes: In what each of the tensors is stored where :attr:`exp_avg` and the like do not say
            it themselves, as ``uint8`` for a quantized one: by "exp_avg", "exp_avg_sq" or key.
    """

    exp_avg: Source | None = None
    exp_avg_sq: Source | None = None
    others: Mapping[str, Source] = field(default_factory=_nothing)
    masks: Mapping[str, Source] = field(default_factory=_nothing)
    step: Tensor | float = 0
    numbers: Mapping[str, Tensor | float] = field(default_factory=_nothing)
    dtypes: Mapping[str, str] = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True)
class Coefficients:
    """The numbers of the formula.

    As an adapter makes them, float64 ``[parameters]`` on the device of the step counts; as
    :meth:`OptimizerState.root` and :meth:`OptimizerState.direction` get them, ``[rows, 1]`` in the
    dtype of the elements.

    Attributes:
        gradient_sign: -1 where the optimizer maximizes.
        coupled_weight_decay: What enters the gradient as ``coupled_weight_decay · b``.
        exp_avg_decay: ``m = exp_avg_decay · m_before + exp_avg_weight · g'``; NaN where exp_avg is
            no such average of gradients.
        exp_avg_weight: See there.
        exp_avg_scale: 1 / (1 - beta1^t) where the optimizer corrects the bias, else 1.
        exp_avg_sq_decay: ``v = exp_avg_sq_decay · v_before + exp_avg_sq_weight · g'²``; NaN where
            it is not made so.
        exp_avg_sq_weight: See there.
        exp_avg_sq_scale: 1 / √(1 - beta2^t) where the optimizer corrects the bias, else 1.
        exp_avg_sq_scale_before: The same of the step before; NaN at the first step.
        eps: What ``√v̂`` is compared with: the constant that is added to it.
        numerator_exp_avg: Of the direction.
        numerator_gradient: Of the direction.
        denominator_root: Of the direction: 1, or 0 where nothing is divided by √v̂.
        denominator_constant: Of the direction: eps, or 1.
        step_size: The learning rate with everything that scales the direction of all elements.
        weight_decay: Decoupled weight decay, as it stands beside the direction.
        own: Numbers that only the adapter itself knows the meaning of.
        constants: By name, those that are the same number for all parameters whatever happens.
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
    def of(table: StepTable, *, own: Any = None, **given: Tensor | float) -> Coefficients:
        """Fill in what is not given: plain gradient descent without moments.

        Args:
            table: The parameters.
            own: See the attributes: a mapping, or None for none.
            **given: Attributes by name, ``[parameters]``, or one number for all of them.
        """
        values: dict[str, Tensor | float] = {**_GRADIENT_DESCENT, **given}
        columns = {name: table.column(value) for name, value in values.items()}
        constants = {n: value for n, value in values.items() if not isinstance(value, Tensor)}
        return Coefficients(**columns, own=dict(own or {}), constants=constants)


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

    Attributes:
        groups: The group of each parameter.
        steps: Steps that each parameter has taken, float64 ``[parameters]``; NaN where not counted.
    """

    def __init__(
        self,
        groups: Sequence[GroupSettings],
        states: Sequence[ParameterState | None],
        steps: Tensor,
    ) -> None:
        """Look at some parameters.

        Args:
            groups: The group of each parameter.
            states: The state of each parameter; None before its first step.
            steps: float64 ``[parameters]``, where the optimizer keeps them.
        """
        self.groups = groups
        self.states = states
        self.steps = steps
        self._each_group = list({id(group): group for group in groups}.values())
        index = {id(group): i for i, group in enumerate(self._each_group)}
        self._group_of = torch.tensor(
            [index[id(group)] for group in groups], dtype=torch.int64, device="cpu"
        )

    def column(self, value: Tensor | float) -> Tensor:
        """Return a number, or one for each parameter, as float64 ``[parameters]``."""
        return self._sent(value).expand(self.steps.shape)

    def number(self, name: str) -> Tensor:
        """Return a hyperparameter of each parameter's group; ``beta1`` … are those of ``betas``.

        A flag is 1 or 0; what is missing or no number is NaN.
        """
        return self.by_group(lambda group: hyperparameter(group, name))

    def flag(self, name: str) -> Tensor:
        """Return whether each parameter's group has a flag set: bool ``[parameters]``."""
        return self.by_group(lambda group: float(bool(group.get(name)))) > 0

    def by_group(self, number: Callable[[GroupSettings], float]) -> Tensor:
        """Return a number that each parameter's group gives: float64 ``[parameters]``."""
        return self._column([number(group) for group in self._each_group], self._group_of)

    def state_number(self, key: str) -> Tensor:
        """Return one of :attr:`ParameterState.numbers`; NaN for a parameter without it."""
        nan = float("nan")
        numbers = [nan if s is None else s.numbers.get(key, nan) for s in self.states]
        if not any(
            isinstance(number, Tensor) and number.device.type != "cpu" for number in numbers
        ):
            return self._column([float(number) for number in numbers])
        return torch.stack([self._sent(number).reshape(()) for number in numbers])

    def gradient_sign(self) -> Tensor:
        """Return -1 for the parameters that the flag ``maximize`` is set for, else 1."""
        return 1 - 2 * self.flag("maximize").double()

    def bias_correction(self, beta: Tensor, steps: Tensor | None = None) -> Tensor:
        """Return ``1 - beta^t``; 1 for a parameter that has taken no step."""
        steps = self.steps if steps is None else steps
        return torch.where(steps > 0, 1 - beta**steps, 1.0)

    def _column(self, numbers: Sequence[float], chosen: Tensor | None = None) -> Tensor:
        column = torch.tensor(numbers, dtype=torch.float64, device="cpu")
        return on_device(column if chosen is None else column[chosen], self.steps.device)

    def _sent(self, number: Tensor | float) -> Tensor:
        """Return a number, or several, where the steps are, without waiting for CUDA."""
        device = self.steps.device
        if isinstance(number, Tensor):
            return on_device(number, device).to(torch.float64)
        return torch.full((), number, dtype=torch.float64, device=device)


@dataclass(frozen=True, slots=True)
class Rows:
    """Elements of many parameters, each tensor ``[rows, n]`` with zeros for padding.

    Attributes:
        before: Weight before the step.
        gradient: g' of the formula: signed, with coupled weight decay.
        exp_avg: m, or None.
        exp_avg_sq: v, or None.
        others: Those of the state and its masks, by key. Zeros for a parameter without one.
    """

    before: Tensor
    gradient: Tensor
    exp_avg: Tensor | None
    exp_avg_sq: Tensor | None
    others: Mapping[str, Tensor]


class OptimizerState(ABC):
    """Reads one optimizer. Nothing here changes it.

    Attributes:
        meanings: What exp_avg, exp_avg_sq and the other tensors of the state are, where the name
            alone would mislead.
        lacks: What this family does not have of what statistics need; see :meth:`lacks_in`.
        notice: What a user should know about the support of this optimizer, or None.
        update_is_known: Whether :meth:`direction` gives the update of each element.
        exp_avg_sq_is_root: Whether the optimizer keeps √v instead of v; then the tensor is squared
            when it is read.
        rounds_after_step: Whether a step uses the moments before it rounds them to what it stores.
            Then :class:`Rows` needs ``decay · before + weight · g'`` of the moments before the
            step wherever a moment is no tensor but made on demand.
        hyperparameter_names: Columns of the hyperparameters, the standard ones first.
    """

    meanings: Mapping[str, str] = {}
    lacks: tuple[schema.Need, ...] = ()
    notice: str | None = None
    update_is_known = True
    exp_avg_sq_is_root = False
    rounds_after_step = False

    def __init__(self, optimizer: Optimizer) -> None:
        """Read the state of ``optimizer``; its own numbers become hyperparameter columns."""
        self.optimizer = optimizer
        standard = schema.HYPERPARAMETERS.names
        numbers = [
            name
            for key, value in optimizer.defaults.items()
            for name in _names_of_numbers(key, value)
        ]
        own = [name for name in numbers if name not in standard]
        self.hyperparameter_names: tuple[str, ...] = (*standard, *own)

    def options(self, group: GroupSettings) -> dict[str, schema.Option]:
        """Settings of a group that are no numbers over time, as ``amsgrad``."""
        defaults = self.optimizer.defaults
        return {
            name: value
            for name, value in group.items()
            if name in defaults and isinstance(value, bool | str | None)
        }

    def hyperparameters(self, group: GroupSettings) -> list[float]:
        """Values of :attr:`hyperparameter_names` that a step now would use; NaN where unknown."""
        return [hyperparameter(group, name) for name in self.hyperparameter_names]

    def lacks_in(self, group: GroupSettings) -> tuple[schema.Need, ...]:
        """What the parameters of a group lack: :attr:`lacks`, more with some flags."""
        return self.lacks

    def undefined_in(self, group: GroupSettings) -> tuple[str, ...]:
        """Statistics and quantities that the parameters of a group do not have."""
        lacks = self.lacks_in(group)
        return undefined.without(lacks if self.update_is_known else (*lacks, "update"))

    def keeps_maximum(self, group: GroupSettings) -> bool:
        """Whether exp_avg_sq is the largest value that the average has had (amsgrad)."""
        return False

    def overwrites_gradient(self, group: GroupSettings) -> bool:
        """Whether ``step()`` changes ``.grad`` in place, so that it must be read before."""
        return False

    def before_step(self) -> None:  # noqa: B027 - most have nothing to remember
        """Remember numbers that the step will overwrite; called before a step that is recorded."""

    @abstractmethod
    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """The state of a parameter, or None before its first step."""

    @abstractmethod
    def coefficients(self, table: StepTable) -> Coefficients:
        """The numbers of the formula for the step that was just taken."""

    def root(self, rows: Rows, c: Coefficients, out: Tensor) -> Tensor:
        """Return √v̂ of each element, in ``out``; needs exp_avg_sq."""
        assert rows.exp_avg_sq is not None
        return torch.sqrt(rows.exp_avg_sq, out=out).mul_(c.exp_avg_sq_scale)

    def direction(self, rows: Rows, c: Coefficients, root: Tensor | None, out: Tensor) -> Tensor:
        """Return the direction of each element, in ``out``.

        Args:
            rows: What was read.
            c: The numbers, ``[rows, 1]``.
            root: From :meth:`root`; None where there is no exp_avg_sq.
            out: ``[rows, n]``, neither ``root`` nor one of ``rows``.
        """
        if (
            rows.exp_avg is not None
            and root is not None
            and c.constants.get("numerator_gradient") == 0
            and c.constants.get("denominator_root") == 1
        ):
            torch.add(root, c.denominator_constant, out=out)
            return torch.div(rows.exp_avg, out, out=out).mul_(c.numerator_exp_avg)
        denominator = c.denominator_constant
        if root is not None:
            denominator = torch.mul(root, c.denominator_root).add_(c.denominator_constant)
        torch.mul(rows.gradient, c.numerator_gradient, out=out)
        if rows.exp_avg is not None:
            out.addcmul_(rows.exp_avg, c.numerator_exp_avg)
        return out.div_(denominator)

    def follows_formula(self) -> bool:
        """Whether :meth:`root` and :meth:`direction` are those of the formula.

        At least for a parameter whose state has no further tensors.
        """
        own = type(self)
        return own.root is OptimizerState.root and own.direction is OptimizerState.direction

    def steps_taken(self) -> int | None:
        """The optimizer's own count of steps, or None if it keeps none. Reads from the device."""
        state = self.optimizer.state
        counts = [entry["step"] for entry in state.values() if "step" in entry]
        return max((int(count) for count in counts), default=None)


def hyperparameter(group: GroupSettings, name: str) -> float:
    """Return a number of a group; NaN where there is none.

    ``beta1`` … are those of ``betas``, ``eps1`` … of ``eps``, and so on for every tuple.
    """
    value = group.get(name)
    stem = name.rstrip("0123456789")
    if value is None and stem != name:
        values = group.get(f"{stem}s", group.get(stem))
        index = int(name[len(stem) :]) - 1
        if isinstance(values, tuple | list) and 0 <= index < len(values):
            value = values[index]
    return as_number(value)


def _names_of_numbers(key: str, value: object) -> list[str]:
    """Names under which :func:`hyperparameter` finds the numbers of a default."""
    if isinstance(value, tuple | list):
        stem = key if key == "eps" else key.removesuffix("s")
        return [f"{stem}{i}" for i in range(1, len(value) + 1)]
    return [key] if isinstance(value, int | float) and not isinstance(value, bool) else []


def as_number(value: object) -> float:
    """Return a hyperparameter, tensor or not, as a float; NaN for what is no number."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")


def read(source: Source) -> Tensor:
    """Return the tensor of a source."""
    return source if isinstance(source, Tensor) else source()
