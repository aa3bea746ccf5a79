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
    """Adam by the optimizer's ``adam_w_mode`` coupled or decoupled, bias correction optional."""

    def coefficients(self, table: StepTable) -> Coefficients:
        """Adam's, without bias correction where a group says so."""
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
        """The parameter's state, or None if no step has given it one yet."""
        state = self.optimizer.state.get(parameter)
        if not state:
            return None
        step = self._step_of(parameter, group)
        return ParameterState(state["exp_avg"], state["exp_avg_sq"], step=step)

    @abstractmethod
    def _step_of(self, parameter: Tensor, group: GroupSettings) -> Tensor | float:
        """The step whose bias the last step corrected."""

    def _is_decoupled(self, group: GroupSettings) -> bool:
        return bool(getattr(self.optimizer, "adam_w_mode", True))


class ApexFusedAdamState(FusedAdamState):
    """apex.optimizers.FusedAdam: the group counts the steps."""

    def steps_taken(self) -> int | None:
        """Steps of the group that has taken most."""
        return max((int(g.get("step", 0)) for g in self.optimizer.param_groups), default=None)

    def _step_of(self, parameter: Tensor, group: GroupSettings) -> Tensor | float:
        step: Tensor | float = group["step"]
        return step


class DeepSpeedFusedAdamState(FusedAdamState):
    """deepspeed.ops.adam.FusedAdam: one parameter of a group counts the steps for all.

    It is the last one that has a gradient. Of a group with parameters of several types the count is
    not known exactly.
    """

    def _step_of(self, parameter: Tensor, group: GroupSettings) -> Tensor | float:
        state = self.optimizer.state
        counting = (p for p in reversed(group["params"]) if p.grad is not None and state.get(p))
        step: float = state[next(counting, parameter)]["step"]
        return step


class DeepSpeedCPUAdamState(FusedAdamState):
    """deepspeed.ops.adam.DeepSpeedCPUAdam: each parameter counts its steps."""

    def _step_of(self, parameter: Tensor, group: GroupSettings) -> Tensor | float:
        step: float = self.optimizer.state[parameter]["step"]
        return step
