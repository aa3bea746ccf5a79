"""SophiaH of pytorch_optimizer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tb_adam_plugin import schema

from .base import Rows
from .coefficients import Coefficients, StepTable
from .pytorch_optimizer import PytorchOptimizerState, weight_decay_of


class SophiaState(PytorchOptimizerState):
    """Liu et al. 2024, algorithm 3: exp_avg over an estimate of the Hessian's diagonal, clipped.

    The estimate may be negative and is the divisor itself, without a root: it is not an exp_avg_sq.
    """

    exp_avg_key = "momentum"
    exp_avg_sq_key = None
    other_keys = ("hessian_moment", "hessian")
    meanings: Mapping[str, str] = {
        "exp_avg": "momentum: average of gradients",
        "hessian_moment": "average of estimates of the Hessian's diagonal, the denominator",
        "hessian": "the last estimate of the Hessian's diagonal",
    }
    lacks: tuple[schema.Need, ...] = ("exp_avg_sq",)

    def coefficients(self, table: StepTable) -> Coefficients:
        """See the class."""
        beta1 = table.number("beta1")
        return Coefficients.of(
            table,
            own={"smallest": table.number("eps"), "largest": table.number("p")},
            gradient_sign=self.gradient_sign(),
            exp_avg_decay=beta1,
            exp_avg_weight=1 - beta1,
            numerator_exp_avg=1.0,
            numerator_gradient=0.0,
            step_size=self.step_size(table),
            **weight_decay_of(table),
        )

    def direction(self, rows: Rows, c: Coefficients, root: Tensor | None, out: Tensor) -> Tensor:
        """Return the clipped quotient, in ``out``."""
        assert rows.exp_avg is not None
        denominator = torch.maximum(rows.others["hessian_moment"], c.own["smallest"])
        torch.div(rows.exp_avg, denominator, out=out)
        largest = c.own["largest"]
        return out.clamp_(-largest, largest)
