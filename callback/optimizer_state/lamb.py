"""Lamb of pytorch_optimizer."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from .adam import adam_moments
from .coefficients import Coefficients, StepTable
from .group_settings import GroupSettings
from .pytorch_optimizer import PytorchOptimizerState, nan_where, weight_decay_of


class LambState(PytorchOptimizerState):
    """You et al. 2020: Adam's update of each parameter, scaled by a ratio of norms.

    The ratio is stored in the state, so the update of each element is known. The package corrects
    the bias of exp_avg through the step size (not with ``adam_debias``), and never that of
    exp_avg_sq.
    """

    number_keys = ("trust_ratio",)
    meanings: Mapping[str, str] = {
        "exp_avg": "average of gradients, rescaled with pre_norm or adanorm",
        "exp_avg_sq": "average of squared gradients, without bias correction",
    }

    def overwrites_gradient(self, group: GroupSettings) -> bool:
        """Also if the gradient is first divided by its norm; weight decay is never added to it."""
        return self._maximizes() or self._divides_by_norm()

    def coefficients(self, table: StepTable) -> Coefficients:
        """See the class; the ratio is 1 with the setting ``adam``."""
        moments = adam_moments(table)
        beta1 = table.number("beta1")
        scale = torch.where(table.flag("adam_debias"), 1.0, 1 / table.bias_correction(beta1))
        factor, divides = self.rectification(table)
        ratio = torch.where(table.flag("adam"), 1.0, table.state_number("trust_ratio"))
        # Without a step there may be no ratio; weight decay is applied nevertheless.
        takes_step = factor > 0
        stretch = torch.where(takes_step, factor * ratio, 1.0)
        decay = weight_decay_of(table, stretch)
        # "Coupled" adds it to Adam's update, which the ratio then scales; never if rectified.
        coupled = decay.pop("coupled_weight_decay") * ~table.flag("rectify")
        pre_norm = table.column(float(self._divides_by_norm())) > 0
        moments |= {
            "exp_avg_decay": nan_where(pre_norm | table.flag("adanorm"), beta1),
            "exp_avg_weight": torch.where(table.flag("grad_averaging"), 1 - beta1, 1.0),
            "exp_avg_scale": scale,
            "exp_avg_sq_decay": nan_where(pre_norm, table.number("beta2")),
            "exp_avg_sq_scale": 1.0,
            "exp_avg_sq_scale_before": 1.0,
            "numerator_exp_avg": torch.where(takes_step, scale, 0.0),
            "denominator_root": divides.double(),
            "denominator_constant": torch.where(divides, table.number("eps"), 1.0),
            "weight_decay": decay["weight_decay"] + coupled * scale,
        }
        return Coefficients.of(
            table,
            **moments,
            gradient_sign=self.gradient_sign(),
            step_size=self.step_size(table) * stretch,
        )

    def _divides_by_norm(self) -> bool:
        return bool(getattr(self.optimizer, "pre_norm", False))
