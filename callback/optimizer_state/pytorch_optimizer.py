"""Common base of the adapters for the package pytorch_optimizer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tb_adam_plugin import schema

from .base import OptimizerState
from .coefficients import StepTable
from .group_settings import GroupSettings, as_number
from .parameter_state import ParameterState

_NAN = float("nan")


class PytorchOptimizerState(OptimizerState):
    """State of an optimizer of pytorch_optimizer 4.

    The groups count the steps, ``maximize`` is an attribute of the optimizer, and changes to the
    gradient are made in ``.grad`` itself.

    Attributes:
        exp_avg_key: Key of the first moment; None without one.
        exp_avg_sq_key: Key of the denominator's tensor; None without one.
        other_keys: Keys of other state tensors.
        number_keys: Keys of state numbers that the formula needs.
        whole_tensor_flags: Settings with which the update of an element depends on the whole
            tensor. The step size is then NaN.
    """

    exp_avg_key: str | None = "exp_avg"
    exp_avg_sq_key: str | None = "exp_avg_sq"
    other_keys: tuple[str, ...] = ()
    number_keys: tuple[str, ...] = ()
    whole_tensor_flags: tuple[str, ...] = ()

    def options(self, group: GroupSettings) -> dict[str, schema.Option]:
        """Settings of a group, with the optimizer's ``maximize``."""
        return {**super().options(group), "maximize": self._maximizes()}

    def lacks_in(self, group: GroupSettings) -> tuple[schema.Need, ...]:
        """No requested update if it depends on the whole tensor."""
        return (*self.lacks, "update") if self._depends_on_whole_tensor(group) else self.lacks

    def overwrites_gradient(self, group: GroupSettings) -> bool:
        """Under ``maximize``, and with weight decay added to the gradient."""
        return self._maximizes() or (
            as_number(group.get("weight_decay")) > 0 and not group.get("weight_decouple", True)
        )

    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """The parameter's state, or None before its first step."""
        state = self.optimizer.state.get(parameter)
        if not state:
            return None
        first, second = self.exp_avg_key, self._second_key(group)
        return ParameterState(
            None if first is None else state[first],
            None if second is None else state[second],
            {key: state[key] for key in self.other_keys if key in state},
            step=self._steps_of(group),
            numbers={key: state[key] for key in self.number_keys if key in state},
        )

    def keeps_maximum(self, group: GroupSettings) -> bool:
        """The package calls it ``ams_bound``."""
        return bool(group.get("ams_bound"))

    def steps_taken(self) -> int | None:
        """Steps of the group that has taken the most."""
        counts = [self._steps_of(group) for group in self.optimizer.param_groups]
        return max(map(int, counts), default=None)

    def gradient_sign(self) -> float:
        """-1 if the optimizer maximizes."""
        return -1.0 if self._maximizes() else 1.0

    def step_size(self, table: StepTable) -> Tensor:
        """The learning rate; NaN if the update of an element is unknown."""
        whole = [_NAN if self._depends_on_whole_tensor(group) else 0.0 for group in table.groups]
        return table.number("lr") + table.column(torch.tensor(whole, device="cpu"))

    def rectification(self, table: StepTable) -> tuple[Tensor, Tensor]:
        """Return RAdam's factor of the step, and whether the step divides by √v.

        Liu et al. 2020, algorithm 2; 1 and True without the setting ``rectify``. A factor of 0
        means that no step is taken.

        Args:
            table: A table with the hyperparameter ``betas``.

        Returns:
            float64 and bool ``[parameters]``.
        """
        optimizer: Any = self.optimizer
        beta2 = table.number("beta2")
        longest = 2 / (1 - beta2) - 1
        correction = table.bias_correction(beta2)
        length = longest - 2 * table.steps * (1 - correction) / correction
        factor = torch.sqrt(
            correction
            * ((length - 4) / (longest - 4))
            * ((length - 2) / (longest - 2))
            * (longest / length)
        )
        rectifies = table.flag("rectify")
        divides = ~rectifies | (length >= optimizer.n_sma_threshold)
        short = 1.0 if optimizer.degenerated_to_sgd else 0.0
        return torch.where(rectifies, torch.where(divides, factor, short), 1.0), divides

    def _second_key(self, group: GroupSettings) -> str | None:
        key = self.exp_avg_sq_key
        return f"max_{key}" if key is not None and self.keeps_maximum(group) else key

    def _steps_of(self, group: GroupSettings) -> float:
        return float(group.get("step", 0))

    def _maximizes(self) -> bool:
        return bool(getattr(self.optimizer, "maximize", False))

    def _depends_on_whole_tensor(self, group: GroupSettings) -> bool:
        return any(group.get(flag) for flag in self.whole_tensor_flags)


def weight_decay_of(table: StepTable, scale: Tensor | float = 1.0) -> dict[str, Tensor]:
    """Return the coefficients of weight decay for a step size of ``lr · scale``.

    It is decoupled by ``weight_decouple``; ``fixed_decay`` does not multiply it by the learning
    rate.
    """
    weight_decay = table.number("weight_decay")
    decoupled = table.flag("weight_decouple")
    beside = torch.where(table.flag("fixed_decay"), weight_decay / table.number("lr"), weight_decay)
    return {
        "coupled_weight_decay": torch.where(decoupled, 0.0, weight_decay),
        "weight_decay": torch.where(decoupled, beside / scale, 0.0),
    }


def nan_where(flag: Tensor, value: Tensor) -> Tensor:
    """Return ``value``, NaN where a flag is set."""
    return torch.where(flag, _NAN, value)
