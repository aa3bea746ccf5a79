"""torch.optim.Adafactor, with every flag."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tb_adam_plugin import schema

from .base import OptimizerState
from .coefficients import Coefficients, StepTable
from .factored import Factored
from .group_settings import GroupSettings
from .parameter_state import ParameterState

_NAN = float("nan")


class AdafactorState(OptimizerState):
    """State of Adafactor, as torch/optim/_adafactor.py keeps it.

    The step size depends on the RMS of the whole weight and of the whole update: the update of an
    element is only measured. The second moment of tensors with two or more dimensions is stored as
    its means over rows and over columns; it is computed from them on reading.
    """

    meanings: Mapping[str, str] = {
        "exp_avg_sq": "estimate from row_var and col_var; for vectors the average itself, variance"
    }
    lacks: tuple[schema.Need, ...] = ("exp_avg",)
    update_is_known = False

    def lacks_in(self, group: GroupSettings) -> tuple[schema.Need, ...]:
        """A matrix's estimate is not an average that decays by a fixed factor per step."""
        if any(parameter.dim() < 2 for parameter in group["params"]):
            return self.lacks
        return (*self.lacks, "stored exp_avg_sq")

    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """The parameter's state, or None before its first step."""
        state = self.optimizer.state.get(parameter)
        if not state:
            return None
        eps = group["eps"][0]
        eps = torch.finfo(parameter.dtype).eps if eps is None else eps
        if "variance" in state:
            return ParameterState(
                exp_avg_sq=state["variance"],
                step=state["step"],
                numbers={"eps": eps, "is_factored": 0.0},
            )
        row, column = state["row_var"], state["col_var"]
        return ParameterState(
            exp_avg_sq=_estimate(row, column, eps),
            step=state["step"],
            numbers={"eps": eps, "is_factored": 1.0},
            dtypes={"exp_avg_sq": str(row.dtype).removeprefix("torch.")},
        )

    def coefficients(self, table: StepTable) -> Coefficients:
        """Shazeer & Stern 2018, algorithms 4 and 5; √v is bounded below by eps."""
        weight = table.steps ** table.number("beta2_decay")
        is_factored = table.state_number("is_factored") > 0
        return Coefficients.of(
            table,
            gradient_sign=table.gradient_sign(),
            exp_avg_sq_decay=torch.where(is_factored, _NAN, 1 - weight),
            exp_avg_sq_weight=torch.where(is_factored, _NAN, weight),
            eps=table.state_number("eps"),
        )


def _estimate(row: Tensor, column: Tensor, eps: float) -> Factored:
    """Return the second moment of each element from the means over rows and columns."""
    return Factored(row.squeeze(-1), column.squeeze(-2), row.mean(-2).clamp_(min=eps))
