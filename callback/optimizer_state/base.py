"""What the callback asks of an optimizer: the interface that every adapter fills."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from tb_adam_plugin import schema

GroupSettings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Moments:
    """The state of one parameter after a step.

    Attributes:
        exp_avg: Average of gradients, not bias-corrected. Shape of the parameter.
        exp_avg_sq: Average of squared gradients that the denominator is made of, not
            bias-corrected. Shape of the parameter.
        step: How many steps this parameter has taken; a 0-dim tensor may live on any device.
    """

    exp_avg: Tensor
    exp_avg_sq: Tensor
    step: Tensor | float


@dataclass(frozen=True, slots=True)
class Formula:
    """How a parameter group turned gradients into an update at this step.

    With ``g' = gradient_sign · g + coupled_weight_decay · w``, exp_avg averages ``g'`` with
    ``beta1`` and exp_avg_sq averages ``g'²`` with ``beta2``. Bias corrections are ``1 - beta^t``.
    The update is ``-lr · (m̂ / (√v̂ + eps) + decoupled_weight_decay · w)``. Where ``keeps_maximum``
    is set, exp_avg_sq is the largest value that the average has had (amsgrad).
    """

    beta1: float
    beta2: float
    eps: float
    gradient_sign: float = 1.0
    coupled_weight_decay: float = 0.0
    decoupled_weight_decay: float = 0.0
    keeps_maximum: bool = False


class OptimizerState(ABC):
    """Reads one optimizer. Nothing here changes it.

    Attributes:
        undefined: Statistics and quantities that this family of optimizers does not have.
        notice: What a user should know about the support of this optimizer, or None.
        hyperparameter_names: Columns of the hyperparameters, the standard ones first.
    """

    undefined: tuple[str, ...] = ()
    notice: str | None = None
    hyperparameter_names: tuple[str, ...] = schema.HYPERPARAMETERS.names

    def __init__(self, optimizer: Optimizer) -> None:
        """Read the state of ``optimizer``."""
        self.optimizer = optimizer

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
        betas = group.get("betas", ())
        values = {**group, **{f"beta{i}": beta for i, beta in enumerate(betas, 1)}}
        return [as_number(values.get(name)) for name in self.hyperparameter_names]

    @abstractmethod
    def formula(self, group: GroupSettings) -> Formula | None:
        """The formula of a group's step, or None for an optimizer of unknown formula."""

    @abstractmethod
    def moments(self, parameter: Tensor, group: GroupSettings) -> Moments | None:
        """The moments of a parameter, or None before its first step or where there are none."""

    def steps_taken(self) -> int | None:
        """The optimizer's own count of steps, or None if it keeps none. Reads from the device."""
        state = self.optimizer.state
        counts = [entry["step"] for entry in state.values() if "step" in entry]
        return max((int(count) for count in counts), default=None)


def as_number(value: object) -> float:
    """Return a hyperparameter, tensor or not, as a float; NaN for what is no number."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")
