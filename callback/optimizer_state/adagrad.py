"""torch.optim.Adagrad, with every flag."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from tb_adam_plugin import schema

from .base import OptimizerState
from .coefficients import Coefficients, StepTable
from .group_settings import GroupSettings
from .parameter_state import ParameterState


class AdagradState(OptimizerState):
    """State of Adagrad, as torch/optim/adagrad.py keeps it: it exists from step 0."""

    meanings: Mapping[str, str] = {"exp_avg_sq": "sum of the squared gradients, which never decays"}
    lacks: tuple[schema.Need, ...] = ("exp_avg", "mean of squares", "shrinking exp_avg_sq")

    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """The parameter's state, or None if it was added later and has taken no step yet."""
        state = self.optimizer.state.get(parameter)
        return ParameterState(exp_avg_sq=state["sum"], step=state["step"]) if state else None

    def coefficients(self, table: StepTable) -> Coefficients:
        """Duchi et al. 2011, with a learning rate that decays by ``lr_decay``."""
        eps = table.number("eps")
        return Coefficients.of(
            table,
            gradient_sign=table.gradient_sign(),
            coupled_weight_decay=table.number("weight_decay"),
            exp_avg_sq_decay=1.0,
            exp_avg_sq_weight=1.0,
            eps=eps,
            denominator_root=1.0,
            denominator_constant=eps,
            step_size=table.number("lr") / (1 + (table.steps - 1) * table.number("lr_decay")),
        )
