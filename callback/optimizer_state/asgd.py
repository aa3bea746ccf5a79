"""torch.optim.ASGD, with every flag."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer

from tb_adam_plugin import schema

from .base import OptimizerState
from .coefficients import Coefficients, StepTable
from .group_settings import GroupSettings
from .parameter_state import ParameterState


class ASGDState(OptimizerState):
    """State of ASGD, as torch/optim/asgd.py keeps it.

    A step uses the step size ``eta`` left by the previous step, and then overwrites it. If
    :meth:`before_step` did not see it, it is computed assuming that the learning rate has not
    changed.
    """

    meanings: Mapping[str, str] = {"ax": "average of the weights"}
    lacks: tuple[schema.Need, ...] = ("exp_avg", "exp_avg_sq")

    def __init__(self, optimizer: Optimizer) -> None:
        """Read the state of ``optimizer``."""
        super().__init__(optimizer)
        self._eta: dict[int, Tensor] = {}  # by the id of the parameter

    def before_step(self) -> None:
        """Remember ``eta`` of every parameter."""
        self._eta = {
            id(parameter): state["eta"].clone()
            for parameter, state in self.optimizer.state.items()
            if "eta" in state
        }

    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """The parameter's state, or None before its first step."""
        state = self.optimizer.state.get(parameter)
        if not state:
            return None
        eta = self._eta.get(id(parameter))
        return ParameterState(
            others={"ax": state["ax"]},
            step=state["step"],
            numbers={} if eta is None else {"eta_before": eta},
        )

    def coefficients(self, table: StepTable) -> Coefficients:
        """Polyak & Juditsky 1992; ``lambd`` is decoupled weight decay."""
        lr, lambd = table.number("lr"), table.number("lambd")
        computed = lr / (1 + lambd * lr * (table.steps - 1)) ** table.number("alpha")
        eta = table.state_number("eta_before")
        return Coefficients.of(
            table,
            gradient_sign=table.gradient_sign(),
            coupled_weight_decay=table.number("weight_decay"),
            step_size=torch.where(eta.isnan(), computed, eta),
            weight_decay=lambd,
        )
