"""torch.optim.LBFGS."""

from __future__ import annotations

from torch import Tensor

from tb_adam_plugin import schema

from .base import OptimizerState
from .coefficients import Coefficients, StepTable
from .group_settings import GroupSettings
from .parameter_state import ParameterState


class LBFGSState(OptimizerState):
    """State of LBFGS, as torch/optim/lbfgs.py keeps it, in the first parameter's state.

    Nothing in it has the shape of a parameter. One step makes several updates along directions that
    depend on all parameters: their sum is only measured.
    """

    lacks: tuple[schema.Need, ...] = ("exp_avg", "exp_avg_sq", "step count")
    update_is_known = False

    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """The same for every parameter: whether there was a step, or None."""
        found = self.optimizer.state.get(group["params"][0])
        return ParameterState(step=float("nan")) if found else None

    def coefficients(self, table: StepTable) -> Coefficients:
        """Not element-wise; under ``maximize`` the gradient is negated."""
        return Coefficients.of(table, gradient_sign=table.gradient_sign())
