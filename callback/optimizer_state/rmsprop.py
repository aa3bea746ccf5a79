"""torch.optim.RMSprop: plain, with momentum, centered, with every flag."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tb_adam_plugin import schema

from .base import OptimizerState, Rows
from .coefficients import Coefficients, StepTable
from .group_settings import GroupSettings
from .parameter_state import ParameterState


class RMSpropState(OptimizerState):
    """State of RMSprop, as torch/optim/rmsprop.py keeps it.

    Momentum accumulates gradients that are already divided: its buffer is the direction, not an
    average of gradients. Under ``centered`` the root is that of ``square_avg - grad_avg²``.
    """

    meanings: Mapping[str, str] = {
        "exp_avg_sq": "square_avg, without bias correction",
        "momentum_buffer": "sum of gradients divided by the denominator, decaying by momentum",
        "grad_avg": "average of gradients; its square is subtracted from square_avg",
    }
    lacks: tuple[schema.Need, ...] = ("exp_avg",)

    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """The parameter's state, or None before its first step."""
        state = self.optimizer.state.get(parameter)
        if not state:
            return None
        used = {"momentum_buffer": group["momentum"] > 0, "grad_avg": group["centered"]}
        return ParameterState(
            exp_avg_sq=state["square_avg"],
            others={key: state[key] for key, is_used in used.items() if is_used},
            step=state["step"],
        )

    def coefficients(self, table: StepTable) -> Coefficients:
        """Tieleman & Hinton 2012, lecture 6.5; centered as in Graves 2013."""
        alpha, eps = table.number("alpha"), table.number("eps")
        return Coefficients.of(
            table,
            own={"has_momentum": (table.number("momentum") > 0).double()},
            gradient_sign=table.gradient_sign(),
            coupled_weight_decay=table.number("weight_decay"),
            exp_avg_sq_decay=alpha,
            exp_avg_sq_weight=1 - alpha,
            eps=eps,
            denominator_root=1.0,
            denominator_constant=eps,
            step_size=table.number("lr"),
        )

    def follows_formula(self) -> bool:
        """True without momentum and ``centered``: then there are no other tensors."""
        return True

    def root(self, rows: Rows, c: Coefficients, out: Tensor) -> Tensor:
        """The root of the variance under ``centered``, else of the second moment."""
        average = rows.others.get("grad_avg")
        if average is None:
            return super().root(rows, c, out)
        assert rows.exp_avg_sq is not None
        torch.addcmul(rows.exp_avg_sq, average, average, value=-1, out=out)
        # Rounding can make a variance of 0 negative.
        return out.clamp_(min=0).sqrt_()

    def direction(self, rows: Rows, c: Coefficients, root: Tensor | None, out: Tensor) -> Tensor:
        """The momentum buffer if there is one, else the divided gradient."""
        super().direction(rows, c, root, out)
        buffer = rows.others.get("momentum_buffer")
        if buffer is None:
            return out
        return out.copy_(torch.where(c.own["has_momentum"] > 0, buffer, out))
