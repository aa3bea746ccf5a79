"""torch.optim.Adadelta, with every flag."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tb_adam_plugin import schema

from .base import OptimizerState, Rows
from .coefficients import Coefficients, StepTable
from .group_settings import GroupSettings
from .parameter_state import ParameterState


class AdadeltaState(OptimizerState):
    """State of Adadelta, as torch/optim/adadelta.py keeps it.

    The step length comes from acc_delta before the step, which the step overwrites. With
    ``a`` = acc_delta after it and ``δ`` the direction, ``δ² = (a_before + ε) g'² / (v + ε)`` and
    ``a = ρ a_before + (1 - ρ) δ²`` give ``δ² = g'² (a + ρ ε) / (ρ (v + ε) + (1 - ρ) g'²)``.
    """

    meanings: Mapping[str, str] = {
        "exp_avg_sq": "square_avg, without bias correction",
        "acc_delta": "average of the squared updates before lr",
    }
    lacks: tuple[schema.Need, ...] = ("exp_avg",)

    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """The parameter's state, or None before its first step."""
        state = self.optimizer.state.get(parameter)
        if not state:
            return None
        return ParameterState(
            exp_avg_sq=state["square_avg"],
            others={"acc_delta": state["acc_delta"]},
            step=state["step"],
        )

    def coefficients(self, table: StepTable) -> Coefficients:
        """Zeiler 2012, algorithm 1; eps is inside the roots, so √v is compared with √eps."""
        rho, eps = table.number("rho"), table.number("eps")
        return Coefficients.of(
            table,
            own={"rho": rho, "eps": eps},
            gradient_sign=table.gradient_sign(),
            coupled_weight_decay=table.number("weight_decay"),
            exp_avg_sq_decay=rho,
            exp_avg_sq_weight=1 - rho,
            eps=eps.sqrt(),
            step_size=table.number("lr"),
        )

    def direction(self, rows: Rows, c: Coefficients, root: Tensor | None, out: Tensor) -> Tensor:
        """The formula of the class: it subtracts nothing, so no digits are lost."""
        assert rows.exp_avg_sq is not None
        rho, eps, g = c.own["rho"], c.own["eps"], rows.gradient
        denominator = torch.mul(rows.exp_avg_sq + eps, rho).addcmul_(g * g, 1 - rho)
        # 0 only if the gradient is 0 and rho = 0.
        denominator.clamp_(min=torch.finfo(out.dtype).tiny)
        torch.add(rows.others["acc_delta"], rho * eps, out=out)
        return out.div_(denominator).sqrt_().mul_(g)
