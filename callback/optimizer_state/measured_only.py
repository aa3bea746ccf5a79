"""Any optimizer with an unknown formula: its update is measured, its state not interpreted."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.optim import Optimizer

from tb_adam_plugin import schema

from .base import OptimizerState
from .coefficients import Coefficients, StepTable
from .group_settings import GroupSettings
from .parameter_state import ParameterState


class MeasuredOnly(OptimizerState):
    """Weight, gradient, the measured update, and the state's tensors under their own keys."""

    lacks: tuple[schema.Need, ...] = ("exp_avg", "exp_avg_sq")
    update_is_known = False

    def __init__(self, optimizer: Optimizer) -> None:
        """Set the notice."""
        super().__init__(optimizer)
        self.notice = (
            f"{type(optimizer).__name__} is not a known optimizer: updates, weights, gradients and "
            "the tensors of its state are recorded as they are, without exp_avg and exp_avg_sq"
        )

    def overwrites_gradient(self, group: GroupSettings) -> bool:
        """Unknown, so assumed: some optimizers write decay or momentum into ``.grad``."""
        return True

    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """All tensors of the parameter's shape."""
        state = self.optimizer.state.get(parameter)
        if not state:
            return None
        return ParameterState(others=tensors_like(parameter, state), step=_steps_of(state))

    def coefficients(self, table: StepTable) -> Coefficients:
        """Unknown."""
        return Coefficients.of(table)


def _steps_of(state: GroupSettings) -> Tensor | float:
    """The step count of a state; NaN if it has no number of that name."""
    step = state.get("step", math.nan)
    if isinstance(step, Tensor):
        return step if step.numel() == 1 and not step.is_complex() else math.nan
    return step if isinstance(step, int | float) else math.nan


def tensors_like(parameter: Tensor, state: GroupSettings) -> dict[str, Tensor]:
    """Return the dense tensors of a state with the parameter's shape, complex if it is."""
    return {
        key: value
        for key, value in state.items()
        if isinstance(value, Tensor)
        and (value.is_complex() if parameter.is_complex() else value.is_floating_point())
        and value.layout == torch.strided
        and value.shape == parameter.shape
        and value.dim() > 0
    }
