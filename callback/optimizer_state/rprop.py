"""torch.optim.Rprop, with every flag."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tb_adam_plugin import schema

from .base import OptimizerState, Rows
from .coefficients import Coefficients, StepTable
from .group_settings import GroupSettings
from .parameter_state import ParameterState


class RpropState(OptimizerState):
    """State of Rprop, as torch/optim/rprop.py keeps it: only the gradient's sign counts.

    The learning rate is only the initial step size of every element.
    """

    meanings: Mapping[str, str] = {
        "prev": "gradient of this step, 0 where its sign has changed",
        "step_size": "how far an element moves",
    }
    lacks: tuple[schema.Need, ...] = ("exp_avg", "exp_avg_sq")

    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """The parameter's state, or None before its first step."""
        state = self.optimizer.state.get(parameter)
        if not state:
            return None
        others = {key: state[key] for key in ("prev", "step_size")}
        return ParameterState(others=others, step=state["step"])

    def coefficients(self, table: StepTable) -> Coefficients:
        """Riedmiller & Braun 1993, without backtracking where the sign changes."""
        return Coefficients.of(table, gradient_sign=table.gradient_sign(), step_size=1.0)

    def direction(self, rows: Rows, c: Coefficients, root: Tensor | None, out: Tensor) -> Tensor:
        """The step size of each element, with the sign of its gradient."""
        return torch.sign(rows.others["prev"], out=out).mul_(rows.others["step_size"])
