"""Prodigy of pytorch_optimizer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer

from tb_adam_plugin import schema

from .adam import adam_moments
from .base import Rows
from .coefficients import Coefficients, StepTable
from .group_settings import GroupSettings
from .pytorch_optimizer import PytorchOptimizerState


class ProdigyState(PytorchOptimizerState):
    """Mishchenko & Defazio 2024, algorithm 4: Adam with a step size ``d · lr`` that it estimates.

    The moments hold gradients times ``d``. The step uses the old ``d`` for the step size and the
    new ``d`` with eps; the old one is lost unless :meth:`before_step` saved it, and then the update
    is unknown. Learning rate, betas and bias correction of the first group apply to all groups;
    coupled weight decay has no effect. With ``eps=None`` the quotient is atan2.
    """

    other_keys = ("s",)
    meanings: Mapping[str, str] = {
        "exp_avg": "average of gradients times d",
        "exp_avg_sq": "average of squared gradients times d²",
        "s": "average of gradients times d · step size / d0, from which d is estimated",
    }
    # Statistics with this need compare gradients with an average of them times d.
    lacks: tuple[schema.Need, ...] = ("mean of squares",)

    def __init__(self, optimizer: Optimizer) -> None:
        """Read the state of ``optimizer``."""
        super().__init__(optimizer)
        self._d = float("nan")

    def before_step(self) -> None:
        """Save d."""
        self._d = float(self.optimizer.param_groups[0]["d"])

    def coefficients(self, table: StepTable) -> Coefficients:
        """See the class."""
        first = self.optimizer.param_groups[0]
        # A view of all parameters as if in the first group, whose numbers apply.
        common = StepTable([first] * len(table.groups), (), table.steps, rows_of=table)
        lr, beta1, beta2 = (common.number(name) for name in ("lr", "beta1", "beta2"))
        corrects = common.flag("bias_correction")
        taken = table.column(self._steps_of(first))
        scale = torch.where(corrects, 1 / table.bias_correction(beta1, taken), 1.0)
        root_scale = torch.where(corrects, table.bias_correction(beta2, taken).rsqrt(), 1.0)
        before = torch.where(corrects, table.bias_correction(beta2, taken - 1).rsqrt(), 1.0)
        # Relative to √v̂ as it is scaled here. Without eps the direction is computed differently.
        eps = (table.number("eps") * table.number("d") * root_scale).nan_to_num(nan=0.0)
        without_eps = [float(group["eps"] is None) for group in table.groups]
        weight_decay = table.number("weight_decay") * table.flag("weight_decouple")
        fixed = weight_decay / (self._d * lr)
        moments = adam_moments(common)
        moments |= {
            "exp_avg_weight": self._d * (1 - beta1),
            "exp_avg_scale": scale,
            "exp_avg_sq_weight": self._d**2 * (1 - beta2),
            "exp_avg_sq_scale": root_scale,
            "exp_avg_sq_scale_before": before,
            "eps": eps,
            "numerator_exp_avg": scale,
            "denominator_constant": eps,
            "weight_decay": torch.where(
                table.flag("fixed_decay"), fixed, weight_decay * scale / root_scale
            ),
        }
        return Coefficients.of(
            table,
            own={"without_eps": table.column(torch.tensor(without_eps, device="cpu"))},
            **moments,
            gradient_sign=self.gradient_sign(),
            step_size=self._d * lr,
        )

    def direction(self, rows: Rows, c: Coefficients, root: Tensor | None, out: Tensor) -> Tensor:
        """Return the direction of each element, in ``out``."""
        super().direction(rows, c, root, out)
        assert rows.exp_avg is not None
        assert root is not None
        angle = torch.atan2(rows.exp_avg, root / c.exp_avg_sq_scale)
        angle.mul_(c.exp_avg_scale / c.exp_avg_sq_scale)
        return torch.where(c.own["without_eps"] > 0, angle, out, out=out)

    def _steps_of(self, group: GroupSettings) -> float:
        return float(group["step"]) - 1  # it starts at 1
