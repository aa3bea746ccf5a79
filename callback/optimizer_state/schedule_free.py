"""ScheduleFreeAdamW of pytorch_optimizer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tb_adam_plugin import schema

from .base import Rows
from .coefficients import Coefficients, StepTable
from .group_settings import GroupSettings
from .pytorch_optimizer import PytorchOptimizerState, nan_where

# Added by the package to v̂ under the root, in addition to eps.
_UNDER_ROOT = 1e-15


class ScheduleFreeState(PytorchOptimizerState):
    """Defazio et al. 2024, with Adam's denominator: no first moment, but an average of weights.

    While training, the parameter is y, where gradients are computed, between z, which takes plain
    steps, and x, the average of z. With ``c`` the weight of this step in x, ``u = g' / (√v̂ + eps)
    + weight_decay · y`` and z after the step, a step moves y by ``c (z - y) - lr (1 - c) (1 -
    beta1) u``.

    Unknown after a step with a learning rate of 0.
    """

    exp_avg_key = None
    other_keys = ("z",)
    meanings: Mapping[str, str] = {
        "exp_avg_sq": "average of squared gradients; with ams_bound the largest v̂ so far",
        "z": "the weights that take plain steps; the parameter is y in training, x in evaluation",
    }
    lacks: tuple[schema.Need, ...] = ("exp_avg", "normalization")

    def overwrites_gradient(self, group: GroupSettings) -> bool:
        """Always: the denominator divides it in place."""
        return True

    def coefficients(self, table: StepTable) -> Coefficients:
        """See the class."""
        beta1, beta2, eps = (table.number(name) for name in ("beta1", "beta2", "eps"))
        warmup = table.number("warmup_steps")
        lr = self.step_size(table) * torch.where(
            table.steps < warmup, table.steps / warmup.clamp_min(1), 1.0
        )
        weight = table.steps ** table.number("r")
        weight = weight * table.number("lr_max") ** table.number("weight_lr_power")
        sums = table.number("weight_sum")
        share = torch.where(sums == 0, 0.0, weight / sums)
        decoupling = table.number("decoupling_c")
        decoupled = (share * (1 - beta1) * decoupling).clamp_max(1.0)
        share = torch.where(decoupling > 0, decoupled, share)
        of_step = (1 - share) * (1 - beta1)
        maximum = table.flag("ams_bound")  # of averages that are already bias-corrected
        scale = table.bias_correction(beta2).rsqrt()
        before = table.bias_correction(beta2, table.steps - 1).rsqrt()
        return Coefficients.of(
            table,
            own={"average": share / lr},
            gradient_sign=self.gradient_sign(),
            exp_avg_sq_decay=nan_where(maximum, beta2),
            exp_avg_sq_weight=nan_where(maximum, 1 - beta2),
            exp_avg_sq_scale=torch.where(maximum, 1.0, scale),
            exp_avg_sq_scale_before=torch.where(maximum, 1.0, before),
            eps=eps,
            numerator_gradient=of_step,
            denominator_root=1.0,
            denominator_constant=eps,
            step_size=lr,
            weight_decay=of_step * table.number("weight_decay"),
        )

    def root(self, rows: Rows, c: Coefficients, out: Tensor) -> Tensor:
        """Return √(v̂ + 1e-15), in ``out``."""
        assert rows.exp_avg_sq is not None
        torch.mul(rows.exp_avg_sq, c.exp_avg_sq_scale**2, out=out)
        return out.add_(_UNDER_ROOT).sqrt_()

    def direction(self, rows: Rows, c: Coefficients, root: Tensor | None, out: Tensor) -> Tensor:
        """Return the direction of each element, in ``out``."""
        super().direction(rows, c, root, out)
        return out.addcmul_(rows.before - rows.others["z"], c.own["average"])
