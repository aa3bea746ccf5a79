"""FusedAdam of Apex and DeepSpeed, and DeepSpeed's CPU Adam."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from .adam import AdamState
from .coefficients import Coefficients, StepTable
from .group_settings import GroupSettings
from .parameter_state import ParameterState


class FusedAdamState(AdamState):
    """Adam, coupled or decoupled by the optimizer's ``adam_w_mode``, bias correction optional."""

    def coefficients(self, table: StepTable) -> Coefficients:
        """Adam's coefficients, without bias correction if a group disables it."""
        c = super().coefficients(table)
        (corrects,) = table.of_parameters([table.flag("bias_correction").double()])

        def where_corrected(scale: Tensor) -> Tensor:
            return torch.where(corrects > 0, scale, 1.0)

        return replace(
            c,
            exp_avg_scale=where_corrected(c.exp_avg_scale),
            exp_avg_sq_scale=where_corrected(c.exp_avg_sq_scale),
            exp_avg_sq_scale_before=where_corrected(c.exp_avg_sq_scale_before),
            numerator_exp_avg=where_corrected(c.numerator_exp_avg),
        )

    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """The parameter's state, or None before its first step."""
        state = self.optimizer.state.get(parameter)
        if not state:
            return None
        step = self._step_of(parameter, group)
        return ParameterState(state["exp_avg"], state["exp_avg_sq"], step=step)

    @abstractmethod
    def _step_of(self, parameter: Tensor, group: GroupSettings) -> Tensor | float:
        """The step count used by the last step's bias correction."""

    def _is_decoupled(self, group: GroupSettings) -> bool:
        return bool(getattr(self.optimizer, "adam_w_mode", True))


class ApexFusedAdamState(FusedAdamState):
    """apex.optimizers.FusedAdam: the group counts the steps."""

    def steps_taken(self) -> int | None:
        """Steps of the group that has taken the most."""
        return max((int(g.get("step", 0)) for g in self.optimizer.param_groups), default=None)

    def _step_of(self, parameter: Tensor, group: GroupSettings) -> Tensor | float:
        step: Tensor | float = group["step"]
        return step


class DeepSpeedFusedAdamState(FusedAdamState):
    """deepspeed.ops.adam.FusedAdam: one parameter of a group counts the steps for all.

    It is the last one that has a gradient. If a group has parameters of several types, the count is
    not known exactly.
    """

    def _step_of(self, parameter: Tensor, group: GroupSettings) -> Tensor | float:
        state = self.optimizer.state
        counting = (p for p in reversed(group["params"]) if p.grad is not None and state.get(p))
        step: float = state[next(counting, parameter)]["step"]
        return step


class DeepSpeedCPUAdamState(FusedAdamState):
    """deepspeed.ops.adam.DeepSpeedCPUAdam: each parameter has its own step count."""

    def _step_of(self, parameter: Tensor, group: GroupSettings) -> Tensor | float:
        step: float = self.optimizer.state[parameter]["step"]
        return step
