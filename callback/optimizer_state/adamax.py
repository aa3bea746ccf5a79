"""torch.optim.Adamax, with every flag."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from tb_adam_plugin import schema

from .adam import adam_moments
from .base import OptimizerState
from .coefficients import Coefficients, StepTable
from .group_settings import GroupSettings
from .parameter_state import ParameterState


class AdamaxState(OptimizerState):
    """State of Adamax, as torch/optim/adamax.py keeps it.

    exp_inf is the denominator as it is: it includes eps, and so it is never 0.
    """

    meanings: Mapping[str, str] = {
        "exp_avg_sq": "square of exp_inf, the decaying maximum of |gradient| + eps"
    }
    lacks: tuple[schema.Need, ...] = ("exp_avg_sq decay", "exp_avg_sq of 0")
    exp_avg_sq_is_root = True

    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """The parameter's state, or None before its first step."""
        state = self.optimizer.state.get(parameter)
        if not state:
            return None
        return ParameterState(state["exp_avg"], state["exp_inf"], step=state["step"])

    def coefficients(self, table: StepTable) -> Coefficients:
        """Kingma & Ba 2015, algorithm 2."""
        moments = adam_moments(table)
        first = ("exp_avg_decay", "exp_avg_weight", "exp_avg_scale", "numerator_exp_avg", "eps")
        return Coefficients.of(
            table,
            **{name: moments[name] for name in first},
            gradient_sign=table.gradient_sign(),
            coupled_weight_decay=table.number("weight_decay"),
            numerator_gradient=0.0,
            denominator_root=1.0,
            denominator_constant=0.0,
            step_size=table.number("lr"),
        )
