"""torch.optim.Muon, with every flag."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from tb_adam_plugin import schema

from .base import OptimizerState
from .coefficients import Coefficients, StepTable
from .group_settings import GroupSettings
from .parameter_state import ParameterState


class MuonState(OptimizerState):
    """State of Muon, as torch/optim/_muon.py keeps it. Steps are not counted.

    The momentum is orthogonalized as a whole matrix: the update of an element is only measured.
    """

    meanings: Mapping[str, str] = {
        "exp_avg": "momentum_buffer: average of gradients, without bias correction"
    }
    lacks: tuple[schema.Need, ...] = ("exp_avg_sq", "step count")
    update_is_known = False

    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """The parameter's state, or None before its first step."""
        state = self.optimizer.state.get(parameter)
        return ParameterState(state["momentum_buffer"], step=float("nan")) if state else None

    def coefficients(self, table: StepTable) -> Coefficients:
        """Jordan 2024, with momentum as an average."""
        momentum = table.number("momentum")
        return Coefficients.of(table, exp_avg_decay=momentum, exp_avg_weight=1 - momentum)
